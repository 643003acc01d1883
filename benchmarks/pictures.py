"""Draw the README's pictures: noisy, denoised and clean, on photos that scikit-image ships.

    python -m benchmarks.pictures

In the first the noise is the course's: one pixel of each block; the clean image has the mean of all. In the second it
is Gaussian, sigma = 25, at the full resolution, and BM3D is told so. The photos are free: astronaut (NASA, public
domain) and coffee (Rachel Michetti, CC0). Needs the extra "figures" and bm3d.
"""

from pathlib import Path

import torch

from Proj_Miniproject2.others.data.metrics import psnr
from Proj_Miniproject2.others.data.noise import block_mean, gaussian_noise, pixel_noise
from Proj_Miniproject2.others.networks import NETWORKS

RESULTS = Path(__file__).with_name("results")
PHOTOS, SIDE, BLOCK = ("astronaut", "coffee"), 400, 4
SIGMA, CUT = 25, (slice(60, 260), slice(140, 380))  # the part of a photo that is shown
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


def photo_panels(photo):
    """As `panels`, for a photo at full resolution."""
    from .photos import bm3d, ours

    clean = torch.tensor(photo)[CUT]
    noisy = gaussian_noise(clean, SIGMA, torch.Generator().manual_seed(0))
    images = {"noisy": noisy} | {
        name: torch.tensor(make()(noisy.numpy(), SIGMA)).clamp(0, 255)
        for name, make in (("BM3D", bm3d), ("ours", ours))
    }
    chw = clean.permute(2, 0, 1)
    found = [(name, image.permute(2, 0, 1)) for name, image in images.items()]
    return [(name, image, psnr(image[None], chw[None])) for name, image in found] + [("clean", chw, None)]


def main():
    from skimage import data

    photos = [getattr(data, name)() for name in PHOTOS]
    draw([panels(photo) for photo in photos], RESULTS / "picture.png")
    draw([photo_panels(photo) for photo in photos], RESULTS / "photos.png")


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
