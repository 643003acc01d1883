"""What `denoise` takes that was no noise: pictures that are nearly clean, drawn, of few photons, or of odd ranges.

    python -m benchmarks.harm MICRO [--without METHOD ...]

MICRO has grey pictures of microscopes, nearly clean; all else is drawn here, or comes with scikit-image. One core.

The result, benchmarks/results/harm.json, has for each method (ours is told nothing):

- PSNR in dB of photos and drawings with Gaussian noise of SIGMAS, of 8 bits, 16 bits and as floats; without noise
  beside themselves, null where nothing is changed. Wavelets are told sigma, total variation has the best of WEIGHTS for
  each picture, found with the clean one.
- PSNR of MICRO's pictures to the power DARK, which makes them dark as fluorescence is, of few PHOTONS at white. BM3D
  has the generalised Anscombe transform around it, with gain and read noise known, and the exact inverse of
  `noise.stabilise`, and is told that the noise has standard deviation 1.
- What is left of the light: of all of a picture, and of stars with a signal to noise of STAR, in an aperture.
- PSNR of what lies beside something else: channels beside one that is 300 times brighter, or beside an empty one, the
  rest of a picture with hot pixels, which are taken out; and the largest value in the empty channel, of 1 at white.

A method left out keeps its row. Needs the extra "figures", PyWavelets and bm3d.
"""

import argparse
import json
import math
import statistics
from pathlib import Path

import numpy as np
import torch

from Proj_Miniproject2 import denoise, estimate_noise
from Proj_Miniproject2.others.formats.files import write_json
from Proj_Miniproject2.others.formats.pictures import photo_paths
from Proj_Miniproject2.others.noise.stabilise import restored, stabilised
from Proj_Miniproject2.others.pairs.photos import read_photo

from .photos import wavelets
from .speed import RESULTS, machine

SIGMAS = 0, 1, 2, 4, 8
WEIGHTS = 0.2, 0.35, 0.5, 0.7, 1  # of total variation, in sigma
PHOTOS = "camera", "coins", "moon", "astronaut", "coffee", "chelsea"
PHOTONS = {
    0.3: 0.05,
    1: 0.05,
    5: 0.05,
    30: 0.03,
    100: 0.02,
    1000: 0.02,
}  # at white, and read noise, of which white is 1
DARK, CROP = 2.5, 256  # the power, and pixels a side
STAR, SKY, FIELDS, APART, APERTURE, BLUR = 10, 100, 8, 32, 4, 1.5  # photons in a pixel; pixels
HOT = 0, 0.01, 0.03, 0.08
BRIGHTER, SD = 300, 0.05
EQUAL = 1e-12


def psnr(image, clean):
    """In dB, of which white is 1; None if they are equal but for the last digits of float32."""
    mse = np.square(image - clean).mean()
    return round(-10 * math.log10(mse), 2) if mse > EQUAL else None


def ours(noisy, **told):
    return denoise(noisy)


def camera_known(noisy, gain, read_noise):
    return denoise(noisy, noise=estimate_noise(noisy, gain=gain, read_noise=read_noise, offset=0))


def bm3d(noisy, gain, read_noise):
    """Behind the transform that makes the noise even."""
    from bm3d import bm3d

    z = stabilised(torch.from_numpy(noisy).double(), gain, read_noise**2)
    low, scale = z.min(), z.max() - z.min()
    clean = bm3d(((z - low) / scale).numpy(), (1 / scale).item())
    return restored(torch.from_numpy(clean) * scale + low, gain, read_noise**2, 0).numpy()


def wavelets_told(noisy, sigma, clean):
    return wavelets()(255 * noisy, 255 * sigma) / 255


def total_variation(noisy, sigma, clean):
    """Of the best weight."""
    from skimage.restoration import denoise_tv_chambolle

    axis = 2 if noisy.ndim == 3 else None
    images = [denoise_tv_chambolle(noisy, weight * sigma, channel_axis=axis) for weight in WEIGHTS]
    return min(images, key=lambda image: np.square(image - clean).mean())


def as_it_is(noisy, **told):
    return noisy


METHODS = {  # of each part
    "faint": {
        "noisy": as_it_is,
        "wavelets (scikit-image)": wavelets_told,
        "total variation (scikit-image)": total_variation,
        "ours": ours,
    },
    "photons": {"noisy": as_it_is, "BM3D": bm3d, "ours": ours, "ours, camera known": camera_known},
    "ranges": {"noisy": as_it_is, "ours": ours},
}
NAMES = sorted({name for methods in METHODS.values() for name in methods})


# Pictures, floats (H, W) or (H, W, 3), of which white is 1


def pictures():
    from skimage import data

    photos = {name: getattr(data, name)() / 255 for name in PHOTOS}
    drawings = {"plot": plot() / 255, "text": text() / 255, "screen": screen() / 255}
    return photos | drawings | {"text, grey": (drawings["text"].mean(2) * 255).round() / 255}


def plot():
    """What matplotlib draws: uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((4.8, 3.6), dpi=100, layout="constrained")
    axes, x = figure.add_subplot(), np.linspace(0, 10, 200)
    for i, style in enumerate(("-", "--", ":", "-.")):
        axes.plot(x, np.exp(-x / 5) * np.sin(x + i), style, linewidth=0.5 + 0.5 * i, label=f"phase {i}")
    axes.scatter(x[::8], np.cos(x[::8]), 3, "k")
    axes.grid(linewidth=0.3)
    axes.legend(fontsize=7)
    axes.set(xlabel="time / s", ylabel="voltage / mV", title="Damped oscillations")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def text():
    """Small letters in colours on white and on black."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (480, 360), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 180, 480, 360), "black")
    colours = "black", "navy", "#b00020", "#006400", "#606060", "white", "yellow", "#80c0ff", "#ff9060", "#909090"
    for i, colour in enumerate(colours):
        line = f"{i}: the quick brown fox jumps over 13 lazy dogs, {colour} (8 to 15 px); x = a[i] * {i}.5;"
        draw.text((6, 6 + 36 * i), line, colour, ImageFont.load_default(8 + 7 * i / 9))
        draw.text((6, 22 + 36 * i), line[::-1], colour, ImageFont.load_default(9))
    return np.asarray(image)


def screen():
    """Windows, buttons, icons, hairlines and a gradient."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.linear_gradient("L").resize((480, 360)).convert("RGB")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(11)
    for i, (left, top) in enumerate([(20, 20), (180, 70), (60, 180)]):
        draw.rectangle((left, top, left + 260, top + 150), "#f4f4f4", "#808080")
        draw.rectangle((left, top, left + 260, top + 18), "#3060a0")
        draw.text((left + 6, top + 3), f"Document {i + 1} - Editor", "white", font)
        for j, label in enumerate(("File", "Edit", "View", "Help")):
            draw.text((left + 6 + 40 * j, top + 22), label, "#202020", font)
        for j in range(6):
            draw.line((left + 8, top + 44 + 14 * j, left + 200, top + 44 + 14 * j), "#d0d0d0")
            draw.text((left + 10, top + 46 + 14 * j), f"row {j}   {17 * j + i}.{j}4   ok", "#404040", font)
        draw.rounded_rectangle((left + 205, top + 120, left + 252, top + 140), 4, "#e0e0e0", "#a0a0a0")
        draw.text((left + 216, top + 124), "Save", "black", font)
        draw.ellipse((left + 215, top + 50, left + 245, top + 80), "#40a040", "#206020")
    return np.asarray(image)


def in_form(values, form):
    """Values of which white is 1, as a file of that form holds them, and what has to be taken by how much to be one of
    them again."""
    if form == "floats":
        return values.astype(np.float32), 1
    white, dtype = (255, np.uint8) if form == "8 bits" else (65535, np.uint16)
    return (values * white).round().clip(0, white).astype(dtype), white


# What is measured: each yields (method, column, value)


def faint(methods, form):
    for name, clean in pictures().items():
        for sigma in SIGMAS:
            draws = np.random.default_rng(0).normal(0, 1, clean.shape)
            noisy, white = in_form(clean + sigma / 255 * draws, form)
            for method, run in methods.items():
                if method in ("noisy", "ours"):
                    found = run(noisy) / white
                elif sigma and form == "8 bits":
                    found = run(noisy / white, sigma=sigma / 255, clean=clean)
                else:
                    continue  # told that there is no noise, they have nothing to do
                yield method, f"{name}, {sigma}", psnr(found, clean)


def dark(folder):
    """The crops (H, W) of which the pictures of few photons are made."""
    for path in photo_paths(folder):
        picture = read_photo(path)[0].double().numpy() / 255
        top, left = ((side - CROP) // 2 if side > CROP else 0 for side in picture.shape)
        yield picture[top : top + CROP, left : left + CROP] ** DARK


def detected(light, gain, read_noise, draws):
    """What a detector with that gain and read noise shows of light: float32."""
    return (gain * draws.poisson(light / gain) + draws.normal(0, read_noise, light.shape)).astype(np.float32)


def photons(methods, folder):
    """PSNR, and the share of the light that is left, as means over the pictures."""
    for number, read_noise in PHOTONS.items():
        found = {method: [] for method in methods}
        for i, clean in enumerate(dark(folder)):
            noisy = detected(clean, 1 / number, read_noise, np.random.default_rng(i))
            for method, run in methods.items():
                image = run(noisy, gain=1 / number, read_noise=read_noise)
                found[method].append((psnr(image, clean), image.sum(dtype=float) / noisy.sum(dtype=float)))
        for method, pairs in found.items():
            scores, shares = zip(*pairs, strict=True)
            yield method, f"{number} photons", round(statistics.mean(scores), 2)
            yield method, f"flux of {number} photons", round(statistics.mean(shares), 4)


def stars(methods):
    """The share of the light of faint stars in their apertures, of all together."""
    y, x = np.mgrid[:CROP, :CROP]
    middles = np.arange(APART // 2, CROP, APART)
    distances = [np.hypot(y - row, x - column) for row in middles for column in middles]
    inside = [distance <= APERTURE for distance in distances]
    area = int(inside[0].sum())
    flux = (STAR**2 + math.sqrt(STAR**4 + 4 * STAR**2 * area * SKY)) / 2  # F / sqrt(F + area SKY) = STAR
    profiles = sum(np.exp(-np.square(distance / BLUR) / 2) for distance in distances) / (2 * math.pi * BLUR**2)
    found = {method: 0.0 for method in methods}
    for i in range(FIELDS):
        noisy = np.random.default_rng(i).poisson(SKY + flux * profiles).astype(np.float32)
        for method, run in methods.items():
            image = run(noisy, gain=1, read_noise=0) - SKY
            found[method] += sum(image[aperture].sum(dtype=float) for aperture in inside)
    whole = FIELDS * flux * sum(profiles[aperture].sum() for aperture in inside)
    for method, total in found.items():
        yield method, f"stars of S/N {STAR}", round(total / whole, 4)


def ranges(methods, folder):
    """PSNR of the first two channels of three beside a third, and of a picture with hot pixels but for these."""
    clean = np.stack([*dark(folder)][:3], 2)
    draws = np.random.default_rng(0)
    noisy = (clean + draws.normal(0, SD, clean.shape)).astype(np.float32)
    empty = noisy * np.array([1, 1, 0], np.float32)
    for method, run in methods.items():
        for what, factor in {"alike": 1, f"{BRIGHTER} times brighter": BRIGHTER}.items():
            found = run(noisy * np.array([1, 1, factor], np.float32))
            yield method, f"beside one {what}", psnr(found[..., :2], clean[..., :2])
        found = run(empty)
        yield method, "beside an empty one", psnr(found[..., :2], clean[..., :2])
        yield method, "in the empty one", round(float(np.abs(found[..., 2]).max()), 6)
    for share in HOT:
        draws = np.random.default_rng(1)
        hot = draws.random(clean.shape[:2]) < share
        picture = np.where(hot, draws.uniform(2, 10, hot.shape), noisy[..., 0]).astype(np.float32)
        for method in methods:
            found = denoise(picture, repair=True) if method == "ours" else picture
            yield method, f"hot {share:.0%}", psnr(found[~hot], clean[..., 0][~hot])


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("micro", type=Path, metavar="MICRO")
    parser.add_argument("--without", nargs="*", choices=NAMES, default=[], metavar="METHOD", help=", ".join(NAMES))
    args = parser.parse_args(args)
    torch.set_num_threads(1)
    path = RESULTS / "harm.json"
    before = json.loads(path.read_text()) if path.exists() and args.without else {}
    runs = {part: {n: run for n, run in found.items() if n not in args.without} for part, found in METHODS.items()}
    few, odd = runs["photons"], runs["ranges"]
    parts = {form: (METHODS["faint"], faint(runs["faint"], form)) for form in ("8 bits", "16 bits", "floats")}
    parts |= {"photons": (METHODS["photons"], photons(few, args.micro)), "stars": (METHODS["photons"], stars(few))}
    parts["ranges"] = METHODS["ranges"], ranges(odd, args.micro)
    results = {}
    for part, (methods, values) in parts.items():
        rows = {name: {} if name not in args.without else before.get(part, {}).get(name, {}) for name in methods}
        for method, column, value in values:
            rows[method][column] = value
            print(f"{part}: {column:30} {method:30} {value}", flush=True)
        results[part] = {name: row for name, row in rows.items() if row}
    write_json({"machine": machine(), **results}, path)


if __name__ == "__main__":
    main()
