"""Write the tables of README.md and benchmarks/README.md anew from the files in benchmarks/results.

python -m benchmarks.tables [--check]
"""

import argparse
import json
import re
import statistics
from pathlib import Path

from .parallel import batch_for, message_seconds, speedup

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = ROOT / "README.md", ROOT / "benchmarks" / "README.md"
OWN = "the file's own noise"


def read(name):
    return json.loads((RESULTS / name).read_text())


def table(head, rows):
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


# results file: what it is
TRAININGS = {
    "unet": "`unet.pth`: a residual U-Net, its last training, half of the photos in new colours",
    "unet-narrow": "its first training, narrower, from nothing, fresh pairs",
    "resnet": "`resnet.pth`: a residual network, a short training on fresh pairs",
    "best": "`bestmodel.pth`: the report's network, its third training, targets of eight noisy images",
    "best-first": "its first training: fresh pairs, Adam, then self-distillation",
    "teacher": "that without self-distillation",
    "finetune": "`bestmodel.pth` and one more epoch of `train`, fixed pairs",
    "adam": "Adam, fresh pairs, without weight decay",
    "muon": "Muon, without weight decay",
    "mixed": "Adam, without weight decay, Gaussian pairs among the others at the end",
    "default": "`Model().train(noisy1, noisy2)`, fixed pairs",
    "short": "`train --run short`: the soonest good, fresh pairs",
    "one-epoch": "`Model().train(noisy1, noisy2, num_epochs=1)`",
    "report": "the report's recipe, fixed pairs",
}


def headline():
    """The one number, beside the report's and that of the best from-scratch network of the class."""
    best, noisy = (f"{read('evaluate-best.json')[OWN][which]:.2f}" for which in ("denoised", "noisy"))
    unet = f"{read('evaluate-unet.json')[OWN]['denoised']:.2f}"
    published = read("../published.json")
    report, scratch = f"{published['report']['own']:.2f}", f"{published['from scratch']['here']:.2f}"
    return (
        "On the course's task, images of 32 x 32 pixels with one pixel of each block for the noise, it reaches\n"
        f"**{best} dB**. The noisy images have {noisy}, the report whose network this is reached {report}, the best\n"
        f"from-scratch network of the class {scratch}; a U-Net of the same blocks {unet} ([more](#how-good))."
    )


def psnr(names=("unet", "best", "default", "one-epoch", "report"), folder="benchmarks/results"):
    rows = [["noisy input", "", "", f"{read('evaluate-best.json')[OWN]['noisy']:.2f}"]]
    for name in names:
        what = TRAININGS[name]
        training, score = read(f"{name}.json"), read(f"evaluate-{name}.json")[OWN]
        distilled = training.get("distill_epochs", training.get("pupil_epochs"))  # as older files call it
        images = f"{training['num_epochs']}{f' + {distilled}' if distilled else ''} x {training['pairs']:,}"
        file = f"[{what}]({folder}/{name}.json)"
        rows.append([file, images, training["precision"], f"{score['denoised']:.2f}"])
    return table(["", "epochs x pairs", "products", "PSNR"], rows)


def trainings():
    return psnr(TRAININGS, "results")


def photos():
    """PSNR of methods with one of each kind of noise, what they gain where they gain least of cameras, seconds."""
    results = read("photos.json")
    left_out = (  # never the best, or ours
        "wavelets (scikit-image)",
        "total variation (scikit-image)",
        "photo.pth alone",
        "ours in float32",
    )
    kinds = ["clean", "white 25", "grey 25", "JPEG 85", "lines", "impulses", "camera"]

    def cell(score):
        return "" if score is None else f"{score:.2f}"

    rows = [
        [name, *(cell(scores.get(kind)) for kind in kinds)]
        + [cell(None if name == "noisy" else results["least gain"][name].get("camera"))]
        + [cell(results["seconds"][name] or None)]
        for name, scores in results["PSNR"].items()
        if name not in left_out
    ]
    return table(["", *kinds, "camera, least gain", "seconds"], rows)


def photos_all():
    """PSNR of every method with every kind of noise, and what it gains on the picture on which it gains least."""
    results = read("photos.json")
    kinds = list(results["PSNR"]["noisy"])

    def cells(scores):
        return ["" if scores.get(kind) is None else f"{scores[kind]:.2f}" for kind in kinds]

    seconds = {name: f"{found:.2f}" if found else "" for name, found in results["seconds"].items()}
    means = [[name, *cells(scores), seconds[name]] for name, scores in results["PSNR"].items()]
    least = [[name, *cells(gains)] for name, gains in results["least gain"].items() if name != "noisy"]
    return f"{table(['', *kinds, 'seconds'], means)}\n\nLeast gain on a picture:\n\n{table(['', *kinds], least)}"


def noises():
    """What a short training without a part of the mixture reaches on each kind of noise."""
    scores = read("noises.json")["PSNR"]
    kinds = list(scores["photo.pth"])
    return table(["", *kinds], [[name, *(f"{row[kind]:.2f}" for kind in kinds)] for name, row in scores.items()])


def views():
    """PSNR and seconds of the networks by how many of a picture's symmetries they see."""
    found = read("views.json")["views"]
    rows = [
        [network, *(f"{score['PSNR']:.2f} dB, {score['seconds']:.1f} s" for score in by_views.values())]
        for network, by_views in found.items()
    ]
    return table(["views", *next(iter(found.values()))], rows)


FAINT = 1, 2, 4, 8  # the sigmas of `harm`, but 0
DRAWN = "plot", "text", "screen"


def harm():
    """What the methods do to pictures that are nearly clean, or of few photons: see `benchmarks.harm`."""
    results = read("harm.json")
    faint, photons, stars = results["8 bits"], results["photons"], results["stars"]
    photos = [name for name in pictures_of(faint) if not name.startswith(DRAWN)]
    shown = "0.3", "5", "30", "1000"
    rows = []
    for name in dict.fromkeys([*faint, *photons]):
        scores, few, star = (found.get(name, {}) for found in (faint, photons, stars))
        clean = [scores[f"{picture}, 0"] for picture in pictures_of(faint) if scores.get(f"{picture}, 0")]
        cells = [f"{min(clean):.2f}" if clean else ""]
        for sigma in FAINT:
            cells.append(decibels(statistics.mean(scores[f"{photo}, {sigma}"] for photo in photos) if scores else None))
        cells.append(decibels(least_gain(faint, name)) if scores and name != "noisy" else "")
        cells += [decibels(few.get(f"{number} photons")) for number in shown]
        cells += [percent(few.get("flux of 0.3 photons")), percent(next(iter(star.values()), None))]
        rows.append([name, *cells])
    heads = [f"sigma {sigma}" for sigma in FAINT], [f"{number} photons" for number in shown]
    return table(["", "clean, least", *heads[0], "least gain", *heads[1], "flux of 0.3", "of stars"], rows)


def harm_all():
    """All that `benchmarks.harm` measures."""
    results = read("harm.json")
    parts = []
    for form in ("8 bits", "16 bits", "floats"):
        faint = results[form]
        rows = [
            [f"{picture}: {name}", *(decibels(found[key], "same") if (key := f"{picture}, {sigma}") in found else ""
                                     for sigma in (0, *FAINT))]
            for picture in pictures_of(faint) for name, found in faint.items()
        ]  # fmt: skip
        parts.append(f"{form[0].upper()}{form[1:]}:\n\n{table(['', 'sigma 0', *map(str, FAINT)], rows)}")
    few = results["photons"]
    numbers = [column.removesuffix(" photons") for column in few["noisy"] if not column.startswith("flux")]
    rows = [[name, *(decibels(found[f"{n} photons"]) for n in numbers)] for name, found in few.items()]
    parts.append(f"Photons at white:\n\n{table(['', *numbers], rows)}")
    rows = [
        [name, *(percent(found[f"flux of {n} photons"]) for n in numbers), percent(*results["stars"][name].values())]
        for name, found in few.items()
    ]
    parts.append(f"What is left of the light:\n\n{table(['', *numbers, *results['stars']['noisy']], rows)}")
    odd = results["ranges"]
    rows = [
        [
            column,
            *(f"{found[column]:g}" if column.startswith("in") else decibels(found[column]) for found in odd.values()),
        ]
        for column in odd["noisy"]
    ]
    parts.append(f"Beside something else:\n\n{table(['', *odd], rows)}")
    return "\n\n".join(parts)


def pictures_of(faint):
    """The names of the pictures in a part of harm.json."""
    return dict.fromkeys(column.rpartition(", ")[0] for column in faint["noisy"])


def least_gain(faint, name):
    """What a method gains where it gains least, of all pictures with noise."""
    noisy, scores = faint["noisy"], faint[name]
    return min(scores[key] - was for key, was in noisy.items() if not key.endswith(", 0"))


def decibels(score, none=""):
    return none if score is None else f"{score:.2f}"


def percent(share):
    return "" if share is None else f"{share:.1%}"


def singles():
    """What a minute of training on one noisy picture gains over the shipped weights."""
    rows = [
        [f"{noise}: {picture}", *(f"{scores[what]:.2f}" for what in ("noisy", "shipped", "singles"))]
        for noise, pictures in read("singles.json")["PSNR"].items()
        for picture, scores in pictures.items()
    ]
    return table(["", "noisy", "shipped", "`--singles`"], rows)


def robustness():
    names = {"best": "`bestmodel.pth`", "mixed": "with Gaussian pairs", "unet": "`unet.pth`", "resnet": "`resnet.pth`"}
    scores = {
        what: read(f"evaluate-{n}.json") for n, what in names.items() if (RESULTS / f"evaluate-{n}.json").exists()
    }
    rows = [
        [noise, f"{best['noisy']:.2f}", *(f"{score[noise]['denoised']:.2f}" for score in scores.values())]
        for noise, best in read("evaluate-best.json").items()
    ]
    return table(["", "noisy", *scores], rows)


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


def of_each_machine(pattern, tables):
    """What `tables` makes of each machine's results file, below the machine's name."""
    parts = []
    for path in sorted(RESULTS.glob(pattern)):
        results = json.loads(path.read_text())
        machine = results["machine"]
        units = f"{machine['processor']} ({machine['units']}), {machine['threads']} threads, torch {machine['torch']}"
        parts.append(f"{units}:\n\n{tables(results)}")
    return "\n\n".join(parts) or "Not measured yet."


def speed():
    def ratios(results):
        labels = {"training": "training, batch ", "prediction": "prediction, "}
        found = {label + size: one for what, label in labels.items() for size, one in results[what].items()}
        for network, by_threads in results.get("larger", {}).items():
            found |= {f"{network}, {n} thread{'s' * (n != '1')}": one for n, one in by_threads.items()}
        kinds = {
            "ours": "torch / ours",
            "textbook": "torch / textbook",
            "bfloat16 (autocast / ours)": "autocast / ours in bfloat16",
            "ONNX Runtime / ours": "ONNX Runtime / ours",
            "ONNX Runtime / ours in bfloat16": "ONNX Runtime / ours in bfloat16",
        }
        kinds = {kind: name for kind, name in kinds.items() if any(kind in one["ratios"] for one in found.values())}
        rows = [
            [name, *(f"{one['ratios'][kind]:.2f}" if kind in one["ratios"] else "" for kind in kinds)]
            for name, one in found.items()
        ]
        return table(["", *kinds.values()], rows)

    return of_each_machine("speed-*.json", ratios)


def time_to_quality():
    def seconds(results):
        """To each goal, and what the longest training reaches."""
        rows = []
        for name, goals in results["seconds to"].items():
            last = max(results["trainings"][name], key=lambda run: (run["pairs"], run["held_out_psnr"]))
            cells = ["–" if seconds is None else f"{seconds:.0f}" for seconds in goals.values()]
            rows.append([name, *cells, f"{last['pairs']:,}", f"{last['curve'][-1]['psnr']:.2f}"])
        return table(["seconds to", *(f"{goal} dB" for goal in goals), "longest, pairs", "PSNR"], rows)

    return of_each_machine("time-to-quality-*.json", seconds)


def layers():
    def ratios(results):
        kinds, head = {"ratio": "geometric mean"}, ["", "torch / ours"]
        if "geometric mean, bfloat16" in results:  # not in older files
            kinds["bfloat16 ratio"] = "geometric mean, bfloat16"
            head.append("autocast / ours in bfloat16")
        rows = [[name, *(f"{found[kind]:.2f}" for kind in kinds)] for name, found in results["layers"].items()]
        return table(head, [*rows, ["**geometric mean**", *(f"**{results[mean]:.2f}**" for mean in kinds.values())]])

    return of_each_machine("layers-*.json", ratios)


def kinds():
    def times(results):
        found = results["time without by time with"]
        rows = [[name, *(f"{ratio:.2f}" for ratio in ratios.values())] for name, ratios in found.items()]
        return table(["without", *(f"`{kind}`" for kind in next(iter(found.values())))], rows)

    return of_each_machine("kinds-*.json", times)


def parallel():
    def measured_and_predicted(results):
        measured, paper = [], []
        for network, batches in results["networks"].items():
            for batch, found in batches.items():
                speeds = (f"{int(batch) / found[who]['seconds']:.0f}" for who in ("one", "two"))
                measured.append([f"{network}, batch {batch}", *speeds, f"{found['two']['share']:.0%}"])
            size = max(found["two"]["bytes"] for found in batches.values())
            for n in (8, 64):
                cells = [f"{size / 1e6:.1f} MB, {1000 * message_seconds(size, n):.0f} ms"]
                cells += [f"{batch_for(batches, n, goal):,}" for goal in (1, n / 2)]
                cells += [f"{speedup(batches, batch, n):.1f}" for batch in (64, 1024)]
                paper.append([f"{network}, {n} machines", *cells])
        head = ["images/s", "1 process, 2 threads", "2 processes, 1 thread", "in messages"]
        on_paper = ["", "a step's message", "pays from batch", "half the ideal from", "gain, batch 64", "batch 1,024"]
        return f"{table(head, measured)}\n\nOn paper:\n\n{table(on_paper, paper)}"

    return of_each_machine("parallel-*.json", measured_and_predicted)


def memory():
    rows = [
        [task, *(found.get(version, "") for version in ("ours", "torch.nn", "torch.nn, channels_last"))]
        for task, found in read("memory.json")["MiB"].items()
    ]
    return table(["", "ours", "torch.nn", "channels_last"], rows)


TABLES = (
    headline,
    psnr,
    trainings,
    photos,
    noises,
    photos_all,
    views,
    harm,
    harm_all,
    singles,
    robustness,
    gradients,
    ablations,
    speed,
    layers,
    kinds,
    parallel,
    time_to_quality,
    memory,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the tables are up to date")
    args = parser.parse_args()
    for page in PAGES:
        before = text = page.read_text()
        for make in TABLES:
            pattern = rf"(<!-- table: {make.__name__} -->\n).*?(<!-- end -->)"
            text = re.sub(pattern, lambda match, make=make: f"{match[1]}\n{make()}\n\n{match[2]}", text, flags=re.S)
        if args.check and text != before:
            parser.exit(1, f"{page}'s tables differ from benchmarks/results: run python -m benchmarks.tables\n")
        page.write_text(text)


if __name__ == "__main__":
    main()
