"""Denoise pictures: files, or folders with all the pictures in them.

Each goes to the folder --out under its own name and in its own format (a GIF, which holds 256 colours, as a PNG),
turned upright, with its colour profile and EXIF data. Grey stays grey, transparency as it is. What would lose something
(16 bits a value, CMYK, several pages, an animation), and what can't be read or written, is named at the end; the others
are done, and the exit status is 1.
"""

import io
import tempfile
from functools import partial
from pathlib import Path

import torch

from ..data.files import Incomplete, write_whole
from ..data.pictures import in_mode, photo_paths, read_image
from ..networks import NETWORKS

LOSSY = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"quality": 95}}  # JPEG: colours at full resolution


def denoise(model, image, progress=iter):
    """What the model makes of a Pillow image as `read_image` gives it: one of the same mode, with the same alpha.

    Grey pixels alone give grey ones, also in an RGB image. progress: as for `Model.predict`.
    """
    from PIL import Image

    content = bytearray(in_mode(image, "RGB").tobytes())
    pixels = torch.frombuffer(content, dtype=torch.uint8).view(image.height, image.width, 3).permute(2, 0, 1)
    grey = bool((pixels[1:] == pixels[0]).all())
    result = bytearray(len(content) // 3 if grey else len(content))  # which torch and Pillow share
    output = torch.frombuffer(result, dtype=torch.uint8).view(1, image.height, image.width, -1).permute(0, 3, 1, 2)
    for place, piece in model.pieces(pixels[None], progress):  # not `predict`, whose float32 takes four times as much
        output[place] = (piece.mean(1, keepdim=True) if grey else piece).round_()
    result = in_mode(Image.frombytes("L" if grey else "RGB", image.size, result), image.mode.removesuffix("A"))
    if image.mode.endswith("A"):
        result.putalpha(image.getchannel("A"))
    result.info, result.format = image.info, image.format
    return result


def write(image, path):
    """Save an image in its format."""
    content = io.BytesIO()  # as Pillow itself is silent when a disk takes only the beginning
    image.save(content, image.format, **image.info, **LOSSY.get(image.format, {}))
    write_whole(content.getbuffer(), path)


def side_by_side(before, after):
    from PIL import Image

    both = Image.new(after.mode, (2 * after.width, after.height))
    both.paste(before, (0, 0))
    both.paste(after, (after.width, 0))
    both.info, both.format = after.info, after.format
    return both


def plan(images, out, compare, overwrite):
    """Which file is written for which: a dict {output: input}. Raises before any work is done."""
    jobs, taken = {}, {}
    for path in images:
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
        for file in pictures(path, out) if path.is_dir() else [path]:
            name = file.relative_to(path) if path.is_dir() else Path(file.name)
            output = out / (name.with_suffix(".png") if name.suffix.lower() == ".gif" else name)
            for target in (output, compared(output)) if compare else (output,):
                if not taken.setdefault(target, file).samefile(file):
                    raise ValueError(f"{taken[target]} and {file} would both be written to {target}")
            jobs[output] = file
    if not jobs:
        raise ValueError("there is no picture to denoise")
    inputs = {(found.st_dev, found.st_ino) for found in (file.stat() for file in jobs.values())}
    for target in taken:
        if target.is_dir():
            raise IsADirectoryError(f"{target} is a folder, not a file to write")
        if target.exists():
            found = target.stat()
            if (found.st_dev, found.st_ino) in inputs:
                raise ValueError(f"{target} is an input: it would be overwritten")
            if not overwrite:
                raise FileExistsError(f"{target} is there already: --overwrite replaces it")
    for folder in {target.parent for target in taken}:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # an error now if it can't be written to
            pass
    return jobs


def pictures(folder, out):
    """The pictures in a folder, but for those that an earlier run wrote to a folder `out` within it."""
    found, out = photo_paths(folder), out.resolve()
    return found if folder.resolve() == out else [p for p in found if not p.parent.resolve().is_relative_to(out)]


def compared(output):
    return output.with_name(f"{output.stem}-compare{output.suffix}")


def add_arguments(parser):
    parser.add_argument(
        "images",
        type=Path,
        nargs="+",
        metavar="PICTURES",
        help="The pictures to denoise: files, or folders, whose subfolders are searched, too.",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="The folder to write to, which is made if absent."
    )
    parser.add_argument(
        "--compare", action="store_true", help="Also write NAME-compare, before and after side by side."
    )
    parser.add_argument("--overwrite", action="store_true", help="Replace files that are in the folder already.")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="A file of weights, as `train` writes, instead of those shipped.",
    )
    parser.add_argument(
        "--network",
        choices=NETWORKS,
        default="photo",
        help="The network that denoises (%(default)s): report, unet and resnet are for the course's small images.",
    )


def main(args):
    from tqdm import tqdm

    bar = partial(tqdm, disable=None)  # on terminals alone
    model = NETWORKS[args.network]()
    model.load_weights(args.weights or model.PRETRAINED)
    jobs, failed = plan(args.images, args.out, args.compare, args.overwrite), []
    for output, file in bar(jobs.items(), desc="denoise", unit="picture"):
        try:
            before = read_image(file)
            after = denoise(model, before, partial(bar, desc=file.name, unit="tile", leave=False))
            write(after, output)
            if args.compare:
                write(side_by_side(before, after), compared(output))
        except ImportError:  # an extra is missing
            raise
        except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
            failed.append(f"{file}: {' '.join(str(error).split()) or type(error).__name__}")
    if failed:
        raise Incomplete(f"{len(failed)} of {len(jobs)} pictures were not denoised:\n" + "\n".join(failed))
