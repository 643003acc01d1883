"""Denoise pictures: files, or folders with all the pictures in them.

Each goes to the folder --out under its own name and in its own kind of file: JPEGs of the same quality, lossless WebPs
lossless, TIFFs with their compression (deflate for those that are lossy), but GIFs, which hold 256 colours, and HEIC
and AVIF (with `pip install '.[heic]'`) as PNGs, of 16 bits where they have 10 or 12. Each is turned upright. Grey stays
grey, transparency as it is; so do the colour profile, EXIF data (but for thumbnails) and XMP data, the resolution,
comments of JPEGs, and texts, gamma and chromaticities of PNGs. Whatever else a file may hold is left out.

Measured pictures come out as they were, too. With `pip install '.[measured]'`: PNGs of 16 bits; TIFFs of 1 to 64 bits
and of floats, with all their pages, channels, tags and smaller copies. FITS, MRC, NIfTI, DICOM, OME-Zarr and RAW have
extras of their own, see README. Of .npy and .npz the last axis is of channels if it is 4 at most (--channels: whatever
it is), and the axes before the rows count pages. But for 8 bits each page is denoised in the range that it has.

What would lose something (CMYK, an animation, 16 bits a value in other files), and what can't be read or written, is
named at the end; the others are done, and the exit status is 1. Files that systems leave beside pictures (._NAME,
Thumbs.db, .DS_Store, desktop.ini) are passed over.
"""

import math
import shutil
import time
import warnings
from collections import Counter
from contextlib import nullcontext
from functools import partial
from itertools import chain
from pathlib import Path

from ...model import check_int
from ..api.blocks import denoise_blocks
from ..api.denoising import check_made_even, check_strength
from ..api.measuring import noise_in, rounding_costs
from ..api.mosaics import denoise_coloured, denoise_fours
from ..api.way import denoise_array
from ..api.weights import chosen
from ..fast.machine import alone, in_threads
from ..formats import PLAIN, Options
from ..formats.files import Incomplete, check_outputs, whole_path
from ..formats.folders import is_sidecar
from ..formats.mosaic import PATTERNS, Mosaic, is_mosaic
from ..formats.opening import ending_of, is_picture, name_out, open_picture, picture_paths, with_ending
from ..formats.pictures import WEBP_QUALITY
from ..formats.progress import progress
from ..formats.raw import Raw
from ..formats.zarr import Copy, Zarr
from ..networks import NETWORKS
from ..training import processes
from . import add_known, add_overwrite, add_views, check_not_bent, known_of

REMARKS = {  # of so many pictures
    "small": "of {} the noise can't be measured, as they have less than 16 x 16 pixels: the network guessed it",
    "coarse": "of {} the noise is hardly coarser than a step, to which they are rounded: see --dtype float32",
}

SMALL = 2**18  # pixels of a page: such pages are shared out to threads, of larger ones the tiles are

# What a copy of a zarr that was begun may differ in from the run that goes on with it.
ELSEWHERE = {"command", "images", "out", "compare", "overwrite", "resume", "quality", "developed"}


def denoise_picture(models, picture, output, progress, args):
    """Denoise all pages of what `open_picture` gives, and write them to a file like it. Returns which of REMARKS are
    true of it."""
    remarks, even = set(), any(model.even for model in models)
    noise_of = noise_in(picture, **known_of(args)) if even else lambda page: None

    def denoised(page):
        noise, missing = noise_of(page), picture.missing(page)
        result = denoise_array(models, page, progress, args.strength, noise, missing, args.repair)
        if missing is not None:
            result[missing] = page[missing]
        if noise and rounding_costs(noise, page.dtype):
            remarks.add("coarse")
        if even and not noise:
            remarks.add("small")
        return result

    pages = picture.pages()
    first = next(pages)
    share = map if math.prod(first.shape[:2]) > SMALL else partial(in_threads, number=picture.count())
    with whole_path(output) as new:
        known = known_of(args) | ({"offset": 0} if isinstance(picture, Raw) else {})  # its pages are above black
        if hasattr(picture, "fours") and picture.fours():
            picture.write(denoise_fours(models, picture.pages(), progress, args.strength, known, args.repair), new)
        elif isinstance(picture, Raw) and len(set(picture.colours())) > 1:
            mosaic = picture.pages(), picture.colours()
            picture.write(denoise_coloured(models, *mosaic, progress, args.strength, known, args.repair), new)
        else:
            picture.write(share(denoised, chain([first], pages)), new)
    return remarks


def denoise_array_by_blocks(models, picture, output, progress, args):
    """Denoise a zarr, together with all other processes; with --resume go on with what a run with the same options
    left."""
    share = processes.rank(), processes.processes()
    source = picture.picture if args.dtype else picture
    copy = Copy(source, output, about(args), args.resume, args.dtype, share, processes.together)
    denoise_blocks(models, source, copy, progress, args.strength, known_of(args), args.repair, args.dtype)


def about(args):
    """The options that change what comes out."""
    return {name: str(value) for name, value in vars(args).items() if name not in ELSEWHERE}


def opened(file, options, mosaic):
    """As `open_picture`; mosaic: the pattern of those that its pages are, if they are any. One that seems to be in one
    is named."""
    picture = open_picture(file, options)
    if mosaic:
        return Mosaic(picture)
    if not isinstance(getattr(picture, "picture", picture), Zarr) and is_mosaic(next(picture.pages())):
        text = "seems to be a mosaic of a sensor's colours, of which the network sees the pattern, not the picture"
        warnings.warn(f"{file} {text}: see --mosaic", stacklevel=2)
    return picture


def is_copy(args, file, options):
    """Whether nothing that was asked for changes a file."""
    changes = args.strength or args.repair or args.quality or args.dtype
    return not changes and name_out(file, options) == file


def copy(file, output):
    """Leave all of a picture as it is, to the last byte."""
    with whole_path(output) as new:
        shutil.copytree(file, new) if file.is_dir() else shutil.copyfile(file, new)


def compare(picture, output, options):
    """Write the pages of a picture beside those of `output`, which was made of it with these options."""
    pages = zip(getattr(picture, "shown", picture.pages)(), open_picture(output, options).pages(), strict=True)
    with whole_path(compared(output)) as new:
        picture.write((side_by_side(*both) for both in pages), new, twice=True)


def side_by_side(before, after):
    """Two pages beside each other; what has lost a transparency that hid nothing, as in a WebP, is shown without."""
    import numpy as np

    return np.concatenate([before[..., : after.shape[2]] if after.ndim > 2 else before, after], 1)


def plan(images, out, compare, options=PLAIN):
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
            output = out / name_out(name, options)
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
        "--as",
        dest="developed",
        choices=("tiff", "jpeg"),
        default="tiff",
        help="What RAW files are developed to (%(default)s): a TIFF of 16 bits, or a JPEG.",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32",),
        help="Write floats, not the integers that came: what is finer than a step isn't rounded away (integers).",
    )
    parser.add_argument(
        "--channels",
        action="store_true",
        help="The last axis of .npy and .npz is of channels, however many: each is denoised by itself.",
    )
    parser.add_argument(
        "--mosaic",
        choices=PATTERNS,
        help="The pictures are mosaics of a sensor's colours, as cameras for one shot in colour write them to FITS and "
        "TIFF, with this pattern (none): each colour is denoised apart.",
    )
    parser.add_argument(
        "--strength",
        type=float,
        default=1,
        metavar="S",
        help="How strongly to denoise (%(default)s): 0 leaves all as it is, 2 denoises the result once more.",
    )
    add_known(parser)
    parser.add_argument(
        "--repair",
        action="store_true",
        help="Replace dead and hot pixels of measured pictures by what is around them: else they stay as far from it.",
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


def prepared(args, models, options):
    """What there is to do, once nothing speaks against it: a dict {output: input}; the outputs that are there already;
    a line for what of the folders can't be read, and for each whose output can't be written; how many the first are."""
    jobs, errors = plan(args.images, args.out, args.compare, options)
    if not jobs and not errors:
        raise ValueError("there is no picture to denoise")
    for file in jobs.values():
        if file.is_dir() and args.out.resolve().is_relative_to(file.resolve()):
            raise ValueError(f"{args.out} lies in {file}, which is an input: it would be overwritten")
    wanted = [path for output in jobs for path in targets(output, args.compare)]
    there = {path for path in wanted if args.resume and path.exists()}
    read = [*jobs.values(), *(args.weights or model.PRETRAINED for model in models)]
    as_folders = {path for output, file in jobs.items() if file.is_dir() for path in targets(output, args.compare)}

    def check(outputs, read=()):
        """That all targets of these can be written."""
        asked = [path for output in outputs for path in targets(output, args.compare)]
        missing = [path for path in asked if path not in there]
        check_outputs(missing, read, args.overwrite, there, make_folders=True, whole_folders=as_folders)

    unwritable = {}
    try:
        check(jobs, read)
    except FileExistsError:  # which is meant for all
        raise
    except OSError:
        for output in jobs:
            try:
                check([output])
            except OSError as error:
                unwritable[output] = error
        check([output for output in jobs if output not in unwritable] or jobs, read)
    named = [f"{error.filename}: {error.strerror}" for error in errors]
    named += [f"{jobs.pop(output)}: {error}" for output, error in unwritable.items()]
    return jobs, there, named, len(errors)


@alone()
def main(args):
    begin, done, others = time.perf_counter(), 0, set()
    if args.quality is not None:
        check_int("quality", args.quality, 1, 100)
    check_strength(args.strength)
    run = processes.from_first(lambda: f"{about(args)} {args.out.resolve()}")
    options = Options(args.quality, args.developed == "jpeg", args.dtype, args.channels, run)
    known, remarks = known_of(args), Counter()
    models = chosen(args.network, args.weights, args.views)
    check_made_even(models, args.repair or any(value is not None for value in known.values()))
    jobs, there, named, unread = processes.from_first(partial(prepared, args, models, options))
    number, several = processes.rank(), processes.processes()
    together = {output: file for output, file in jobs.items() if file.is_dir() and not args.mosaic}
    alone = [job for job in jobs.items() if job[0] not in together][number::several]
    todo = [job for job in (*alone, *together.items()) if not there.issuperset(targets(job[0], args.compare))]
    failed = [*named] if number == 0 else []
    for output, file in progress(todo, desc="denoise", unit="picture"):
        so_far, mine = "", number == 0 or output not in together
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            bar = partial(progress, desc=file.name, unit="block" if output in together else "tile", leave=False)
            with processes.together() if output in together else nullcontext():
                picture = opened(file, options, args.mosaic)
            check_not_bent(file, known)
            if output not in there:
                if is_copy(args, file, options):
                    if mine:
                        copy(file, output)
                elif output in together:
                    denoise_array_by_blocks(models, picture, output, bar, args)
                else:
                    remarks.update(denoise_picture(models, picture, output, bar, args))
            done, so_far = done + mine, "is denoised, but not compared: "
            if name_out(file, options) != file:
                others.add((output.suffix, ending_of(file).lower()))
            if args.compare and compared(output) not in there and mine:
                compare(picture, output, options)
        except ImportError:  # an extra is missing
            raise
        except Exception as error:  # a broken file makes Pillow's decoders raise almost anything
            if mine:
                failed.append(f"{file}: {so_far}{' '.join(str(error).split()) or type(error).__name__}")
    shares = processes.gathered((done, failed, others, remarks))
    done, failed = sum(done for done, *_ in shares), [line for _, lines, *_ in shares for line in lines]
    kinds = sorted(set().union(*(others for _, _, others, _ in shares)))
    complete = sum(there.issuperset(targets(output, args.compare)) for output in jobs)
    print(closing_line(done, time.perf_counter() - begin, kinds, complete if args.resume else None))
    for remark, number in sorted(sum((remarks for *_, remarks in shares), Counter()).items()):
        print(REMARKS[remark].format(number))
    if failed:
        things = "pictures and folders" if unread else "pictures"
        raise Incomplete(f"{len(failed)} of {len(jobs) + len(named)} {things} failed:\n" + "\n".join(failed))


def closing_line(done, seconds, kinds, complete):
    """What was done. kinds: pairs of endings (after, before) that differ; complete: how many were there already, or
    None."""
    line = f"{done} picture{'s' * (done != 1)} denoised in {seconds:.0f} s"
    for to in sorted({after for after, _ in kinds}):
        line += f", those in {' and '.join(before for after, before in kinds if after == to)} as {to}"
    return line if complete is None else f"{line}, {complete} were there already"
