"""Make report.pdf from report.typ, the figures, and benchmarks/results.

    python -m report

The same inputs give the same file. Their digest stands in its keywords, so that a test sees when it is out of date.
Needs the extra "report".
"""

import argparse
import hashlib
import json
from pathlib import Path

from Proj_Miniproject2.others.formats.files import write_whole

from .facts import RESULTS, facts

ROOT = Path(__file__).parents[1]
PDF = ROOT / "report.pdf"
INPUTS = (
    "benchmarks/results/**/*.json",
    "benchmarks/published.json",
    "benchmarks/pictures.py",
    "report/*.py",
    "report/*.typ",
    "report/*.yml",
    "Proj_Miniproject2/bestmodel.pth",
    "Proj_Miniproject2/others/*.pth",
    "Proj_Miniproject2/others/noise/kinds.py",
)


def digest():
    """Of all that the PDF depends on: a string of 64 hexadecimal digits."""
    paths = sorted({path for pattern in INPUTS for path in ROOT.glob(pattern)})
    parts = [f"{path.relative_to(ROOT).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths]
    return hashlib.sha256("\n".join([*parts, json.dumps(facts())]).encode()).hexdigest()


def main(args=None):
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args(args)
    import typst

    from . import figures

    with figures.plt.rc_context(figures.STYLE):
        names = ("photos", "people", "filters", "filtering", "gradients", "ablations")
        drawn = {name: getattr(figures, name)() for name in names}
        times = sorted(RESULTS.glob("time-to-quality-*.json"))
        drawn |= {path.stem: figures.time_to_quality(path.name) for path in times}
    inputs = drawn | {"facts": json.dumps(facts()), "digest": digest()}
    pdf = typst.compile(
        str(ROOT / "report" / "report.typ"), root=str(ROOT), sys_inputs=inputs, ignore_system_fonts=True
    )
    write_whole(pdf, PDF)
    print(f"{PDF.name}: {len(pdf) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
