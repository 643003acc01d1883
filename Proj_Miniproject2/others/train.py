"""Train on noisy pairs from a folder of photos; how `bestmodel.pth` was made.

    python -m Proj_Miniproject2.others.train PHOTOS

Every fourteenth photo is set aside. What the weights reach on pairs from those goes into the results file.
"""

import argparse
import json
import os
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch

from ..model import DEFAULT, PRETRAINED, REPORT, Model, Recipe, initialize, save
from .metrics import psnr
from .noise import gaussian_noise
from .photos import PairStream, load_photos, pairs_of

RECIPES = {"default": DEFAULT, "report": REPORT}
HELD_OUT = 14  # one photo in so many is set aside
VALIDATION_PAIRS, VALIDATION_SEED = 1000, 123
NOISY_SHARE = 0.25  # of a pupil's targets
SIGMAS = (3, 6, 12, 25)  # of Gaussian noise to train with


def split(photos):
    """(photos to train on, photos set aside), both lists of uint8 (3, H, W)"""
    return [photo for i, photo in enumerate(photos) if i % HELD_OUT], photos[::HELD_OUT]


def gaussian_pairs(stream, n, seed):
    """n pairs with Gaussian instead of the course's noise, equally many of each of SIGMAS."""
    *_, clean = stream.draw_with_clean(n, seed)
    generator = torch.Generator().manual_seed(seed)
    parts = list(zip(SIGMAS, clean.chunk(len(SIGMAS)), strict=False))  # fewer chunks, if n is smaller
    return [torch.cat([gaussian_noise(part, sigma, generator) for sigma, part in parts]) for _ in range(2)]


def turned_prediction(model, images, generator):
    """What the model makes of (N, 3, S, S) that are turned and mirrored at random, and turned back: float32.

    All of its draws together have the mean of the predictions over the image's eight symmetries.
    """
    parts = []
    for part in images.split(500):
        turns, mirrored = (int(torch.randint(n, (), generator=generator)) for n in (4, 2))
        flips = (3,) * mirrored
        prediction = model.predict(part.rot90(turns, (2, 3)).flip(flips))
        parts.append(prediction.flip(flips).rot90(-turns, (2, 3)))
    return torch.cat(parts)


def train_and_score(
    photos, recipe, pairs=50_000, seed=0, init="xavier", start=None, data="fresh", gaussian=0, pupil_epochs=0,
    checkpoint=None,
):  # fmt: skip
    """Train a new model, and measure it on the photos set aside.

    pairs: in an epoch. init: "xavier", "kaiming" or "torch". start: a file of weights to go on from, instead of init.
    data: "fresh" pairs in every epoch, "fixed" ones, as from the course's file, or "clean" for fresh ones whose targets
    are the clean images. gaussian: the share of the pairs that have Gaussian noise in the last quarter of the epochs.
    pupil_epochs: of a second training, with half the learning rate: a quarter of its targets are the noisy ones, the
    rest what the first one's weights make of the inputs, turned at random.
    checkpoint: see `Model.train`; the second training's is beside it, with ".pupil" after its name.
    Returns (model, results), the results a dict for JSON; its seconds are those since the last start or resumption.
    """
    if data == "clean":
        recipe = replace(recipe, exchange=False)
    if pupil_epochs:
        second = replace(recipe, num_epochs=pupil_epochs, lr=recipe.lr / 2, exchange=False)
    training, held_out = split(photos)
    stream = PairStream(training)
    torch.manual_seed(seed)
    model = Model()
    initialize(model.network, init)
    if start:
        model.load_weights(start)
    fixed = pairs_of(training, pairs, seed, clean=False) if data == "fixed" else None

    def draw(epoch):
        if data == "fixed":
            return fixed
        stream_seed = 1_000_000 * (seed + 1) + epoch  # other crops with every seed and epoch
        others = round(gaussian * pairs) if 4 * epoch >= 3 * recipe.num_epochs else 0
        if data == "clean":
            pair = stream.draw_with_clean(pairs - others, stream_seed)[::2]
        else:
            pair = stream.draw(pairs - others, stream_seed)
        if others:
            other_pair = gaussian_pairs(stream, others, stream_seed + 500_000)
            pair = [torch.cat(both) for both in zip(pair, other_pair, strict=True)]
        return pair

    begin = time.perf_counter()
    model.fit(draw, recipe=recipe, seed=seed, checkpoint=checkpoint)
    if pupil_epochs:
        teacher = Model()
        teacher.network.load_state_dict(model.network.state_dict())

        def teach(epoch):
            noisy, target = draw(recipe.num_epochs + epoch)
            taught = turned_prediction(teacher, noisy, torch.Generator().manual_seed(epoch))
            return noisy, taught.lerp_(target.float(), NOISY_SHARE)

        model.fit(teach, recipe=second, seed=seed, checkpoint=checkpoint and f"{checkpoint}.pupil")
    seconds = time.perf_counter() - begin
    noisy, _, clean = PairStream(held_out).draw_with_clean(VALIDATION_PAIRS, VALIDATION_SEED)
    return model, {
        "psnr": round(psnr(model.predict(noisy), clean), 3),
        "noisy_psnr": round(psnr(noisy, clean), 3),
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "init": init,
        "data": data,
        "gaussian": gaussian,
        "pairs": pairs,
        "seed": seed,
        **asdict(recipe),
        "pupil_epochs": pupil_epochs,
    }


def write_json(content, path):
    """Write `content` as JSON; the file is replaced in one go."""
    partial = Path(f"{path}.part")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(partial, path)


def add_recipe_arguments(parser):
    """An option --NAME for every field of `Recipe`."""
    for field in fields(Recipe):
        if field.type is bool:
            parser.add_argument(f"--{field.name}", action=argparse.BooleanOptionalAction)
        else:
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=field.type, help=f"({field.default})")


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photos, searched with its subfolders")
    parser.add_argument("--out", type=Path, default=PRETRAINED, help="file for the weights (bestmodel.pth)")
    parser.add_argument("--results", type=Path, help="JSON file for what the run gave")
    parser.add_argument("--checkpoint", type=Path, help="file to write after every epoch, and to resume from")
    parser.add_argument("--pairs", type=int, default=50_000, help="in an epoch (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    parser.add_argument("--init", choices=("xavier", "kaiming", "torch"), default="xavier", help="(%(default)s)")
    parser.add_argument("--start", type=Path, metavar="FILE", help="weights to go on from, instead of --init")
    parser.add_argument("--data", choices=("fresh", "fixed", "clean"), default="fresh", help="(%(default)s)")
    parser.add_argument("--gaussian", type=float, default=0, help="share of pairs with Gaussian noise at the end (0)")
    parser.add_argument("--pupil-epochs", type=int, default=0, help="of learning from itself, afterwards (0)")
    parser.add_argument("--recipe", choices=RECIPES, default="default", help="whose fields the next options change")
    add_recipe_arguments(parser)
    args = parser.parse_args(args)
    changed = {f.name: getattr(args, f.name) for f in fields(Recipe) if getattr(args, f.name) is not None}
    for path in (args.out, args.results, args.checkpoint):
        if path is not None and not path.parent.is_dir():
            parser.error(f"there is no folder {path.parent} to write {path.name} to")
    try:
        recipe = replace(RECIPES[args.recipe], **changed)
        photos = load_photos(args.photos)
        model, results = train_and_score(
            photos, recipe, args.pairs, args.seed, args.init, args.start, args.data, args.gaussian,
            args.pupil_epochs, args.checkpoint,
        )  # fmt: skip
    except (ValueError, OSError) as error:
        parser.error(str(error))
    save(model.network.to("cpu").state_dict(), args.out)
    if args.results:
        write_json(results, args.results)
    print(f"{results['psnr']:.2f} dB on the photos set aside (noisy: {results['noisy_psnr']:.2f} dB)")


if __name__ == "__main__":
    main()
