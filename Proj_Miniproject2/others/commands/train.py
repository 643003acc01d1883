"""Train new weights: on noisy pairs made of photos, on one's own shots of scenes (--shots), or on --singles.

To learn the noise of your camera, take two or more shots of each of some scenes, from a tripod, one folder a scene:

    noise2noise train --shots SCENES --out mine.pth
    noise2noise denoise PICTURES --out FOLDER --weights mine.pth

The same of measured pictures, if `pip install '.[measured]'` was done: TIFFs and PNGs of any depth, and .npy. A file
with several pages, as is a movie of an object that stays as it is, is a scene of its own. All are brought to one range,
which is kept in the file of weights, so that `denoise --weights` sees others in it, too; they are of one kind.

Without a second shot, --singles takes pictures, or stacks of them, whose noise is independent from pixel to pixel, as
that of sensors is before anything was done to it: there, neighbours are shots of nearly the same.

A fourteenth of the photos, scenes or pictures is set aside, or of a single one a seventh of its pixels, and what the
weights reach on pairs from those is printed, before each epoch and in the end; and every 20 seconds how fast it goes,
and for how long. Stopped by Ctrl-C, or as batch systems do it, it writes the best weights so far, unless a
checkpoint holds what it goes on from.
"""

import argparse
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import torch

from ...model import Model
from ..formats.files import Incomplete, check_outputs, save_somewhere, write_json
from ..lab.experiment import train
from ..lab.runs import FUNCTIONS, RUNS, Run
from ..networks import TRAINABLE, VARIANTS, CameraUNet, PhotoUNet
from ..noise.ranges import with_about
from ..pairs.pages import even
from ..pairs.photos import load_photos
from ..pairs.shots import read_scenes
from ..pairs.singles import read_singles, singles
from ..pairs.sources import correlated, grey, shots
from ..training.by_recipe import MOST_MINUTES
from ..training.processes import rank
from ..training.recipe import DEFAULT, Recipe
from . import add_overwrite, pictures_in

PEOPLES = "default", "short", "photo", "shots", "singles"  # of RUNS

# What the other fields of `Run` and `Recipe` are, to who changes one by the option of that name.
LABORATORY = {
    "init": "How the first weights are drawn, if not as the network draws its own",
    "source": "Where the pairs come from: fresh ones are others in each epoch, fixed ones the same; the rest differ in "
    "their noise or their photos",
    "loss": "What is made small: the mean squared error, or each image's relative to its own noise",
    "targets": "How many noisy images a target is the mean of",
    "seed": "By what the weights, the pairs and their order are drawn at random",
    "distill_epochs": "How many epochs follow in which the network learns what it makes of turned images",
    "batch_size": "How many pairs make one step",
    "small_batches": "In what part of the training, from its beginning on, batches are half as large",
    "optimizer": "How a step is made of the gradients",
    "lr": "How long steps are where the learning rate is at its highest",
    "momentum": "How much of the steps before stays in a step, from 0 to below 1",
    "schedule": "How the learning rate falls in the course of the training",
    "warmup": "In what part of the training, at its beginning, the learning rate rises from zero",
    "weight_decay": "How strongly the weights are drawn towards zero",
    "average": "How much of the running average of the weights, which is what is kept, stays in each step; 0 for none",
    "augment": "Whether pairs are flipped and transposed at random",
    "exchange": "Whether input and target change places at random, where both are noisy alike",
    "precision": "In what numbers matrices are multiplied: auto takes what is faster on this machine",
}


def add_arguments(parser):
    parser.usage = (
        "%(prog)s PHOTOS --out FILE [options]\n       %(prog)s --shots PATH [PATH ...] --out FILE [options]\n"
        "       %(prog)s --singles PATH --out FILE [options]"
    )
    parser.add_argument(
        "photos",
        type=Path,
        nargs="?",
        metavar="PHOTOS",
        help="A folder of photos to make noisy pairs of; its subfolders are searched, too.",
    )
    parser.add_argument(
        "--shots",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="Your own noisy shots instead of photos: one folder with a subfolder of shots, or a stack of them, for "
        "each scene; several folders with the first, second, ... shot of every scene under the same name; or files.",
    )
    parser.add_argument(
        "--singles",
        type=Path,
        metavar="PATH",
        help="Your own noisy pictures, one of each scene: a folder, or a picture or stack alone.",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="The file to write the weights to.")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="A file to write after every epoch; the same command goes on from it if it was stopped.",
    )
    parser.add_argument(
        "--results", type=Path, metavar="FILE", help="A JSON file to write loss and PSNR to, which `plot` draws."
    )
    add_overwrite(parser)
    parser.add_argument(
        "--half", action="store_true", help="Write the weights in half precision, to a file of half the size."
    )
    parser.add_argument(
        "--run",
        choices=RUNS,
        metavar="NAME",
        help="Which named run the options change (default; with --shots shots, with --singles singles): short gives "
        "the soonest good weights, photo those for photos at their full resolution; the rest are the laboratory's: "
        f"{', '.join(name for name in RUNS if name not in PEOPLES)}.",
    )
    parser.add_argument(
        "--network",
        choices=TRAINABLE,
        metavar="NAME",
        help="Which network learns (report, small and quick): photo is for photos at their full resolution, unet and "
        "resnet are large; `denoise --network` wants the same.",
    )
    parser.add_argument(
        "--start",
        metavar="FILE",
        help="A file of weights to go on from, of this network or one like it, instead of from nothing.",
    )
    parser.add_argument(
        "--num-epochs", type=int, metavar="N", help=f"How many epochs to train, and so how long ({DEFAULT.num_epochs})."
    )
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="How long to train, instead of a number of epochs: what is learnt is rounded off just in time.",
    )
    parser.add_argument(
        "--pairs", type=int, metavar="N", help=f"How many pairs are seen in an epoch ({RUNS['default'].pairs})."
    )
    laboratory = parser.add_argument_group(
        "the laboratory",
        "What else a run consists of, one thing at a time, to find out what it is worth: you need none of it.\n"
        f"And more names for --network: {', '.join(VARIANTS)}.",
    )
    choices = FUNCTIONS | {"precision": ["float32", "bfloat16", "auto"]}
    defaults = vars(RUNS["default"]) | vars(DEFAULT)
    for field in (*fields(Run), *fields(Recipe)):
        if field.name in LABORATORY:
            default = str(getattr(defaults[field.name], "__name__", defaults[field.name])).lower()
            if field.name in choices:
                kind = {"choices": choices[field.name]}
            elif field.type is bool:
                kind = {"action": argparse.BooleanOptionalAction}
            else:
                kind = {"type": field.type, "metavar": "N" if field.type is int else "X"}
            help = f"{LABORATORY[field.name]} ({default})."
            laboratory.add_argument(f"--{field.name.replace('_', '-')}", help=help, **kind)


def changed(run, args):
    """The run with what the command line says."""

    def given(kind):
        values = {field.name: getattr(args, field.name) for field in fields(kind) if field.name != "recipe"}
        return {name: FUNCTIONS.get(name, {}).get(v, v) for name, v in values.items() if v is not None}

    return replace(run, recipe=replace(run.recipe, **given(Recipe)), **given(Run))


def pictures_of(args):
    """What to train on, and the range that measured pictures were brought to."""
    if args.shots:
        return read_scenes(args.shots)
    return read_singles(args.singles) if args.singles else (load_photos(args.photos), None)


def is_grey(picture):
    """Whether a picture (C, H, W), or the first of a list of shots, has no colours."""
    pixels = picture[0] if isinstance(picture, list) else picture
    return bool((pixels[1:] == pixels[0]).all())


def main(args):
    if sum(map(bool, (args.photos, args.shots, args.singles))) != 1:
        raise ValueError("train takes either a folder of photos, --shots or --singles")
    if args.minutes is not None and not 0 < args.minutes <= MOST_MINUTES:  # also where it is NaN
        raise ValueError(f"minutes must be above 0 and at most {MOST_MINUTES}, got {args.minutes:g}")
    if args.minutes is not None and args.num_epochs is not None:
        raise ValueError("train takes either --minutes or --num-epochs")
    kind, own = ("shots", shots) if args.shots else ("singles", singles) if args.singles else ("default", None)
    run = changed(RUNS[args.run or kind], args)
    if run.source is not own and (own or run.source in (shots, singles)):
        raise ValueError(f"the source {run.source.__name__} doesn't go with {f'--{kind}' if own else 'photos'}")
    aside = args.out.parent / f"{args.out.stem}-worse{args.out.suffix}"  # for weights that are worse than none
    if rank() == 0:
        outputs = [args.out, args.results, aside if args.out.exists() else None]
        read = [args.start, *pictures_in(args.photos, args.singles, *args.shots or [])]
        resumed = [args.checkpoint, f"{args.checkpoint}.distill"] if args.checkpoint else []
        check_outputs(outputs, read, args.overwrite, resumed)
    photos, known = pictures_of(args)
    seen = None
    if own and run.start == str(PhotoUNet.PRETRAINED) and all(map(is_grey, photos)):
        run = replace(run, start=str(CameraUNet.PRETRAINED))  # which knows grey pictures, and fits into a wider network
        photos, seen = even(photos)
    model, results = train(photos, run, args.checkpoint, args.minutes)
    if rank():  # the first process writes for all
        return
    on = {"shots": "against another shot, on the scenes", "singles": "against the pixels beside, on what was"}
    print(f"{results['psnr']:.2f} dB {on.get(kind, 'on the photos')} set aside (noisy: {results['noisy_psnr']:.2f} dB)")
    about = {"range": known, "seen": seen, "even": run.source in (grey, correlated)}
    if any(about.values()):
        about = {name: value for name, value in about.items() if value}
        model.write = lambda state, path: Model.write(with_about(state, **about), path)
    dtype = torch.float16 if args.half else None
    worse, out = not results["psnr"] > results["noisy_psnr"], args.out
    if worse and out.exists():
        out = aside
    try:
        save_somewhere(partial(model.save_weights, dtype=dtype), out)
    finally:
        if args.results:
            write_json(results, args.results)
    if out != args.out:
        raise Incomplete(f"these weights are worse than doing nothing: they are in {out}, {args.out} stays as it was")
    if worse:
        print("warning: the weights are worse than doing nothing")
    if results.get("stopped"):
        args.best = out
        raise KeyboardInterrupt
