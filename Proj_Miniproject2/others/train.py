"""Train new weights: on noisy pairs made of photos, or on one's own shots of scenes (--shots), several of each.

A fourteenth of the photos or scenes is set aside; what the weights reach on pairs from those, in the end and after each
epoch, goes into the results file.
Without options this is `Model.train`'s own recipe on fresh pairs; --run takes one of the named runs, and every other
option changes one thing of it.
"""

import argparse
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

import torch

from ..model import Recipe, load
from .files import Incomplete, check_outputs, write_json
from .metrics import psnr
from .networks import TRAINABLE, turned, widen
from .noise import gaussian_noise
from .parallel import joined, mean, own, processes, rank
from .photos import CROP, PairStream, camera, load_photos, random_crops, split
from .photos import clean as with_clean
from .recipes import FUNCTIONS, RUNS, Run
from .shots import read_scenes, shots

VALIDATION_PAIRS, VALIDATION_SEED = 1000, 123
NOISY_SHARE = 0.25  # of the targets in self-distillation


def turned_prediction(model, images, generator):
    """What the model makes of (N, 3, S, S) that are turned and mirrored at random, and turned back: float32.

    All of its draws together have the mean of the predictions over the image's eight symmetries.
    """
    parts = []
    for part in images.split(500):
        turns, mirrored = (int(torch.randint(n, (), generator=generator)) for n in (4, 2))
        parts.append(turned(model.predict, part, turns, mirrored))
    return torch.cat(parts)


def validation(photos, run):
    """(noisy, clean) of photos set aside: as the course made them, or for a camera's noise with sigma = 25. Of scenes
    set aside there is no clean image: another shot stands for it, whose noise bounds the PSNR."""
    if run.source is shots:
        return shots(photos, replace(run, pairs=min(run.pairs, VALIDATION_PAIRS)))(VALIDATION_SEED)
    if run.source is camera:
        generator = torch.Generator().manual_seed(VALIDATION_SEED)
        clean = random_crops(photos, VALIDATION_PAIRS, CROP, generator)
        return gaussian_noise(clean, 25, generator), clean
    noisy, _, clean = PairStream(photos).draw_with_clean(VALIDATION_PAIRS, VALIDATION_SEED)
    return noisy, clean


def known_by(photos):
    """By what results and checkpoints know their photos (or lists of shots) again."""
    total = sum(int(image.sum()) for photo in photos for image in (photo if isinstance(photo, list) else [photo]))
    return f"{len(photos)}, sum of all pixels {total}"


def start_from(model, path):
    """Give the model the weights of a file, of its own network or a narrower one. Raises as `Model.load_weights`."""
    state = load(path, model.device)
    try:
        widen(model.network, state)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} holds the weights neither of this network nor of a narrower one") from error


def alone(model):
    """The model, whose `predict` now shows what the network alone makes: several views would take as many times."""
    model.VIEWS = 1
    return model


def train(photos, run, checkpoint=None):
    """Train a new model, and measure it on the photos set aside. For the source `shots` the photos are lists of shots.

    With `run.distill_epochs` a second training follows, at half the learning rate: a quarter of its targets are the
    noisy ones, the rest what the first one's weights make of the inputs, turned at random. Its checkpoint is beside
    the first's, with ".distill" after its name.

    Returns (model, results), the results a dict for JSON; its seconds are those since the last start or resumption.
    Under `parallel.group` each process trains on pairs of its own, and all return the same.
    """
    training, held_out = split(photos)
    about = {"photos": known_by(photos), **run.describe()}  # with this a checkpoint of other photos is refused
    torch.manual_seed(run.seed)
    model = alone(joined(run.model_class)())
    model.loss = run.loss()
    if run.init:
        run.init(model.network)
    if run.start:
        start_from(model, run.start)
    alike = run.source is not with_clean and run.targets == 1  # input and target
    recipe = run.recipe if alike else replace(run.recipe, exchange=False)
    draw = run.source(training, own(run))
    noisy, clean = validation(held_out, run)
    scores = {}  # after how many epochs of the first training

    def score(epoch):
        mine = slice(rank(), None, processes())
        scores[epoch] = mean(psnr(model.predict(noisy[mine]), clean[mine]), len(noisy[mine]))
        print(f"{epoch * run.pairs} pairs seen: {scores[epoch]:.2f} dB", flush=True)  # `plots` reads it
        return scores[epoch]

    def watched(epoch):
        score(epoch)  # of the weights as they are, without the average
        return draw(epoch)

    begin = time.perf_counter()
    losses = model.fit(watched, recipe=recipe, seed=run.seed, checkpoint=checkpoint, about=about)
    if run.distill_epochs:
        teacher = alone(run.model_class())
        teacher.network.load_state_dict(model.network.state_dict())

        def teach(epoch):
            noisy, target = draw(recipe.num_epochs + epoch)
            taught = turned_prediction(teacher, noisy, torch.Generator().manual_seed(epoch))
            return noisy, taught.lerp_(target.float(), NOISY_SHARE)

        second = replace(recipe, num_epochs=run.distill_epochs, lr=recipe.lr / 2, exchange=False)
        checkpoint = checkpoint and f"{checkpoint}.distill"
        model.fit(teach, recipe=second, seed=run.seed, checkpoint=checkpoint, about=about)
    seconds = time.perf_counter() - begin
    result = score(recipe.num_epochs + run.distill_epochs)
    curve = [
        {"pairs": epoch * run.pairs, "loss": losses.get(epoch), "psnr": round(score, 3)}
        for epoch, score in scores.items()
    ]
    return model, {
        "psnr": round(result, 3),
        "noisy_psnr": round(psnr(noisy, clean), 3),
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "processes": processes(),
        **about,
        "curve": curve,
    }


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
