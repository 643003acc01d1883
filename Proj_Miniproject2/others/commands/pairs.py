"""Cut noisy pairs from a folder of photos and write them as the course's two files.

OUT/train_data.pkl is a tuple of two noisy versions of the same images, and OUT/val_data.pkl a tuple (noisy, clean),
all uint8 (N, 3, 32, 32). A fourteenth of the photos is set aside for the second. All photos are held in memory.
"""

from functools import partial
from pathlib import Path

from ...model import check_int
from ..data.files import save
from ..data.metrics import psnr
from ..data.photos import CHUNK, load_photos, pairs_of, split


def make_pairs(photos, out, train=50_000, val=1_000, seed=0):
    """Cut `train` and `val` pairs from the folder `photos` and write the two files into the folder `out`.

    Returns the noisy validation images' PSNR in dB. Raises ValueError if `photos` holds fewer than two
    readable photos, or `out` is a file.
    """
    from tqdm import tqdm

    check_int("train", train, 1)
    check_int("val", val, 1)
    check_int("seed", seed, 0)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"expected a folder to write to, got the file {out}")
    training, held_out = split(load_photos(photos))
    out.mkdir(parents=True, exist_ok=True)
    progress = partial(tqdm, desc="pairs", unit=f" x {CHUNK}", disable=None)
    noisy, _, clean = pairs_of(held_out, val, seed, progress=progress)
    pair = pairs_of(training, train, seed, clean=False, progress=progress)
    save(pair, out / "train_data.pkl")
    save((noisy, clean), out / "val_data.pkl")
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


def main(args):
    noisy = make_pairs(args.photos, args.out, args.train, args.val, args.seed)
    print(f"{args.train} + {args.val} pairs in {args.out}, noisy PSNR {noisy:.2f} dB")
