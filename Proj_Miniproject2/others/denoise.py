"""Denoise pictures: files, or folders with all the pictures in them.

Each goes to the folder --out under its own name and in its own format (a GIF, which holds 256 colours, as a PNG),
turned upright, with its colour profile and EXIF data. Grey stays grey, transparency as it is. What would lose something
(16 bits a value, several pages, an animation), and what can't be read or written, is named at the end; the others are
done, and the exit status is 1.
"""

import os
import tempfile
from pathlib import Path

import torch

from .files import Incomplete, photo_paths, read_image
from .networks import NETWORKS


def denoise(model, image):
    """What the model makes of a Pillow image as `read_image` gives it: one of the same mode, with the same alpha."""
    colours = image.convert("RGB")
    pixels = torch.frombuffer(bytearray(colours.tobytes()), dtype=torch.uint8)
    pixels = pixels.view(1, image.height, image.width, 3).permute(0, 3, 1, 2)
    if image.mode in ("L", "LA"):
        result = picture(model.predict(pixels).mean(1)[0], "L", image.size)
    else:
        result = picture(model.predict(pixels)[0].permute(1, 2, 0), "RGB", image.size)
    if image.mode.endswith("A"):
        result.putalpha(image.getchannel("A"))
    result.info = image.info
    return result


def picture(values, mode, size):
    """A Pillow image of values in [0, 255], which are rounded."""
    from PIL import Image

    pixels = bytearray(values.numel())  # which torch and Pillow share; bytes(storage) would go one by one
    torch.frombuffer(pixels, dtype=torch.uint8).view(values.shape).copy_(values.round())
    return Image.frombytes(mode, size, bytes(pixels))


def write(image, path):
    """Save an image in the format of its file's ending; the file is there whole or not at all."""
    options = {"quality": 95} if path.suffix.lower() in (".jpg", ".jpeg", ".webp") else {}
    partial = path.with_name(f"{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        image.save(partial, **image.info, **options)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def side_by_side(before, after):
    from PIL import Image

    both = Image.new(after.mode, (2 * after.width, after.height))
    both.paste(before, (0, 0))
    both.paste(after, (after.width, 0))
    return both


def plan(images, out, compare, overwrite):
    """Which file is written for which: pairs (input, output). Raises before any work is done."""
    jobs = []
    for path in images:
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
        for file in photo_paths(path) if path.is_dir() else [path]:
            name = file.relative_to(path) if path.is_dir() else Path(file.name)
            jobs.append((file, out / (name.with_suffix(".png") if name.suffix.lower() == ".gif" else name)))
    if not jobs:
        raise ValueError("there is no picture to denoise")
    taken = {}
    for file, output in jobs:
        for target in (output, compared(output)) if compare else (output,):
            if target in taken:
                raise ValueError(f"{taken[target]} and {file} would both be written to {target}")
            taken[target] = file
            if target.exists():
                if any(target.samefile(source) for source, _ in jobs):
                    raise ValueError(f"{target} is an input: it would be overwritten")
                if not overwrite:
                    raise FileExistsError(f"{target} is there already: --overwrite replaces it")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):  # an error now if it can't be written to
        pass
    return jobs


def compared(output):
    return output.with_name(f"{output.stem}-compare.png")


def add_arguments(parser):
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="files, or folders with subfolders")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="to write to, made if absent")
    parser.add_argument("--network", choices=NETWORKS, default="photo", help="(%(default)s)")
    parser.add_argument("--weights", type=Path, help="file of weights (those shipped with the network)")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are in the folder already")
    parser.add_argument("--compare", action="store_true", help="also write NAME-compare.png: before and after")


def main(args):
    from tqdm import tqdm

    jobs = plan(args.images, args.out, args.compare, args.overwrite)
    model = NETWORKS[args.network]()
    model.load_weights(args.weights or model.PRETRAINED)
    failed = []
    for file, output in tqdm(jobs, desc="denoise", unit="picture", disable=None):
        try:
            before = read_image(file)
            after = denoise(model, before)
            output.parent.mkdir(parents=True, exist_ok=True)
            write(after, output)
            if args.compare:
                write(side_by_side(before, after), compared(output))
        except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
            failed.append(f"{file}: {' '.join(str(error).split()) or type(error).__name__}")
    if failed:
        raise Incomplete(f"{len(failed)} of {len(jobs)} pictures were not denoised:\n" + "\n".join(failed))
