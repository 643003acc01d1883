"""The report's figures: each function gives an SVG as a string, from benchmarks/results, the weights or the code.

Its text is set in the report's own typeface. The photos are free: astronaut (NASA, public domain), coffee (Rachel
Michetti, CC0) and rocket (SpaceX, public domain), as scikit-image ships them.
"""

import io
import json
import math
import statistics
from pathlib import Path

import matplotlib

matplotlib.use("svg")

import torch
from matplotlib import pyplot as plt
from matplotlib.ticker import MultipleLocator, NullFormatter

from benchmarks.pictures import CUT, RMS, as_developed, panels
from benchmarks.time_to_quality import best_rate
from Proj_Miniproject2 import denoise
from Proj_Miniproject2 import model as m
from Proj_Miniproject2.others.fast.minimal_filtering import TILES
from Proj_Miniproject2.others.formats.files import load
from Proj_Miniproject2.others.networks import PhotoUNet
from Proj_Miniproject2.others.noise.kinds import gaussian_noise
from Proj_Miniproject2.others.noise.metrics import psnr

from .facts import flat_share

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
COLUMN, PAGE = 3.36, 6.93  # inches: the width of a column, and of both with the gap
STYLE = {
    # STIX stands for the typeface that typst sets: they are as wide.
    **{"font.family": "STIXGeneral", "mathtext.fontset": "stix", "font.size": 8, "axes.titlesize": 8},
    **{"axes.labelsize": 8, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5, "legend.fontsize": 7.5},
    **{"axes.linewidth": 0.5, "xtick.major.width": 0.5, "ytick.major.width": 0.5, "lines.linewidth": 1},
    **{"xtick.major.size": 2, "ytick.major.size": 2, "xtick.minor.size": 1, "ytick.minor.size": 1},
    **{"xtick.major.pad": 2, "ytick.major.pad": 2, "axes.labelpad": 2, "lines.markersize": 4},
    **{"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "legend.handlelength": 1.8},
    **{"svg.fonttype": "none", "svg.hashsalt": "report", "grid.linewidth": 0.4, "grid.color": "0.85"},
}
# Okabe and Ito's colours, which the colour-blind tell apart; in grey the markers and lines do.
BLACK, BLUE, ORANGE, GREEN, RED = "#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00"


def read(name):
    return json.loads((RESULTS / name).read_text())


def svg(figure):
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return out.getvalue().replace("STIXGeneral", "Libertinus Serif")


def enlarged(image, times):
    """(3, H, W) in [0, 255] as (H times, W times, 3) for `imshow`, every pixel a square."""
    pixels = image.round().to(torch.uint8).permute(1, 2, 0)
    return pixels.repeat_interleave(times, 0).repeat_interleave(times, 1).numpy()


# the first row and column that are shown of a photo, and how many: panels are twice as wide as high
WINDOWS = {"astronaut": (2, 10), "coffee": (40, 18), "rocket": (28, 26)}
ROWS, COLUMNS = 34, 68
PART = 30, 88  # the first row and column that are shown in `people`


def photos():
    """Noisy, ours, U-Net and clean, a row for each photo."""
    from skimage import data

    rows = {name: panels(getattr(data, name)()) for name in WINDOWS}
    columns, gap, title = max(map(len, rows.values())), 0.04, 0.14  # inches
    width = (PAGE - gap * (columns - 1)) / columns
    step = width * ROWS / COLUMNS + title
    figure = plt.figure(figsize=(PAGE, len(rows) * step))
    for i, (name, found) in enumerate(rows.items()):
        top, left = WINDOWS[name]
        for j, (what, image, score) in enumerate(found):
            corner = j * (width + gap) / PAGE, 1 - (i + 1) / len(rows)
            axis = figure.add_axes((*corner, width / PAGE, (step - title) / figure.get_figheight()))
            window = enlarged(image[:, top : top + ROWS, left : left + COLUMNS], 5)
            axis.imshow(window, interpolation="none", aspect="auto")
            axis.set_title(what if score is None else f"{what}: {score:.2f}", fontsize=8, pad=2)
            axis.axis("off")
    return svg(figure)


def people():
    """A developed photo's noise: what a network for independent noise makes of it, ours, and how far it correlates."""
    from skimage import data

    photo = torch.tensor(data.astronaut())[CUT].permute(2, 0, 1)
    noisy, clean = as_developed(photo, torch.Generator().manual_seed(0))
    images = {"noisy": noisy}
    images |= {"photo.pth": denoise(noisy, weights=PhotoUNet.PRETRAINED), "denoise": denoise(noisy)}
    height, gap, plot, title = 0.98, 0.04, 0.98, 0.14  # inches
    width = (COLUMN - plot - 0.1 - gap * (len(images) - 1)) / len(images)
    figure = plt.figure(figsize=(COLUMN, height + title))
    top, left = PART
    shape = round(44 * height / width), 44  # of what is shown of each
    for i, (what, image) in enumerate(images.items()):
        axis = figure.add_axes((i * (width + gap) / COLUMN, 0, width / COLUMN, height / (height + title)))
        window = image[:, top : top + shape[0], left : left + shape[1]]
        axis.imshow(enlarged(window, 6), interpolation="none", aspect="auto")
        axis.set_title(f"{what}: {psnr(image[None], clean[None]):.1f}", fontsize=7.5, pad=2)
        axis.axis("off")
    axis = figure.add_axes((1 - (plot - 0.22) / COLUMN, 0.28 / (height + title), (plot - 0.24) / COLUMN, 0.66))
    white = gaussian_noise(photo, RMS, torch.Generator().manual_seed(0))
    kinds = {"white": (white, BLUE, "o", ":", (1.2, -0.16)), "developed": (noisy, RED, "s", "-", (1.4, 0.62))}
    for what, (image, colour, marker, line, place) in kinds.items():
        found = shared_by_distance(image.float() - clean)
        axis.plot(found, color=colour, marker=marker, linestyle=line, markersize=2.5)
        axis.text(*place, what, color=colour, fontsize=7.5)
    axis.set_xlabel("pixels apart")
    axis.set_title("correlation", fontsize=7.5, pad=2)
    axis.set_ylim(-0.2, 1)
    return svg(figure)


def shared_by_distance(noise, distances=6):
    """The correlation of noise (C, H, W) with that so many pixels below: one number for each distance."""
    noise = noise - noise.mean((1, 2), keepdim=True)
    shared = [(noise[:, d:] * noise[:, : noise.shape[1] - d]).mean().item() for d in range(distances)]
    return [value / shared[0] for value in shared]


def filters():
    """The first layer's kernels, those that pass least of a flat area first; grey is zero."""
    weight = load(m.Model.PRETRAINED, "cpu")["0.weight"]
    columns, gap = 32, 1
    rows, side = -(-len(weight) // columns), weight.shape[2]
    sheet = torch.full((3, rows * (side + gap) - gap, columns * (side + gap) - gap), 255.0)
    for i, kernel in enumerate(weight[flat_share(weight).argsort()]):
        top, left = i // columns * (side + gap), i % columns * (side + gap)
        sheet[:, top : top + side, left : left + side] = 127.5 * (1 + kernel / kernel.abs().max())
    figure = plt.figure(figsize=(COLUMN, COLUMN * sheet.shape[1] / sheet.shape[2]))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.imshow(enlarged(sheet, 8), interpolation="none", aspect="auto")
    axis.axis("off")
    return svg(figure)


def filtering():
    """A tile's way through minimal filtering."""
    tile, taps = max(TILES), 3
    wide = tile + taps - 1
    figure = plt.figure(figsize=(COLUMN, 1.12))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_xlim(0, COLUMN * 10)
    axis.set_ylim(0, 11.2)
    axis.set_aspect("equal")
    axis.axis("off")

    cell = 0.6

    def grid(x, y, n, colour):
        for i in range(n + 1):
            axis.plot([x, x + n * cell], [y + i * cell] * 2, color=colour, linewidth=0.5)
            axis.plot([x + i * cell] * 2, [y, y + n * cell], color=colour, linewidth=0.5)
        axis.fill(
            [x, x + n * cell, x + n * cell, x], [y, y, y + n * cell, y + n * cell], color=colour, alpha=0.18, lw=0
        )
        return x + n * cell

    def arrow(x, y, label, length=4.6):
        axis.annotate("", (x + length, y), (x, y), arrowprops={"arrowstyle": "->", "linewidth": 0.7})
        axis.text(x + length / 2, y + 0.45, label, ha="center")

    end = grid(0.3, 6.4, wide, BLUE)
    axis.text(0.3, 10.3, f"image, {wide} × {wide}", fontsize=7.5)
    arrow(end + 0.4, 8.2, "B · B′")
    end = grid(9.6, 6.4, wide, BLUE)
    grid(1, 1.3, taps, RED)
    axis.text(0.3, 0.2, f"kernel, {taps} × {taps}", fontsize=7.5)
    arrow(4.3, 2.4, "G · G′")
    grid(9.6, 0.6, wide, RED)
    axis.text(15.2, 4.9, f"⊙  {wide**2} products", fontsize=8, va="center")
    axis.plot([13.6, 14.6, 14.6, 13.6], [8.2, 8.2, 2.4, 2.4], color=BLACK, linewidth=0.7)
    arrow(22.4, 4.9, "A′ · A", 4.6)
    grid(27.8, 3.8, tile, BLACK)
    axis.text(28.9, 6.6, f"output, {tile} × {tile}", fontsize=7.5, ha="center")
    axis.text(32.6, 0.2, f"as patches: {tile**2 * taps**2} products", fontsize=7.5, ha="right")
    return svg(figure)


def gradients():
    """Root mean square of the gradients through the layers."""
    sizes = read("ablations/gradients.json")
    looks = {"torch": (RED, "s", ":"), "xavier": (BLUE, "o", "--"), "kaiming": (BLACK, "^", "-")}
    names = {"torch": "torch’s default", "xavier": "Xavier", "kaiming": "Kaiming"}
    figure, axes = plt.subplots(1, 2, figsize=(COLUMN, 1.65), layout="constrained")
    for axis, which, title in zip(axes, (2, 1), ("of the layer’s output", "of the layer’s weight"), strict=True):
        for init, layers in sizes.items():
            colour, marker, line = looks[init]
            values = [layer[which] for layer in layers]
            axis.plot(range(1, len(values) + 1), values, color=colour, marker=marker, linestyle=line, label=names[init])
        axis.set_yscale("log")
        smallest, largest = (f(layer[which] for layers in sizes.values() for layer in layers) for f in (min, max))
        axis.set_ylim(10 ** math.floor(math.log10(smallest)), 10 ** math.ceil(math.log10(largest)))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_title(title)
        axis.set_xticks(range(1, len(layers) + 1))
        axis.set_xlabel("layer, from the input")
        axis.grid(axis="y")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, borderpad=0)
    return svg(figure)


# Each panel's studies: the title, the file, and how the names of the variants begin that are shown.
PANELS = [
    [
        ("optimiser", "optimiser", ""),
        ("SGD: learning rate, with momentum 0.9", "learning-rate", "sgd"),
        ("SGD: momentum", "momentum", "sgd"),
        ("SGD: initialisation", "initialisation", "SGD,"),
    ],
    [
        ("Muon: learning rate", "learning-rate", "muon"),
        ("Muon: momentum", "momentum", "muon"),
        ("Muon: initialisation", "initialisation", "Muon,"),
        ("Muon: weight decay", "weight-decay", "muon"),
        ("Adam: weight decay", "weight-decay", "adam"),
    ],
    [
        ("batch size", "batch-size", ""),
        ("schedule, average", "schedule-and-average", ""),
        ("ten epochs: pairs, augmentation", "augmentation", ""),
        ("target", "target", ""),
        ("matrix products", "precision", ""),
    ],
]
BASELINE = 0.27  # of a line below its middle stands the text
SHORTER = {
    "SGD as in the report": "SGD, the report’s",
    "SGD with cosine and average": "+ cosine, average",
    "SGD with cosine, average and momentum": "+ momentum",
}


def ablations():
    """Short trainings that differ in one thing: the mean, and a bar from the least to the best of the seeds."""
    width, height, left, line = PAGE / len(PANELS), 2.6, 0.98, 1.0  # inches: of a panel, of its labels and its axis
    figure = plt.figure(figsize=(PAGE, height))
    for i, studies in enumerate(PANELS):
        axis = figure.add_axes(((i * width + left) / PAGE, 0.36 / height, line / PAGE, 1 - 0.37 / height))
        across, y = axis.get_yaxis_transform(), 0
        for title, file, prefix in studies:
            axis.text(-0.93 / line, y + BASELINE, title, transform=across, fontsize=7.5, fontweight="bold")
            y += 1.05
            for variant, runs in read(f"ablations/{file}.json").items():
                if not variant.startswith(prefix):
                    continue
                scores = [run["psnr"] for run in runs if run["psnr"] is not None]
                name = SHORTER.get(variant, variant.removeprefix(prefix).replace(", average ", ", ").strip())
                mean = statistics.mean(scores)
                axis.text(-0.07, y + BASELINE, name, transform=across, fontsize=7.5, ha="right")
                axis.plot([min(scores), max(scores)], [y, y], color=RED, linewidth=3.2, solid_capstyle="butt")
                axis.plot(mean, y, "o", color=BLACK, markersize=2.6)
                axis.text(1.07, y + BASELINE, f"{mean:.2f}", transform=across, fontsize=7.5)
                y += 1
            y += 0.15
        axis.set_yticks([])
        axis.set_ylim(y - 0.5, -0.6)
        axis.xaxis.set_major_locator(MultipleLocator(1 if i else 5))
        axis.grid(axis="x")
        axis.set_axisbelow(True)
        axis.spines["left"].set_visible(False)
        axis.set_xlabel("PSNR in dB")
    return svg(figure)


def time_to_quality(name):
    """PSNR over the seconds of training, each length a curve, with the published results as lines."""
    found = read(name)
    colours = {"report": ("0.45", ":"), "U-Net": (GREEN, "-"), "Adam": (ORANGE, "-"), "Muon": (BLUE, "-")}
    theirs = {"torch.nn, AdamW": (RED, "--"), "torch.nn, AdamW, as short": (RED, "-."), "torch.nn, Muon": (BLACK, "--")}
    theirs |= {"torch.nn, U-Net, AdamW": (RED, ":"), "torch.nn, U-Net, Muon": (BLACK, ":")}
    theirs |= {"torch.nn, Muon, bfloat16": ("0.45", "--"), "torch.nn, U-Net, Muon, bfloat16": ("0.45", ":")}
    figure, axis = plt.subplots(figsize=(COLUMN, 1.95), layout="constrained")
    goals, across = [*map(float, next(iter(found["seconds to"].values())))], axis.get_yaxis_transform()
    lowest = min(goals) - 1.8
    for method, runs in found["trainings"].items():
        colour, line = theirs.get(method) or next(look for key, look in colours.items() if key in method)
        marker, best = "s" if method in theirs else "o", best_rate(runs)
        if max(point["psnr"] for run in best for point in run["curve"]) < lowest:
            continue
        for i, run in enumerate(best):
            seconds, scores = zip(*((p["seconds"], p["psnr"]) for p in run["curve"]), strict=True)
            label = method if i == 0 else None
            axis.plot(seconds, scores, line, color=colour, linewidth=0.9, label=label)
            axis.plot(seconds[-1], scores[-1], marker, color=colour, markersize=3.5)
    for goal in goals:
        axis.axhline(goal, color="0.6", linewidth=0.5, zorder=0)
        highest = goal == max(goals)  # whose label would touch the next
        axis.text(1, goal, f" {goal:g}", transform=across, fontsize=7.5, va="bottom" if highest else "top")
    axis.set_ylim(lowest, None)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("seconds of training")
    axis.set_ylabel("PSNR in dB")
    axis.legend(loc="lower right", borderpad=0, fontsize=6.5, labelspacing=0)
    return svg(figure)
