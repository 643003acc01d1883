"""Draw loss and PSNR over the pairs seen, for one or more trainings.

From results files (`train --results`), or from logs of what `train` printed; those of `Model.train` know epochs alone.
"""

import io
import json
import re
from pathlib import Path

from ..formats.files import check_outputs, write_whole
from . import add_overwrite

LINE = re.compile(r"epoch (?P<epoch>\d+)/\d+: loss (?P<loss>[^\s,]+),|(?P<pairs>\d+) pairs seen: (?P<psnr>\S+) dB")


def read_curve(path):
    """(unit, points): "pairs" or "epochs", and a list of dicts with that unit, "loss" and "psnr", each None if unknown.

    Raises OSError, or ValueError for a file that is neither results nor a log.
    """
    text = Path(path).read_text(errors="replace")
    try:
        points = read_results(text) or read_log(text)
        unit = next(iter(points[0]))
        numbers = [
            {name: None if value is None and name != unit else float(value) for name, value in point.items()}
            for point in points
        ]
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"{path} holds no curve: expected a results file, or a log of what train printed") from error
    return unit, numbers


def read_results(text):
    """The points of `read_curve` in the text of a results file; of any other none."""
    try:
        return [{name: point[name] for name in ("pairs", "loss", "psnr")} for point in json.loads(text)["curve"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def read_log(text):
    """The points of `read_curve` in a log, the loss of each being that of the epoch before it."""
    epochs, points, loss = [], {}, None
    for found in LINE.finditer(text):
        if found["epoch"]:
            loss = float(found["loss"])
            epochs.append({"epochs": int(found["epoch"]), "loss": loss, "psnr": None})
        else:  # a training that goes on says again what it has seen
            pairs = int(found["pairs"])
            points.setdefault(pairs, {"pairs": pairs, "loss": loss, "psnr": float(found["psnr"])})
    return list(points.values()) or epochs


def add_arguments(parser):
    parser.add_argument(
        "results",
        type=Path,
        nargs="+",
        metavar="RESULTS",
        help="Files that `train --results` wrote, or logs of what trainings printed.",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="The picture to write, a file .svg, .png or .pdf."
    )
    add_overwrite(parser)


def main(args):
    check_outputs([args.out], args.results, args.overwrite)
    curves = {path: read_curve(path) for path in args.results}
    units = {unit for unit, _ in curves.values()}
    if len(units) > 1:
        raise ValueError("some files count pairs and some epochs: draw them apart")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6))
    ending, formats = args.out.suffix.lower().lstrip("."), figure.canvas.get_supported_filetypes()
    if ending not in formats:
        raise ValueError(f"{args.out} should end in one of {', '.join(sorted(formats))}")
    alike = len({path.stem for path in curves}) < len(curves)
    names = {path: str(path) if alike else path.stem for path in curves}
    axes = figure.subplots(1, 2)
    for axis, what, label in zip(axes, ("loss", "psnr"), ("loss", "PSNR in dB, photos set aside"), strict=True):
        for path, (unit, points) in curves.items():
            known = [(point[unit], point[what]) for point in points if point[what] is not None]
            if known:
                axis.plot(*zip(*known, strict=True), label=names[path], marker=".", linewidth=1)
        axis.set_xlabel(f"{unit} seen")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, format=ending)
    write_whole(content.getbuffer(), args.out)
    print(f"{args.out} shows {len(curves)} trainings")
