"""Draw loss and PSNR over the pairs seen, for one or more trainings.

From results files (`train --results`), or from logs of what `train` printed, which know epochs and no PSNR.
"""

import json
import re
from pathlib import Path

from .files import check_outputs

LINE = re.compile(r"epoch (\d+)/\d+: loss (\S+),")


def read_curve(path):
    """(unit, points): "pairs" or "epochs", and a list of dicts with that unit, "loss" and "psnr", each None if unknown.

    Raises OSError, or ValueError for a file that is neither results nor a log.
    """
    text = Path(path).read_text(errors="replace")
    try:
        curve = json.loads(text)["curve"]
        points = [{name: point[name] for name in ("pairs", "loss", "psnr")} for point in curve]
    except (ValueError, KeyError, TypeError):
        points = [{"epochs": int(epoch), "loss": float(loss), "psnr": None} for epoch, loss in LINE.findall(text)]
    if not points:
        raise ValueError(f"{path} holds no curve: expected a results file, or a log with lines as {LINE.pattern!r}")
    return next(iter(points[0])), points


def add_arguments(parser):
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULTS", help="results files or logs")
    parser.add_argument("--out", type=Path, required=True, help="picture to write: .svg, .png or .pdf")


def main(args):
    check_outputs(args.out)
    curves = {path: read_curve(path) for path in args.results}
    units = {unit for unit, _ in curves.values()}
    if len(units) > 1:
        raise ValueError("some files count pairs and some epochs: draw results files and logs apart")
    from matplotlib import pyplot as plt

    formats = plt.figure().canvas.get_supported_filetypes()
    if args.out.suffix.lstrip(".") not in formats:
        raise ValueError(f"{args.out} should end in one of {', '.join(sorted(formats))}")
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for axis, what, label in zip(axes, ("loss", "psnr"), ("loss", "PSNR in dB, photos set aside"), strict=True):
        for path, (unit, points) in curves.items():
            known = [(point[unit], point[what]) for point in points if point[what] is not None]
            if known:
                axis.plot(*zip(*known, strict=True), label=path.stem, marker=".", linewidth=1)
        axis.set_xlabel(f"{unit} seen")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(args.out)
    print(f"{args.out} shows {len(curves)} trainings")
