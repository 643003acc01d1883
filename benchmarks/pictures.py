"""Draw the README's pictures: noisy, denoised and clean, on photos that scikit-image ships.

    python -m benchmarks.pictures

In picture.png the noise is the course's: one pixel of each block; the clean image has the mean of all. In photos.png
it is what people have: that of a developed photo, as a JPEG, and grey noise, Gaussian with sigma = 25. BM3D is told the
root mean square. strength.png has the first of them by `--strength`, measured.png a cell in 16 bits with noise of
PHOTONS at white. The photos are free: astronaut (NASA, public domain), coffee (Rachel Michetti, CC0) and cell (Paul
Müller, CC0). Needs the extra "figures" and bm3d.
"""

from pathlib import Path

import torch

from Proj_Miniproject2 import denoise
from Proj_Miniproject2.others.networks import NETWORKS
from Proj_Miniproject2.others.noise.kinds import block_mean, developed_noise, jpeg, pixel_noise, to_uint8
from Proj_Miniproject2.others.noise.metrics import psnr

RESULTS = Path(__file__).with_name("results")
PHOTOS, SIDE, BLOCK = ("astronaut", "coffee"), 400, 4
SIGMA, RMS, CUT = 25, 12, (slice(60, 260), slice(140, 380))  # the last is the part of a photo that is shown
PHOTONS, OFFSET, GAIN = 30, 300, 120  # the last two in counts
STRENGTHS = 0, 0.5, 1, 1.5, 2
SHIPPED = {"ours": NETWORKS["report"], "ours, U-Net": NETWORKS["unet"]}


def panels(photo):
    """(what, image (3, H, W), PSNR or None) for each column."""
    height, width, _ = photo.shape
    top, left = (height - SIDE) // 2, (width - SIDE) // 2
    crop = torch.tensor(photo)[top : top + SIDE, left : left + SIDE].permute(2, 0, 1)[None]
    noisy, clean = pixel_noise(crop, BLOCK, torch.Generator().manual_seed(0)), block_mean(crop, BLOCK)
    images = {"noisy": noisy}
    for name, network in SHIPPED.items():
        if network.PRETRAINED.exists():
            model = network()
            model.load_pretrained_model()
            images[name] = model.predict(noisy)
    return [(name, image[0], psnr(image, clean)) for name, image in images.items()] + [("clean", clean[0], None)]


def as_developed(clean, generator):
    """A part of a photo (3, H, W) as a camera's JPEG with a lot of noise, and as it is: pairs of uint8."""
    rms = torch.full((1, 1, 1, 1), float(RMS))
    return jpeg(to_uint8(clean + developed_noise(clean[None].float(), rms, generator)[0]), 90, 2), clean


def photo_panels(photo, kind, rms):
    """As `panels`, for a photo at full resolution with a `kind` of noise."""
    from .photos import bm3d, ours

    noisy, clean = kind(torch.tensor(photo)[CUT].permute(2, 0, 1), torch.Generator().manual_seed(0))
    shown = noisy[0] if len(noisy) == 1 else noisy.permute(1, 2, 0)
    images = {"noisy": noisy}
    for name, make in (("BM3D", bm3d), ("ours", ours)):
        image = torch.tensor(make()(shown.numpy(), rms)).clamp(0, 255)
        images[name] = image[None] if image.dim() == 2 else image.permute(2, 0, 1)
    found = [(name, image.expand(3, -1, -1), psnr(image[None], clean[None])) for name, image in images.items()]
    return [*found, ("clean", clean.expand(3, -1, -1), None)]


def measured_panels(picture):
    """As `panels`, for a grey picture (H, W) measured in 16 bits."""
    clean = torch.tensor(picture / 255)
    photons = torch.poisson(PHOTONS * clean, torch.Generator().manual_seed(0))
    noisy = (OFFSET + GAIN * photons).to(torch.uint16)
    images = {"noisy, 16 bits": noisy, "ours": denoise(noisy)}
    shown = {name: (image.float() - OFFSET) / (GAIN * PHOTONS) for name, image in images.items()} | {"clean": clean}
    grey = {name: (255 * image).clamp(0, 255).expand(3, -1, -1) for name, image in shown.items()}
    scores = [psnr(grey[name][None], grey["clean"][None]) for name in images]
    return [*zip(grey, grey.values(), [*scores, None], strict=True)]


def main():
    from skimage import data

    from .photos import grey

    photos = [getattr(data, name)() for name in PHOTOS]
    draw([panels(photo) for photo in photos], RESULTS / "picture.png")
    kinds = (as_developed, RMS), (lambda photo, generator: grey(photo, SIGMA, generator), SIGMA)
    rows = [photo_panels(photo, *kind) for photo, kind in zip(photos, kinds, strict=True)]
    draw(rows, RESULTS / "photos.png")
    noisy, clean = as_developed(torch.tensor(photos[0])[CUT].permute(2, 0, 1), torch.Generator().manual_seed(0))
    images = {f"--strength {strength:g}": denoise(noisy, strength=strength) for strength in STRENGTHS}
    row = [(name, image, psnr(image[None], clean[None])) for name, image in images.items()]
    draw([row], RESULTS / "strength.png")
    draw([measured_panels(data.cell()[230:470, 270:550])], RESULTS / "measured.png")


def draw(rows, path):
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(rows), len(rows[0]), figsize=(2.4 * len(rows[0]), 2.7 * len(rows)), squeeze=False)
    for row, found in zip(axes, rows, strict=True):
        for axis, (name, image, score) in zip(row, found, strict=True):
            axis.imshow(image.round().to(torch.uint8).permute(1, 2, 0).numpy(), interpolation="nearest")
            axis.set_title(name if score is None else f"{name}: {score:.2f} dB", fontsize=10)
            axis.axis("off")
    figure.tight_layout(pad=0.5)
    figure.savefig(path, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
