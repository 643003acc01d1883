"""Denoise pictures: files, or folders with all the pictures in them.

Each goes to the folder --out under its own name and in its own kind of file: JPEGs of the same quality, lossless WebPs
lossless, TIFFs with their compression (deflate for those that are lossy, or for black and white alone), but GIFs, which
hold 256 colours, and HEIC and AVIF (with `pip install '.[heic]'`) as PNGs. Each is turned upright. Grey stays grey,
transparency as it is; so do the colour profile, EXIF data (but for thumbnails) and XMP data, the resolution, comments
of JPEGs, and texts, gamma and chromaticities of PNGs. Whatever else a file may hold is left out.

Measured pictures come out as they were, too, with `pip install '.[measured]'`: PNGs of 16 bits; TIFFs of 8, 16 or 32
bits and of floats, with all their pages, axes and tags; and .npy, whose last axis is of channels if it is 4 at most,
and where the axes before the rows count pages. But for 8 bits each page is denoised in the range that it has.

What would lose something (CMYK, an animation, 16 bits a value in other files), and what can't be read or written, is
named at the end; the others are done, and the exit status is 1. Files that systems leave beside pictures (._NAME,
Thumbs.db, .DS_Store, desktop.ini) are passed over.
"""

import time
from functools import partial
from pathlib import Path

from ...model import check_int
from ..api.denoising import check_strength, chosen, denoise_array
from ..formats import Options
from ..formats.files import Incomplete, check_outputs, whole_path
from ..formats.folders import is_sidecar
from ..formats.opening import ending_of, is_picture, name_out, open_picture, picture_paths, with_ending
from ..formats.pictures import WEBP_QUALITY
from ..formats.progress import progress
from ..networks import NETWORKS
from . import add_overwrite, add_views


def denoise_picture(models, picture, output, progress, strength):
    """Denoise all pages of what `open_picture` gives, and write them to a file like it."""
    with whole_path(output) as new:
        picture.write((denoise_page(models, picture, page, progress, strength) for page in picture.pages()), new)


def denoise_page(models, picture, page, progress, strength):
    result, missing = denoise_array(models, page, progress, strength), picture.missing(page)
    if missing is not None:
        result[missing] = page[missing]
    return result


def compare(picture, output):
    """Write the pages of a picture beside those of `output`, which was made of it."""
    pages = zip(picture.pages(), open_picture(output).pages(), strict=True)
    with whole_path(compared(output)) as new:
        picture.write((side_by_side(*both) for both in pages), new, twice=True)


def side_by_side(before, after):
    """Two pages beside each other; what has lost a transparency that hid nothing, as in a WebP, is shown without."""
    import numpy as np

    return np.concatenate([before[..., : after.shape[2]] if after.ndim > 2 else before, after], 1)


def plan(images, out, compare):
    """Which file becomes which: a dict {output: input}. And a list of the OSErrors of what can't be read of folders.

    FileNotFoundError for an image that isn't there, ValueError for two that have one output.
    """
    jobs, taken, errors = {}, {}, []
    for path in images:
        if not path.exists():
            raise FileNotFoundError(f"there is no file or folder {path}")
        is_folder = path.is_dir() and not is_picture(path)
        for file in pictures(path, out, errors.append) if is_folder else [path]:
            name = file.relative_to(path) if is_folder else Path(file.name)
            output = out / name_out(name)
            for target in targets(output, compare):
                if not taken.setdefault(target, file).samefile(file):
                    raise ValueError(f"{taken[target]} and {file} would both be written to {target}")
            if not is_sidecar(file):
                jobs[output] = file
    return jobs, errors


def targets(output, compare):
    return [output, compared(output)] if compare else [output]


def pictures(folder, out, onerror):
    """The pictures in a folder, but for those that an earlier run wrote to a folder `out` within it."""
    found, out = picture_paths(folder, onerror), out.resolve()
    return found if folder.resolve() == out else [p for p in found if not p.parent.resolve().is_relative_to(out)]


def compared(output):
    return with_ending(output, f"-compare{ending_of(output)}")


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
    existing = parser.add_mutually_exclusive_group()
    add_overwrite(existing)
    existing.add_argument(
        "--resume", action="store_true", help="Leave files that are there already as they are, and do the others."
    )
    parser.add_argument(
        "--quality",
        type=int,
        metavar="N",
        help=f"The quality of JPEGs and lossy WebPs, from 1 to 100, instead of the JPEG's own, or {WEBP_QUALITY}.",
    )
    parser.add_argument(
        "--strength",
        type=float,
        default=1,
        metavar="S",
        help="How strongly to denoise (%(default)s): 0 leaves all as it is, 2 denoises the result once more.",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="A file of weights, as `train` writes, instead of those shipped.",
    )
    parser.add_argument(
        "--network",
        choices=NETWORKS,
        help="The network that denoises (photo for independent noise, camera for all other, as the picture shows it): "
        "report, unet and resnet are for the course's small images.",
    )
    add_views(parser)


def main(args):
    begin, done, others = time.perf_counter(), 0, {}
    if args.quality is not None:
        check_int("quality", args.quality, 1, 100)
    check_strength(args.strength)
    options = Options(quality=args.quality)
    models = chosen(args.network, args.weights, args.views)
    jobs, errors = plan(args.images, args.out, args.compare)
    if not jobs and not errors:
        raise ValueError("there is no picture to denoise")
    wanted = {output: targets(output, args.compare) for output in jobs}
    there = {path for paths in wanted.values() for path in paths if args.resume and path.exists()}
    missing = [path for paths in wanted.values() for path in paths if path not in there]
    read = [*jobs.values(), *(args.weights or model.PRETRAINED for model in models)]
    check_outputs(missing, read, args.overwrite, resumed=there, make_folders=True)

    failed = [f"{error.filename}: {error.strerror}" for error in errors]
    todo = {output: file for output, file in jobs.items() if not there.issuperset(wanted[output])}
    for output, file in progress(todo.items(), desc="denoise", unit="picture"):
        so_far = ""
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            bar = partial(progress, desc=file.name, unit="tile", leave=False)
            picture = open_picture(file, options)
            if output not in there:
                denoise_picture(models, picture, output, bar, args.strength)
            done, so_far = done + 1, "is denoised, but not compared: "
            if name_out(file) != file:
                others.setdefault(output.suffix, set()).add(ending_of(file).lower())
            if args.compare and compared(output) not in there:
                compare(picture, output)
        except ImportError:  # an extra is missing
            raise
        except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
            failed.append(f"{file}: {so_far}{' '.join(str(error).split()) or type(error).__name__}")
    kinds = "".join(f", those in {' and '.join(sorted(from_))} as {to}" for to, from_ in sorted(others.items()))
    there = f", {len(jobs) - len(todo)} were there already" if args.resume else ""
    print(f"{done} picture{'s' * (done != 1)} denoised in {time.perf_counter() - begin:.0f} s{kinds}{there}")
    if failed:
        things = "pictures and folders" if errors else "pictures"
        raise Incomplete(f"{len(failed)} of {len(jobs) + len(errors)} {things} failed:\n" + "\n".join(failed))
