"""Photos with Gaussian noise: `photo.pth` beside what users would pick instead, on the same images.

    python -m benchmarks.photos FOLDER [--without METHOD ...]

Of BSD300's 100 test photos in FOLDER, sorted: every tenth with sigma = 25, every twentieth with 15, 50 and 0, rounded
and clamped as a file holds it. One core. The result, benchmarks/results/photos.json: PSNR in dB over all pixels and
channels of a photo, the mean over photos, and seconds a photo at sigma = 25. The other methods are told the true
sigma; a strength that is theirs to choose is 0.6 sigma, the best of 0.5, 0.6, 0.7, 0.8 and 1 for OpenCV.
Needs the extra "figures", PyWavelets, bm3d and opencv-python-headless; BM3D takes ten minutes.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch

from Proj_Miniproject2.others.data.files import write_json
from Proj_Miniproject2.others.data.metrics import psnr
from Proj_Miniproject2.others.data.noise import gaussian_noise
from Proj_Miniproject2.others.data.photos import read_photo
from Proj_Miniproject2.others.data.pictures import photo_paths
from Proj_Miniproject2.others.networks import PhotoUNet

from .speed import RESULTS, machine

SIGMAS = {0: 20, 15: 20, 25: 10, 50: 20}  # sigma: of so many photos one is taken


def ours():
    model = PhotoUNet()
    model.load_pretrained_model()

    def denoise(noisy, sigma):
        pixels = torch.tensor(noisy).permute(2, 0, 1)[None]
        return model.predict(pixels)[0].round().permute(1, 2, 0).numpy()

    return denoise


def wavelets():
    from skimage.restoration import denoise_wavelet

    def denoise(noisy, sigma):
        options = {"method": "BayesShrink", "convert2ycbcr": True, "rescale_sigma": True}
        return 255 * denoise_wavelet(noisy / 255, sigma=sigma / 255, channel_axis=2, **options)

    return denoise


def non_local_means():
    from skimage.restoration import denoise_nl_means

    def denoise(noisy, sigma):
        options = {"patch_size": 5, "patch_distance": 6, "fast_mode": True}
        return 255 * denoise_nl_means(noisy / 255, h=0.6 * sigma / 255, sigma=sigma / 255, channel_axis=2, **options)

    return denoise


def opencv():
    import cv2

    cv2.setNumThreads(1)

    def denoise(noisy, sigma):
        bgr = noisy[..., ::-1].copy()  # OpenCV's order of the channels
        return cv2.fastNlMeansDenoisingColored(bgr, None, 0.6 * sigma, 0.6 * sigma, 7, 21)[..., ::-1]

    return denoise


def bm3d():
    from bm3d import bm3d_rgb

    return lambda noisy, sigma: 255 * bm3d_rgb(noisy / 255, sigma / 255)


METHODS = {
    "noisy": lambda: lambda noisy, sigma: noisy,
    "wavelets (scikit-image)": wavelets,
    "non-local means (scikit-image)": non_local_means,
    "fastNlMeans (OpenCV)": opencv,
    "BM3D": bm3d,
    "ours": ours,
}


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="FOLDER")
    parser.add_argument("--without", nargs="*", choices=METHODS, default=[], metavar="METHOD", help=", ".join(METHODS))
    args = parser.parse_args(args)
    torch.set_num_threads(1)
    photos = [read_photo(path).permute(1, 2, 0) for path in photo_paths(args.photos)]
    if not photos:
        parser.error(f"there is no photo in {args.photos}")
    methods = {name: make() for name, make in METHODS.items() if name not in args.without}  # imports what they need
    results = {"machine": machine(), "photos": len(photos), "PSNR": {}, "seconds": {}}
    for name, denoise in methods.items():
        scores = {}
        for sigma, every in SIGMAS.items():
            if sigma == 0 and name not in ("noisy", "ours"):
                continue  # told that there is no noise, they have nothing to do
            found, seconds = [], []
            for i, clean in enumerate(photos[::every]):
                noisy = gaussian_noise(clean, sigma, torch.Generator().manual_seed(i)).numpy()
                begin = time.perf_counter()
                image = denoise(noisy, sigma)
                seconds.append(time.perf_counter() - begin)
                found.append(psnr(torch.tensor(image.copy())[None], clean[None]))  # OpenCV gives a turned view
            scores[str(sigma)] = round(statistics.mean(found), 2)
            if sigma == 25:
                results["seconds"][name] = round(statistics.median(seconds), 2)
        results["PSNR"][name] = scores
        print(f"{name:30} {scores} {results['seconds'][name]} s", flush=True)
    write_json(results, RESULTS / "photos.json")


if __name__ == "__main__":
    main()
