"""Train new weights: on noisy pairs made of photos, or on one's own shots of scenes (--shots), several of each.

A fourteenth of the photos or scenes is set aside; what the weights reach on pairs from those, in the end and after each
epoch, goes into the results file.
Without options this is `Model.train`'s own recipe on fresh pairs; --run takes one of the named runs, and every other
option changes one thing of it.
"""

import argparse
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import torch

from ..data.files import Incomplete, check_outputs, write_json
from ..data.photos import load_photos
from ..data.shots import read_scenes
from ..data.sources import shots
from ..lab.experiment import train
from ..lab.runs import FUNCTIONS, RUNS, Run
from ..networks import TRAINABLE
from ..training.processes import rank
from ..training.recipe import Recipe


def add_arguments(parser):
    parser.add_argument("photos", type=Path, nargs="?", help="folder of photos, searched with its subfolders")
    parser.add_argument(
        "--shots",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="instead of photos: folders with the first, second, ... shot of each scene under the same names, or one "
        "folder with a subfolder of shots for each scene",
    )
    parser.add_argument("--out", type=Path, required=True, help="file for the weights")
    parser.add_argument("--half", action="store_true", help="write the weights in half precision: half the size")
    parser.add_argument("--results", type=Path, help="JSON file for what the run gave")
    parser.add_argument("--checkpoint", type=Path, help="file to write after every epoch, and to resume from")
    parser.add_argument("--run", choices=RUNS, help="which the next options change (default; with --shots shots)")
    choices = FUNCTIONS | {"network": [*TRAINABLE], "precision": ["float32", "bfloat16", "auto"]}
    default = RUNS["default"]
    for field in (*fields(Run)[1:], *fields(Recipe)):
        value = getattr(default if hasattr(default, field.name) else default.recipe, field.name)
        flag, shown = f"--{field.name.replace('_', '-')}", f"({getattr(value, '__name__', value)})".lower()
        if field.name == "start":
            parser.add_argument(flag, metavar="FILE", help="weights to go on from (none)")
        elif field.name in choices:
            parser.add_argument(flag, choices=choices[field.name], help=shown)
        elif field.type is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=shown)
        else:
            parser.add_argument(flag, type=field.type, help=shown)


def changed(run, args):
    """The run with what the command line says."""

    def given(kind):
        values = {field.name: getattr(args, field.name) for field in fields(kind) if field.name != "recipe"}
        return {name: FUNCTIONS.get(name, {}).get(v, v) for name, v in values.items() if v is not None}

    return replace(run, recipe=replace(run.recipe, **given(Recipe)), **given(Run))


def main(args):
    if rank() == 0:
        check_outputs(args.out, args.results, args.checkpoint)
    if bool(args.photos) == bool(args.shots):
        raise ValueError("train takes either a folder of photos or --shots")
    run = changed(RUNS[args.run or ("shots" if args.shots else "default")], args)
    if bool(args.shots) != (run.source is shots):
        raise ValueError(f"the source {run.source.__name__} goes with {'photos' if args.shots else '--shots'}")
    photos = read_scenes(args.shots) if args.shots else load_photos(args.photos)
    model, results = train(photos, run, args.checkpoint)
    if rank():  # the first process writes for all
        return
    judge = "against another shot, on the scenes" if args.shots else "on the photos"
    print(f"{results['psnr']:.2f} dB {judge} set aside (noisy: {results['noisy_psnr']:.2f} dB)")
    dtype = torch.float16 if args.half else None
    worse, out = not results["psnr"] > results["noisy_psnr"], args.out
    if worse and out.exists():
        out = out.with_name(f"{out.stem}-worse{out.suffix}")
    try:
        model.save_weights(out, dtype)
    except OSError as error:
        out = Path(tempfile.mkdtemp(), out.name)
        model.save_weights(out, dtype)
        raise OSError(f"{args.out} can't be written, the weights are in {out}: {error}") from error
    if args.results:
        write_json(results, args.results)
    if out != args.out:
        raise Incomplete(f"these weights are worse than doing nothing: they are in {out}, {args.out} stays as it was")
    if worse:
        print("warning: the weights are worse than doing nothing")
