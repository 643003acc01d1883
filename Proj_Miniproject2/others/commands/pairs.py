"""Cut noisy pairs from a folder of photos and write them as the course's two files.

OUT/train_data.pkl is a tuple of two noisy versions of the same images, and OUT/val_data.pkl a tuple (noisy, clean),
all uint8 (N, 3, 32, 32). A fourteenth of the photos is set aside for the second. All photos are held in memory.
"""

from functools import partial
from pathlib import Path

from ...model import check_int
from ..formats.files import check_outputs, save
from ..formats.progress import progress
from ..noise.metrics import psnr
from ..pairs.photos import CHUNK, load_photos, pairs_of, split
from . import add_overwrite, pictures_in


def make_pairs(photos, out, train=50_000, val=1_000, seed=0, overwrite=False):
    """Cut `train` and `val` pairs from the folder `photos` and write the two files into the folder `out`.

    Returns the noisy validation images' PSNR in dB. Raises ValueError if `photos` holds fewer than two readable photos,
    and as `check_outputs`.
    """
    check_int("train", train, 1)
    check_int("val", val, 1)
    check_int("seed", seed, 0)
    files = [Path(out, name) for name in ("train_data.pkl", "val_data.pkl")]
    check_outputs(files, pictures_in(photos), overwrite, make_folders=True)
    training, held_out = split(load_photos(photos))
    bar = partial(progress, desc="pairs", unit=f" x {CHUNK}")
    noisy, _, clean = pairs_of(held_out, val, seed, progress=bar)
    pair = pairs_of(training, train, seed, clean=False, progress=bar)
    Path(out).mkdir(parents=True, exist_ok=True)
    for file, content in zip(files, (pair, (noisy, clean)), strict=True):
        save(content, file)
    return psnr(noisy, clean)


def add_arguments(parser):
    parser.add_argument(
        "photos", type=Path, metavar="PHOTOS", help="A folder of photos, whose subfolders are searched, too."
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="The folder to write to, which is made if absent.")
    parser.add_argument(
        "--train", type=int, default=50_000, metavar="N", help="How many pairs to train on are made (%(default)s)."
    )
    parser.add_argument(
        "--val", type=int, default=1_000, metavar="N", help="How many pairs to validate on are made (%(default)s)."
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="By what places and noise are drawn at random (%(default)s)."
    )
    add_overwrite(parser)


def main(args):
    noisy = make_pairs(args.photos, args.out, args.train, args.val, args.seed, args.overwrite)
    print(f"{args.train} + {args.val} pairs in {args.out}, noisy PSNR {noisy:.2f} dB")
