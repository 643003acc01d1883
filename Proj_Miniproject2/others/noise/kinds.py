"""Noises as pure functions of an image and a `torch.Generator`.

The course's noise comes from pixelating a photo: cut it into blocks; the clean image has the mean of each
block, a noisy image one pixel of each block, drawn uniformly. But for rounding the noise has mean zero given
the photo, as Noise2Noise needs (Lehtinen et al. 2018, arXiv:1803.04189). The noise of pictures as people have them
comes below it. Generators are CPU generators.
"""

import io

import torch

from ..formats.pictures import image_of, pixels_of

BLURS = 0.35, 8  # standard deviations in pixels, of `blurred`
FINE_BLURS = 0.2, 1.2  # of `developed_noise`
TOE = 0.05  # linear light, below which the tone curve of `developed_noise` is straight
LINES = 1, 100  # standard deviations in pixels of the blurs of `lined_noise`: from short strokes to whole lines
QUALITIES = 65, 98  # of the JPEGs of `with_jpeg`


def draw_offsets(shape, block, generator):
    """For each place of `shape`, the (row, column) of one pixel of its block: two tensors in [0, block)."""
    draw = torch.randint(block * block, shape, generator=generator)
    row = draw.div(block, rounding_mode="floor")
    return row, draw - row * block


def _blocks(crops, block):
    """(N, C, H, W) to (N, C, H / block, W / block, block, block)."""
    if crops.dim() != 4 or block < 1 or crops.shape[-2] % block or crops.shape[-1] % block:
        raise ValueError(f"expected crops (N, C, H, W) of whole blocks of {block} pixels, got {tuple(crops.shape)}")
    return crops.detach().unflatten(-1, (-1, block)).unflatten(-3, (-1, block)).transpose(-3, -2)


def pixel_noise(crops, block, generator):
    """One uniformly drawn pixel of each block, all its channels together.

    crops: (N, C, H, W), H and W multiples of `block`. Returns (N, C, H / block, W / block) of the same dtype.
    """
    blocks = _blocks(crops, block)
    n, c, h, w = blocks.shape[:4]
    row, column = draw_offsets((n, 1, h, w, 1), block, generator)
    index = (row * block + column).to(crops.device).expand(n, c, h, w, 1)
    return blocks.flatten(-2).gather(-1, index).squeeze(-1)


def block_mean(crops, block):
    """The mean of each block, rounded for uint8 crops.

    crops: (N, C, H, W), H and W multiples of `block`. Returns (N, C, H / block, W / block) of the same dtype.
    """
    blocks = _blocks(crops, block)
    if crops.is_floating_point():
        return blocks.mean((-2, -1))
    return blocks.float().mean((-2, -1)).round().to(crops.dtype)


def to_uint8(images):
    """Float images rounded and clamped to [0, 255]."""
    return images.round().clamp(0, 255).to(torch.uint8)


def gaussian_noise(clean, sigma, generator):
    """Additive white Gaussian noise of standard deviation `sigma`, in grey levels of [0, 255].

    clean: uint8, or float in [0, 255], of any shape. Returns uint8, rounded and clamped, as a file would hold
    it.
    """
    if not sigma >= 0:
        raise ValueError(f"expected sigma >= 0, got {sigma}")
    noise = torch.empty(clean.shape).normal_(generator=generator).to(clean.device)
    return to_uint8(clean.float() + sigma * noise)


def camera_noise(clean, sigma, gain, generator):
    """Poisson noise of variance `gain` times the grey level, and Gaussian noise of standard deviation `sigma` upon it.

    clean: float (N, C, H, W) in [0, 255]; sigma, gain: (N, 1, 1, 1), at least 0. Returns float32, neither rounded nor
    clamped, so that its mean is the clean image: a target. An input is `to_uint8` of it, as a file would hold it.
    """
    steps = gain.clamp(min=1e-3)
    counts = torch.where(gain > 0, torch.poisson(clean / steps, generator=generator) * steps, clean)
    return (counts + sigma * torch.empty(clean.shape).normal_(generator=generator)).detach()


def poisson_noise(clean, peak, generator):
    """Shot noise: Poisson counts of mean `peak` at white, scaled back to [0, 255].

    clean: uint8, or float in [0, 255], of any shape. Returns uint8, rounded and clamped, as a file would hold
    it.
    """
    if not peak > 0:
        raise ValueError(f"expected peak > 0, got {peak}")
    counts = torch.poisson(clean.float().cpu() * (peak / 255), generator=generator).to(clean.device)
    return to_uint8(counts * (255 / peak))


# The noise of pictures as people have them, which is correlated over pixels and channels. Each function takes clean
# images, float (N, C, H, W) in [0, 255], and `rms`, (N, 1, 1, 1), and returns noise of the images' shape: its mean over
# all draws is zero, and its root mean square in each image is `rms`. What differs from camera to camera is drawn anew
# for every image.


def uniform(n, low, high, generator, channels=1):
    """(n, channels, 1, 1) numbers, uniform in [low, high)."""
    return low + (high - low) * torch.rand(n, channels, 1, 1, generator=generator)


def log_uniform(n, low, high, generator):
    """(n, 1, 1, 1) numbers whose logarithms are uniform between those of `low` and `high`."""
    return low * (high / low) ** uniform(n, 0, 1, generator)


def scaled(noise, rms):
    """Noise (N, C, H, W) with that root mean square in each image."""
    return (noise * (rms / noise.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6))).detach()


def by_brightness(clean, generator):
    """(N, 1, H, W): how strong noise is from pixel to pixel, the brightness, 0.1 to 1.1, to a power within 0.6 of 0."""
    return (clean.mean(1, keepdim=True) / 255 + 0.1) ** uniform(len(clean), -0.6, 0.6, generator)


def blurred(noise, generator, blurs=BLURS):
    """White noise (N, C, H, W) with another spectrum, drawn for each image, and root mean square 1 in each.

    It is the sum of three Gaussian blurs, each of any weight, stretched by up to exp(0.4) in any direction, with a
    standard deviation log-uniform between the two of `blurs`; a blur's root counts, as wide ones are weak. The image
    goes on periodically. Of those of BLURS eight in ten correlate by 0.5 to 0.95 with the next pixel, by 0.15 to
    0.85 with that after it, by 0 to 0.6 at a distance of four, and by 0 to 0.3 at one of eight.
    """
    n, _, height, width = noise.shape
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    transfer = 0
    for _ in range(3):
        sd = log_uniform(n, *blurs, generator)
        stretch, angle = uniform(n, -0.4, 0.4, generator).exp(), uniform(n, 0, torch.pi, generator)
        along, across = angle.cos() * rows + angle.sin() * columns, angle.cos() * columns - angle.sin() * rows
        squares = (along * stretch).square() + (across / stretch).square()
        transfer = transfer + uniform(n, 0, 1, generator) * sd.sqrt() * (-2 * torch.pi**2 * sd.square() * squares).exp()
    return filtered(noise, transfer)


def filtered(noise, transfer):
    """Noise (N, C, H, W) whose frequencies, as `torch.fft.rfft2` has them, are multiplied by `transfer`, with root mean
    square 1 in each image."""
    if not len(noise):  # MKL's transforms take no empty batch
        return noise
    return scaled(torch.fft.irfft2(torch.fft.rfft2(noise) * transfer, s=noise.shape[2:]), 1)


def blurred_noise(clean, rms, generator):
    """Noise that is correlated over pixels, alike in no two channels, and stronger in dark or in bright parts."""
    white, strength = torch.empty(clean.shape).normal_(generator=generator), by_brightness(clean, generator)
    return scaled(blurred(white, generator) * strength, rms)


def coloured_noise(clean, rms, generator):
    """Noise of three channels that is correlated over pixels and channels, whatever made it so; stronger in dark or in
    bright parts.

    It is the sum of noise that all channels share and of noise of their own, each `blurred` in its own way. The
    correlation of two channels is uniform in [0, 1), and the logarithm of a channel's strength has standard deviation
    0.35.
    """
    n, _, height, width = clean.shape

    def normal(*shape):
        return torch.empty(n, *shape).normal_(generator=generator)

    alike = uniform(n, 0, 1, generator)
    shared = alike.sqrt() * blurred(normal(1, height, width), generator)
    noise = shared + (1 - alike).sqrt() * blurred(normal(3, height, width), generator)
    noise = noise * (0.35 * normal(3, 1, 1)).exp()
    return scaled(noise * by_brightness(clean, generator), rms)


def lined_noise(clean, rms, generator):
    """Noise in lines, as of a sensor's rows or columns, a scanner's cells or a video tape: correlated along one axis of
    the image, and not across.

    Gaussian blurs along that axis, with a standard deviation log-uniform between the two of LINES, of white noise, of
    which the channels share a part as in `coloured_noise`; and beside it noise that is independent in every value, of
    0.1 to 3 times its strength. The image goes on periodically.
    """
    n, c, height, width = clean.shape

    def normal(channels):
        return torch.empty(n, channels, height, width).normal_(generator=generator)

    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    along = torch.where(uniform(n, 0, 1, generator) < 0.5, rows, columns)
    transfer = (-2 * torch.pi**2 * (log_uniform(n, *LINES, generator) * along).square()).exp()
    alike = uniform(n, 0, 1, generator)
    white = alike.sqrt() * normal(1) + (1 - alike).sqrt() * normal(c)
    lines = filtered(white, transfer)
    return scaled(lines + log_uniform(n, 0.1, 3, generator) * normal(c), rms)


def bayer(n, height, width, generator):
    """Which pixels of a sensor see red, green and blue: bool (n, 3, height, width). Of each 2 x 2 pixels two on a
    diagonal see green; which, and where red is, differs from one image to another."""
    red_row, red_column = torch.randint(2, (2, n, 1, 1, 1), generator=generator)
    on_red_row = (torch.arange(height)[:, None] + red_row) % 2 == 0
    on_red_column = (torch.arange(width) + red_column) % 2 == 0
    red, blue = on_red_row & on_red_column, ~on_red_row & ~on_red_column
    return torch.cat([red, ~red & ~blue, blue], 1)


def demosaiced(sensor, mosaic, alike):
    """All three channels of every pixel, linear in `sensor`, which holds those that `mosaic` shows (see `bayer`).

    sensor: (N, 3, H, W), zero where nothing is seen; H and W even, as it goes on periodically. alike: (N, 1, 1, 1),
    from 0 for bilinear interpolation to 1 for that of the difference to green, by which better cameras give red and
    blue green's fine detail, and its noise.
    """

    def beside(images, axis):
        return (images.roll(1, axis) + images.roll(-1, axis)) / 2

    def filled(images):  # of each 2 x 2 pixels one is known
        images = images + beside(images, 2)
        return images + beside(images, 3)

    red, green, blue = sensor.split(1, 1)
    green = green + (beside(green, 2) + beside(green, 3)) / 2
    red, blue = (
        filled(channel) + alike * (green - filled(green * seen))
        for channel, seen in ((red, mosaic[:, :1]), (blue, mosaic[:, 2:]))
    )
    return torch.cat([red, green, blue], 1)


def developed_noise(clean, rms, generator):
    """What a camera makes of the noise of its sensor: independent in every pixel of a Bayer mosaic, stronger in bright
    parts; then interpolated, scaled by the white balance, mixed by a colour matrix, in its colours weaker, in every
    second image `blurred`, and bent by a tone curve.

    The steps are those of Brooks et al., "Unprocessing images for learned raw denoising", 2019, with what they draw,
    but linear in the noise, so that its mean stays zero. Nine in ten correlate by 0.4 to 0.8 with the next pixel, and
    red and blue are half again as strong as green. Height and width are even: ValueError for others.
    """
    n, _, height, width = clean.shape
    if height % 2 or width % 2:
        raise ValueError(f"expected images of even height and width, got {height} x {width}")
    gamma = uniform(n, 1.8, 2.4, generator)  # of the tone curve
    gains = uniform(n, 1.2, 2.6, generator, channels=3)  # of the white balance
    gains[:, 1] = 1
    linear = (clean / 255).clamp(min=0.01) ** gamma
    read = 0.3 * uniform(n, 0, 1, generator) ** 2  # its variance; that of the shot noise is the brightness
    sd = (linear / gains + read).sqrt()

    mosaic = bayer(n, height, width, generator)
    sensor = mosaic * sd * torch.empty(n, 1, height, width).normal_(generator=generator)
    balanced = gains * demosaiced(sensor, mosaic, uniform(n, 0, 1, generator))
    matrix = uniform(n, -0.5, 0.1, generator, channels=9).view(n, 3, 3)
    matrix = matrix + torch.diag_embed(1 - matrix.sum(2))  # so that grey stays grey
    mixed = (matrix @ balanced.flatten(2)).view(clean.shape)
    brightness = mixed.mean(1, keepdim=True)
    mixed = brightness + uniform(n, 0.2, 1, generator) * (mixed - brightness)  # cameras smooth colours more
    smooth = blurred(mixed, generator, FINE_BLURS)
    mixed = torch.where(uniform(n, 0, 1, generator) < 0.5, mixed, smooth)
    slope = linear.clamp(min=TOE) ** (1 / gamma - 1)  # of the tone curve, but for a factor
    return scaled(mixed * slope, rms)


def jpeg(image, quality, subsampling):
    """A uint8 image (3, H, W), or a grey one (1, H, W), after a JPEG file of Pillow's `quality`, in [1, 100], and
    `subsampling`: 0 for colours at full resolution (4:4:4), 2 at half of it (4:2:0)."""
    from PIL import Image

    file = io.BytesIO()
    image_of(image).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return pixels_of(Image.open(file))


def with_jpeg(images, shares, generator):
    """uint8 images (N, C, H, W), each of which went through a `jpeg` of any of the QUALITIES in its share of all draws.

    Three in five of these have colours at half resolution, and one in four is cut out of a larger picture, so that the
    blocks lie elsewhere.
    """
    images, (lowest, highest) = images.clone(), QUALITIES
    draws = torch.rand(len(images), 4, generator=generator).tolist()
    for image, share, (chosen, quality, colours, cut) in zip(images, shares, draws, strict=True):
        if chosen < share:
            offset = int(32 * cut) if cut < 0.25 else 0  # 0 to 7
            moved = image.roll((offset, offset), (1, 2))
            moved = jpeg(moved, lowest + int((highest - lowest + 1) * quality), 2 if colours < 0.6 else 0)
            image.copy_(moved.roll((-offset, -offset), (1, 2)))
    return images


def impulse_noise(images, rate, generator):
    """uint8 images (N, C, H, W) of whose pixels some tell nothing: dead and hot ones of a sensor, dust, lost bytes.

    rate: (N, 1, 1, 1), the share of these pixels, in [0, 1]. In every second image they are black or white, "salt and
    pepper", in the others of any value; in every second all channels of a pixel are hit at once, in the others each by
    itself. Unlike the noises above its mean isn't zero.
    """
    whole, extreme = (uniform(len(images), 0, 1, generator) < 0.5 for _ in range(2))
    values = torch.randint(256, images.shape, generator=generator)
    values = torch.where(extreme, values // 128 * 255, values).to(torch.uint8)
    draws = torch.rand(images.shape, generator=generator), values
    places, values = (torch.where(whole, draw[:, :1], draw) for draw in draws)
    return torch.where(places < rate, values, images)
