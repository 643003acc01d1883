"""The noise that people have: what `noise2noise denoise` makes of it, beside what they would pick instead.

    python -m benchmarks.photos FOLDER CAMERA [--without METHOD ...]

FOLDER has BSD300's 100 test photos, of which KINDS says how many are taken; CAMERA pairs of a real camera's shot and
the mean of many, NAME_noisy.jpg and NAME_mean.jpg. Noise is drawn, rounded and clamped as a file holds it. One core.

The result, benchmarks/results/photos.json, for each kind of noise and each method: PSNR in dB over all pixels of a
picture, the mean over pictures; what it gained where it gained least; and seconds of the processor a photo, for white
noise, sigma = 25.
Ours is told nothing. The others are told the noise's sigma. Where there is none to tell, that is of JPEGs, lines,
impulses, nights, blotches and cameras, they have the best of STRENGTHS on TRIED of the very pictures; so has OpenCV's
method, whose strength is another one, with the best of 0.5, 0.6, 0.7, 0.8 and 1 times sigma, found before.
A method left out keeps its row.

Needs the extra "figures", PyWavelets, bm3d and opencv-python-headless; BM3D takes a quarter of an hour.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from unittest.mock import patch

import torch

from Proj_Miniproject2 import denoise
from Proj_Miniproject2.others.formats.files import write_json
from Proj_Miniproject2.others.formats.pictures import photo_paths
from Proj_Miniproject2.others.networks import PhotoUNet, UNet
from Proj_Miniproject2.others.noise.kinds import developed_noise, filtered, gaussian_noise, jpeg, to_uint8
from Proj_Miniproject2.others.noise.metrics import psnr
from Proj_Miniproject2.others.pairs.photos import read_photo
from Proj_Miniproject2.others.pairs.sources import LUMA

from .speed import RESULTS, machine

STRENGTHS = {  # told as sigma
    "JPEG": (18, 25),
    "lines": (3, 6, 10),
    "impulses": (6, 12, 25, 50),
    "night": (10, 15, 22, 33, 50),
    "blotches": (3, 6, 10, 20),
    "camera": (3, 6, 10),
}
TOO_LONG = {"BM3D": ("night", "blotches", "camera")}  # half a minute for each try, for a noise that isn't there
TRIED = 2
BLUR = 6  # pixels, of blotches


def ours():
    return lambda noisy, sigma: denoise(noisy)


def ours_in_float32():
    """What it would be without rounding, where this machine multiplies faster in bfloat16."""

    def run(noisy, sigma):
        with patch.object(UNet, "PRECISION", "float32"):
            return denoise(noisy)

    return run


def photo_alone():
    """What ours did before it knew any noise but independent one."""
    return lambda noisy, sigma: denoise(noisy, weights=PhotoUNet.PRETRAINED)


def wavelets():
    from skimage.restoration import denoise_wavelet

    def run(noisy, sigma):
        colours = {"channel_axis": 2, "convert2ycbcr": True} if noisy.ndim == 3 else {}
        return 255 * denoise_wavelet(
            noisy / 255, sigma=sigma / 255, method="BayesShrink", rescale_sigma=True, **colours
        )

    return run


def total_variation():
    from skimage.restoration import denoise_tv_chambolle

    def run(noisy, sigma):  # the weight: the best of 0.5, 0.75, 1, 1.25 and 1.5 times sigma = 25
        return 255 * denoise_tv_chambolle(noisy / 255, 0.75 * sigma / 255, channel_axis=2 if noisy.ndim == 3 else None)

    return run


def non_local_means():
    from skimage.restoration import denoise_nl_means

    def run(noisy, sigma):
        options = {"patch_size": 5, "patch_distance": 6, "channel_axis": 2 if noisy.ndim == 3 else None}
        return 255 * denoise_nl_means(noisy / 255, h=0.6 * sigma / 255, sigma=sigma / 255, **options)

    return run


def opencv():
    import cv2

    cv2.setNumThreads(1)

    def run(noisy, sigma):
        if noisy.ndim == 2:
            return cv2.fastNlMeansDenoising(noisy, None, 0.6 * sigma, 7, 21)
        bgr = noisy[..., ::-1].copy()  # OpenCV's order of the channels
        return cv2.fastNlMeansDenoisingColored(bgr, None, 0.6 * sigma, 0.6 * sigma, 7, 21)[..., ::-1]

    return run


def median():
    """Over 3 x 3 pixels: what one takes against impulses."""
    import cv2

    return lambda noisy, sigma: cv2.medianBlur(noisy, 3)


def bm3d():
    from bm3d import bm3d, bm3d_rgb

    return lambda noisy, sigma: 255 * (bm3d if noisy.ndim == 2 else bm3d_rgb)(noisy / 255, sigma / 255)


METHODS = {
    "noisy": lambda: lambda noisy, sigma: noisy,
    "wavelets (scikit-image)": wavelets,
    "total variation (scikit-image)": total_variation,
    "non-local means (scikit-image)": non_local_means,
    "fastNlMeans (OpenCV)": opencv,
    "median (OpenCV)": median,
    "BM3D": bm3d,
    "photo.pth alone": photo_alone,
    "ours in float32": ours_in_float32,
    "ours": ours,
}
UNTOLD = "noisy", "photo.pth alone", "ours in float32", "ours"


# Kinds of noise: each makes pairs (noisy, clean), uint8 (C, H, W), of the photos, (3, H, W)


def white(photo, sigma, generator):
    return gaussian_noise(photo, sigma, generator), photo


def grey(photo, sigma, generator):
    clean = (photo * torch.tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True).round().to(torch.uint8)
    return gaussian_noise(clean, sigma, generator), clean


def as_jpeg(quality):
    return lambda photo, sigma, generator: (jpeg(gaussian_noise(photo, sigma, generator), quality, 2), photo)


def lines(photo, sigma, generator):
    """A grey picture whose rows are each off by a number of that standard deviation, and some white noise."""
    _, clean = grey(photo, 0, generator)
    rows = torch.empty(1, clean.shape[1], 1).normal_(generator=generator)
    return gaussian_noise(clean + sigma * rows, 3, generator), clean


def impulses(photo, share, generator):
    """A grey picture with salt and pepper on a share of its pixels."""
    _, clean = grey(photo, 0, generator)
    draws = torch.rand(clean.shape, generator=generator)
    return torch.where(draws < share, (draws < share / 2) * 255, clean).to(torch.uint8), clean


def night(photo, rms, generator):
    """What a phone makes of little light: the noise of a sensor, developed, in a JPEG."""
    photo = photo[:, : photo.shape[1] // 2 * 2, : photo.shape[2] // 2 * 2]
    noise = developed_noise(photo[None].float(), torch.full((1, 1, 1, 1), float(rms)), generator)[0]
    return jpeg(to_uint8(photo + noise), 90, 2), photo


def blotches(photo, rms, generator):
    """Noise in each channel by itself, white but for a Gaussian blur of BLUR pixels."""
    rows, columns = torch.fft.fftfreq(photo.shape[1])[:, None], torch.fft.rfftfreq(photo.shape[2])
    transfer = (-2 * torch.pi**2 * BLUR**2 * (rows.square() + columns.square())).exp()
    white_noise = torch.empty(1, *photo.shape).normal_(generator=generator)
    return to_uint8(photo + rms * filtered(white_noise, transfer)[0]), photo


KINDS = {  # name: (kind, sigma or share, of so many photos one is taken)
    "clean": (white, 0, 10),
    "white 15": (white, 15, 20),
    "white 25": (white, 25, 10),
    "white 50": (white, 50, 20),
    "grey 15": (grey, 15, 10),
    "grey 25": (grey, 25, 10),
    "grey 50": (grey, 50, 10),
    "JPEG 95": (as_jpeg(95), 25, 20),
    "JPEG 85": (as_jpeg(85), 25, 20),
    "JPEG 75": (as_jpeg(75), 25, 20),
    "lines": (lines, 6, 20),
    "impulses": (impulses, 0.02, 20),
    "night 20": (night, 20, 20),
    "night 40": (night, 40, 20),
    "night 60": (night, 60, 20),
    "blotches": (blotches, 15, 20),
}


def pictures(folder, camera):
    """For each kind: its name, the sigmas that are told, and pairs (noisy, clean)."""
    photos = [read_photo(path) for path in photo_paths(folder)]
    for name, (kind, sigma, every) in KINDS.items():
        draws = enumerate(photos[::every])
        pairs = [kind(photo, sigma, torch.Generator().manual_seed(i)) for i, photo in draws]
        yield name, STRENGTHS.get(name.partition(" ")[0], [sigma]), pairs
    yield "camera", STRENGTHS["camera"], camera_pairs(camera)


def camera_pairs(folder):
    """A real camera's shots, and the means of many: pairs of uint8 (3, H, W)."""
    shots = sorted(folder.glob("*_noisy.jpg"))
    return [[read_photo(s.with_name(s.name.replace("noisy", which))) for which in ("noisy", "mean")] for s in shots]


def measure(run, sigmas, pairs):
    """The PSNR of each picture, and the seconds that it took, with the sigma that is the best for the first ones."""
    if len(sigmas) > 1:
        tried = {sigma: statistics.mean(measure(run, [sigma], pairs[:TRIED])[0]) for sigma in sigmas}
        return measure(run, [max(tried, key=tried.get)], pairs)
    scores, seconds = [], []
    for noisy, clean in pairs:
        shown = noisy[0] if len(noisy) == 1 else noisy.permute(1, 2, 0)
        begin = time.process_time()
        image = torch.tensor(run(shown.numpy(), sigmas[0]).copy())  # OpenCV gives a turned view
        seconds.append(time.process_time() - begin)
        image = image[None] if len(noisy) == 1 else image.permute(2, 0, 1)
        scores.append(psnr(image[None], clean[None]))
    return scores, seconds


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="FOLDER")
    parser.add_argument("camera", type=Path, metavar="CAMERA")
    parser.add_argument("--without", nargs="*", choices=METHODS, default=[], metavar="METHOD", help=", ".join(METHODS))
    args = parser.parse_args(args)
    torch.set_num_threads(1)
    path = RESULTS / "photos.json"
    before = json.loads(path.read_text()) if path.exists() and args.without else {}
    results = {what: {} for what in ("PSNR", "least gain", "seconds")}
    for what, part in results.items():
        part.update({name: row for name, row in before.get(what, {}).items() if name in args.without})
    runs = {name: make() for name, make in METHODS.items() if name not in args.without}  # imports what they need
    for part in results.values():
        part.update({name: {} for name in runs})
    for kind, sigmas, pairs in pictures(args.photos, args.camera):
        noisy, _ = measure(METHODS["noisy"](), [0], pairs)
        for name, run in runs.items():
            if kind == "clean" and name not in UNTOLD:
                continue  # told that there is no noise, they have nothing to do
            if kind.partition(" ")[0] in TOO_LONG.get(name, ()):
                continue
            scores, seconds = measure(run, [0] if name in UNTOLD else sigmas, pairs)
            results["PSNR"][name][kind] = round(statistics.mean(scores), 2)
            gains = [round(score - was, 2) for score, was in zip(scores, noisy, strict=True)]
            results["least gain"][name][kind] = min(gains)
            if kind == "white 25":
                results["seconds"][name] = round(statistics.median(seconds), 2)
            print(
                f"{kind:10} {name:32} {statistics.mean(scores):6.2f} dB, gained at least {min(gains):.2f}", flush=True
            )
    order = {what: {name: part[name] for name in METHODS if name in part} for what, part in results.items()}
    write_json({"machine": machine(), **order}, path)


if __name__ == "__main__":
    main()
