"""Write the README's tables anew from the files in benchmarks/results.

python -m benchmarks.tables [--check]
"""

import argparse
import json
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
OWN = "the file's own noise"


def read(name):
    return json.loads((RESULTS / name).read_text())


def table(head, rows):
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


TRAININGS = {
    "best": "`bestmodel.pth`: fresh pairs, Adam, at last its own pupil",
    "finetune": "`bestmodel.pth` and one more epoch of `train`, fixed pairs",
    "teacher": "its first training alone",
    "adam": "the same without weight decay",
    "muon": "Muon, without weight decay",
    "mixed": "Adam, without weight decay, Gaussian pairs among the others at the end",
    "default": "`Model().train(noisy1, noisy2)`, fixed pairs",
    "one-epoch": "`Model().train(noisy1, noisy2, num_epochs=1)`",
    "report": "the report's recipe, fixed pairs",
}


def psnr():
    rows = [["noisy input", "", "", f"{read('evaluate-best.json')[OWN]['noisy']:.2f}"]]
    for name, what in TRAININGS.items():
        training, score = read(f"{name}.json"), read(f"evaluate-{name}.json")[OWN]
        pupil = training.get("pupil_epochs")  # older files don't have it
        images = f"{training['num_epochs']}{f' + {pupil}' if pupil else ''} x {training['pairs']:,}"
        rows.append([what, images, training["precision"], f"{score['denoised']:.2f}"])
    return table(["", "epochs x pairs", "products", "PSNR"], rows)


def robustness():
    best, mixed = read("evaluate-best.json"), read("evaluate-mixed.json")
    rows = [
        [name, *(f"{v:.2f}" for v in (s["noisy"], s["denoised"], mixed[name]["denoised"]))] for name, s in best.items()
    ]
    return table(["", "noisy", "`bestmodel.pth`", "with Gaussian pairs"], rows)


def gradients():
    sizes = read("ablations/gradients.json")
    rows = [
        [f"`{layers[0][0]}`", *(f"{size:.0e}" for _, weight, output in layers for size in (weight, output))]
        for layers in zip(*sizes.values(), strict=True)
    ]
    return table(["", *(f"{init}: {what}" for init in sizes for what in ("weight", "output"))], rows)


def ablations():
    rows = []
    for path in sorted(set((RESULTS / "ablations").glob("*.json")) - {RESULTS / "ablations" / "gradients.json"}):
        for variant, runs in json.loads(path.read_text()).items():
            scores, cells = [run["psnr"] for run in runs], ["diverges", "", ""]
            if None not in scores:
                seconds = statistics.mean(run["seconds"] for run in runs)
                cells = [f"{statistics.mean(scores):.2f}", f"{max(scores) - min(scores):.2f}", f"{seconds:.0f}"]
            rows.append([path.stem.replace("-", " "), variant, *cells])
    return table(["study", "variant", "PSNR", "between seeds", "seconds"], rows)


def speed():
    results = read("speed.json")
    rows = []
    for what, value, sense, goal in results["goals"]:
        met = value >= goal if sense == "at least" else value <= goal
        rows.append([what, f"{value:.2f}", f"{sense} {goal:g}", "yes" if met else "no"])
    machine = results["machine"]
    return f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}:\n\n" + table(
        ["", "measured", "goal", "met"], rows
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the README is up to date")
    args = parser.parse_args()
    before = text = README.read_text()
    for make in (psnr, robustness, gradients, ablations, speed):
        pattern = rf"(<!-- table: {make.__name__} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda match, make=make: f"{match[1]}\n{make()}\n\n{match[2]}", text, flags=re.S)
    if args.check and text != before:
        parser.exit(1, "the README's tables differ from benchmarks/results: run python -m benchmarks.tables\n")
    README.write_text(text)


if __name__ == "__main__":
    main()
