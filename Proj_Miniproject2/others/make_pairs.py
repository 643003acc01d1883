"""Cut noisy pairs from a folder of photos and write them as the course's two files.

    python -m Proj_Miniproject2.others.make_pairs PHOTOS OUT

writes OUT/train_data.pkl, a tuple of two noisy versions of the same images, and OUT/val_data.pkl, a tuple
(noisy, clean), all uint8 (N, 3, 32, 32). Every tenth photo is set aside for the second. All photos are held
in memory.
"""

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

from ..model import check_int, save
from .metrics import psnr
from .photos import CHUNK, load_photos, pairs_of


def make_pairs(photos, out, train=50_000, val=1_000, seed=0):
    """Cut `train` and `val` pairs from the folder `photos` and write the two files into the folder `out`.

    Returns the noisy validation images' PSNR in dB. Raises ValueError if `photos` holds fewer than two
    readable photos, or `out` is a file.
    """
    check_int("train", train, 1)
    check_int("val", val, 1)
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"expected a folder to write to, got the file {out}")
    photos = load_photos(photos)
    if len(photos) < 2:
        raise ValueError("expected at least two readable photos, to train and to validate on, got one")
    out.mkdir(parents=True, exist_ok=True)
    aside = photos[::10]
    del photos[::10]
    progress = partial(tqdm, desc="pairs", unit=f" x {CHUNK}", disable=None)
    noisy, _, clean = pairs_of(aside, val, seed, progress=progress)
    pair = pairs_of(photos, train, seed, clean=False, progress=progress)
    save(pair, out / "train_data.pkl")
    save((noisy, clean), out / "val_data.pkl")
    return psnr(noisy, clean)


def main(args=None):
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("photos", type=Path, help="folder of photos, searched with its subfolders")
    parser.add_argument("out", type=Path, help="folder to write to, made if absent")
    parser.add_argument("--train", type=int, default=50_000, help="pairs to train on (%(default)s)")
    parser.add_argument("--val", type=int, default=1_000, help="pairs to validate on (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    args = parser.parse_args(args)
    try:
        noisy = make_pairs(args.photos, args.out, args.train, args.val, args.seed)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{args.train} + {args.val} pairs in {args.out}, noisy PSNR {noisy:.2f} dB")


if __name__ == "__main__":
    main()
