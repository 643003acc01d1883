"""A picture's way: its noise is measured, made even and taken away, and what is left is brought back."""

import copy
import math

import torch
from torch.nn.functional import avg_pool2d, interpolate, pad

from ..formats.arrays import tensor_of
from ..noise.correlation import ALIKE, correlation
from ..noise.estimate import BLOCK, FEW_DEAD, LEAST_SIDE, blocks, deviant, estimate
from ..noise.ranges import SPAN, empty, seen, unspoilt, without_infinities
from ..noise.stabilise import MIDDLE, STRENGTH, restored, stabilised

STRIP = 256  # rows
FARTHEST = 1e60  # values whose squares, and what is made of them, float64 holds
# What is left of a picture's own grain, in grey levels: noise that is no stronger counts as that. Less where there is
# hardly anything but noise, TRUSTED of the picture; more where it may be texture.
GRAIN, GRAIN_TRUSTED, GRAIN_ROUGH = 1.5, 0.3, 3
TRUSTED = 0.4
ROUGH_LEAST = 4  # grey levels: the least that noise is said to have which can't be told from texture
GUESSED = 3.5  # grey levels: fainter noise of colours a network that isn't told of it takes for more
FAINT = 0.8  # grey levels: what changes by less where noise can't be told from texture had none
CALM, MORE, CLASSES, LEAST_IN_CLASS = 0.25, 2, 8, 20  # of the blocks in `without_texture`
CALMEST, LITTLE, STRONG = 0.02, 1.5, 8  # of the blocks there; times; square of grey levels that are hardly texture
LIKE = 3  # times as much as another, or less, spans a channel that is seen together with it
# So many times as large is the brightest part's variance as the darkest's, from which on it is made even; of 8 bits, as
# what is cut off at 0 has less.
VARYING, VARYING_8 = 2, 6
BROAD = 16  # pixels a side, of means in which nothing is lost
UNRELATED, UNRELATED_SIDE = 0.4, 64  # below all of 500 photos', whose two most alike channels have 0.48 or more; pixels


def denoise_array(models, array, progress=iter, strength=1, noise=None, missing=None, repair=False, whole=True):
    """As `denoise_pixels`, for a NumPy array (H, W) or (H, W, C), in any order of its bytes; missing: a bool array
    (H, W). Errors: `check_array`."""
    missing = None if missing is None else torch.from_numpy(missing)
    result = denoise_pixels(models, tensor_of(array), progress, strength, noise, missing, repair, whole)
    result = result if result.dim() == 2 else result.movedim(0, 2)
    return result.numpy().astype(array.dtype, order="C")


def denoise_pixels(models, pixels, progress=iter, strength=1, noise=None, missing=None, repair=False, whole=True):
    """What the models, see `weights.chosen`, make of pixels (H, W) or (C, H, W) of any dtype that `denoise` takes: of
    that shape and dtype.

    noise: the picture's `Noise`, where it is known, as of a stack. missing: bool (H, W), what is no measurement, and
    stays, as NaN, infinities and what is `empty` do. repair: whether dead pixels are taken out; else they stay as far
    from what is around them. whole: whether this is all of a picture, not a part of one whose `noise` is given.
    """
    if pixels.dim() == 2:
        return denoise_pixels(models, pixels[None], progress, strength, noise, missing, repair, whole)[0]
    colours = colours_of(pixels)
    if not any(model.even for model in models):
        return with_the_rest(in_its_range(models, colours, progress, strength), pixels)
    unit = unit_of(colours) if noise is None else 1
    result = made_even(models, colours / unit if unit != 1 else colours, progress, strength, noise, repair, whole)
    if unit != 1:
        most = torch.finfo(result.dtype).max / unit
        result = result.clamp(-most, most) * unit
    stays = empty(colours)
    if missing is not None:
        stays = stays | missing
    if colours.is_floating_point():
        stays = stays | ~colours.isfinite()
    return with_the_rest(torch.where(stays, colours, result) if bool(stays.any()) else result, pixels)


def unit_of(pixels):
    """By what pixels are divided: 1, or the power of 2 that brings those whose squares no number holds near to 1."""
    if pixels.dtype != torch.float64 or not bool(pixels.isfinite().any()):
        return 1
    most = pixels[pixels.isfinite()].abs().max().item()
    return 1 if most == 0 or 1 / FARTHEST < most < FARTHEST else 2.0 ** (math.frexp(most)[1] - 1)


def colours_of(pixels):
    """Pixels (H, W) or (C, H, W) without transparency: (1, H, W) or (3, H, W), in the processor's memory."""
    pixels = pixels.detach().cpu()
    return pixels[None] if pixels.dim() == 2 else pixels[: 1 if len(pixels) < 3 else 3]


def with_the_rest(colours, pixels):
    """The first channels of pixels, denoised, and a last one that is transparency as it was; in memory of their own."""
    memory = colours.untyped_storage()
    own = memory.data_ptr() != pixels.untyped_storage().data_ptr() and memory.nbytes() >= colours.nbytes
    if own and len(colours) == len(pixels):
        return colours.to(pixels)
    result = pixels.detach().clone(memory_format=torch.contiguous_format)
    result[: len(colours)] = colours
    return result


# ---------------------------------------------------------------------------------------------------------------
# Networks that see even noise


def made_even(models, pixels, progress, strength, noise, repair, whole):
    """Pixels (C, H, W) of one channel or three, denoised, of their dtype."""
    if noise is None and min(pixels.shape[1:]) < LEAST_SIDE:
        return in_its_range(models[:1] * 2, pixels, progress, strength)
    noise = noise or estimate([pixels])
    if len(pixels) > 1 and bool((pixels[1:] == pixels[0]).all()):
        return made_even(models, pixels[:1], progress, strength, noise.of(0), repair, whole).expand_as(pixels)
    if len(pixels) > 1 and not seen_together(pixels, noise):
        each = zip(pixels.split(1), map(noise.of, range(len(pixels))), strict=True)
        return torch.cat([made_even(models, one, progress, strength, own, repair, whole) for one, own in each])
    eight, level = pixels.dtype == torch.uint8, max(scale for _, scale in noise.span)
    if not level or not strength:
        return pixels
    if noise.dead > (FEW_DEAD if eight else 0) and (eight or repair):
        mended = alive(pixels, noise)
        # Texture hides some, which the network should see for what they are: independent.
        result = made_even(models, mended, progress, strength, noise._replace(dead=0.0, white=True), repair, whole)
        if strength < 1:
            mixed = result.double() + (1 - strength) * (pixels.double() - mended.double())
            mixed = mixed if pixels.is_floating_point() else mixed.round_()
            result = torch.where(mended != pixels, mixed.to(pixels.dtype), result)
        return result
    independent, other = models
    level = 1 if eight else level
    taken = left_alone(noise, level)
    if len(pixels) > 1 and not independent.even and strength_of(noise) > GUESSED * level:
        shown = pixels if eight else seen(pixels.double())[0]
        if correlation(shown) < ALIKE:
            return in_its_range([independent] * 2, pixels, progress, strength, taken)
    one = evenly if eight and not varies(noise, eight) else measured
    for share in (min(strength, 1), strength - 1):
        if share > 0 and taken:
            pixels = one(other, pixels, noise, level, share * taken, progress, repair, whole)
    return pixels


def seen_together(pixels, noise):
    """Whether channels are colours of one picture: of about one range, or of 8 bits, and not without anything that two
    of them share, as stains of a microscope, also if they are shown as colours, may be."""
    scales = [scale for _, scale in noise.span]
    return (pixels.dtype == torch.uint8 or max(scales) <= LIKE * min(scales)) and not are_unrelated(pixels, noise)


def are_unrelated(pixels, noise):
    """Whether the means of BROAD x BROAD pixels, but for their noise, of no two channels of about one range correlate
    by UNRELATED. What has hardly more than noise shares nothing with what has; if all have, it isn't known."""
    scales = torch.tensor([scale for _, scale in noise.span])
    unlike = torch.maximum(scales, scales[:, None]) > LIKE * torch.minimum(scales, scales[:, None])
    if bool((unlike | torch.eye(len(scales), dtype=torch.bool)).all()):
        return True
    if min(pixels.shape[1:]) < UNRELATED_SIDE:
        return False
    low, scale = (torch.tensor(part, dtype=torch.float64).view(-1, 1, 1) for part in zip(*noise.span, strict=True))
    height, width = (n // BROAD for n in pixels.shape[1:])
    means = torch.empty(len(pixels), height, width, dtype=torch.float64)
    for row in range(height):  # without what lies far beyond, as dead pixels do
        strip = without_infinities(pixels[:, row * BROAD : (row + 1) * BROAD].double())
        means[:, row] = avg_pool2d(strip.clamp(low - SPAN * scale, low + 2 * SPAN * scale), BROAD)[:, 0]
    covariances = torch.cov(means.flatten(1))
    left = torch.tensor(noise.sd, dtype=torch.float64).square() / BROAD**2
    own = covariances.diag() - left
    known = own > left
    if not bool(known.any()):
        return False
    own = own.where(known, torch.inf)
    correlations = covariances / (own[:, None] * own).sqrt()
    return bool(((correlations.triu(1) < UNRELATED) | unlike).all())


def strength_of(noise):
    """The standard deviation of the noise over all channels."""
    return (sum(sd**2 for sd in noise.sd) / len(noise.sd)) ** 0.5


def left_alone(noise, level):
    """What share of the noise is taken: less where it is as faint as a picture's own grain."""
    grain = GRAIN if noise.white else GRAIN_ROUGH if len(noise.sd) == 1 else 0
    grain = GRAIN_TRUSTED if noise.white and min(noise.trusted) >= TRUSTED else grain
    strength = max(strength_of(noise), *noise.lines)
    return 1 - (grain * level / strength) ** 2 if strength > grain * level else 0.0


def varies(noise, eight):
    """Whether the noise of a single channel, of 8 bits or others, is that of photons: stronger by far where it is
    bright."""
    if len(noise.gain) > 1 or not noise.white or not noise.gain[0]:
        return False
    low, scale = noise.span[0]
    dark, bright = (noise.gain[0] * value + noise.floor(0) for value in (low, low + SPAN * scale))
    return bright > (VARYING_8 if eight else VARYING) * max(dark, 0)


def evenly(model, pixels, noise, level, share, progress, repair, whole):
    """Pixels of 8 bits with a share of what the model takes away, whose noise is even as it is; in pieces, as float32
    takes four times as much."""
    see, back = linear(said(noise, level), middle(noise))
    output = torch.empty_like(pixels)
    for place, clean in seen_by(model, pixels, see, progress):
        before = pixels[place].float()
        output[place] = (before + (back(clean) - before) * share).round_().clamp_(0, 255)
    return output if noise.white or not whole else without_texture(pixels, output, level)


def measured(model, pixels, noise, level, share, progress, repair, whole):
    """Pixels of any dtype with a share of what the model takes away. Noise of photons is made even."""
    finite = without_infinities(pixels.double())
    picture = alive(finite, noise) if noise.dead else finite
    if varies(noise, pixels.dtype == torch.uint8):
        gain, floor, offset = noise.gain[0], noise.floor(0), noise.offset[0]
        even = stabilised(picture, gain, floor)
        see, back = linear(1, stabilised(middle(noise), gain, floor).item())
        levels = see(even).float()
        result = restored(back(cleaned(model, levels, progress).double()), gain, floor, offset)
    else:
        sd = said(noise, level)
        see, back = linear(sd, middle(noise))
        levels = see(picture).float()
        change = cleaned(model, levels, progress).double() - levels.double()
        result = picture + change * (sd / STRENGTH)
    result = picture + share * (result - picture)
    if noise.white:
        result += broad(picture - result)
    elif whole:
        result = without_texture(picture, result, level)
    result = result if repair else result + (finite - picture)
    if pixels.is_floating_point():
        return result.to(pixels.dtype)
    limits = torch.iinfo(pixels.dtype)
    return result.round_().clamp_(limits.min, limits.max).to(pixels.dtype)


def said(noise, level):
    """What a network is told of the noise's standard deviation."""
    return strength_of(noise) if noise.white else max(strength_of(noise), ROUGH_LEAST * level)


def middle(noise):
    """The mean of a picture, of whatever part of it this is."""
    return torch.tensor(sum(noise.middle) / len(noise.middle), dtype=torch.float64)


def without_texture(before, after, level):
    """What came out of a picture (C, H, W) whose noise can't be told from texture: of no block of BLOCK x BLOCK more is
    taken than of calm ones that are as bright, MORE times what CALM of them lose, in mean squares; and where CALMEST of
    them lose little, as texture everywhere does, not much more than these. The picture itself, if all it loses is
    FAINT."""
    height, width = (n // BLOCK * BLOCK for n in before.shape[1:])
    if not height or not width:
        return after
    losses, levels = [], []
    for one, other in zip(before.split(STRIP, 1), after.split(STRIP, 1), strict=True):
        losses.append(
            blocks(((other.double() - one.double()) / level).square().mean(0), BLOCK).view(-1, width // BLOCK)
        )
        levels.append(blocks(one.double().mean(0), BLOCK).view(-1, width // BLOCK))
    losses, levels = torch.cat(losses), torch.cat(levels)
    flat, usual = losses.flatten(), torch.empty_like(losses.flatten())
    most = torch.empty_like(flat)
    for alike in levels.flatten().argsort().chunk(min(CLASSES, -(-losses.numel() // LEAST_IN_CLASS))):
        calmest, calm = flat[alike].quantile(flat.new_tensor([CALMEST, CALM]))
        usual[alike] = MORE * calm
        most[alike] = (MORE * calm).minimum(LITTLE * calmest * (1 + calmest / STRONG))
    if flat.minimum(usual).mean() < FAINT**2:
        return before
    most = most.view_as(losses)
    share = (most / losses.clamp(min=1e-30)).clamp(max=1).sqrt().float()
    share = interpolate(share[None, None], size=(height, width), mode="bilinear")[0]
    share = pad(share[None], (0, before.shape[2] - width, 0, before.shape[1] - height), mode="replicate")[0]
    return blended(before, after, share)


def alive(picture, noise):
    """A picture whose dead pixels are as what is around them; in strips, as float64 takes eight times as much."""
    output, height = picture.clone(), picture.shape[1]
    fits = [(noise.gain[i], noise.floor(i)) for i in range(len(picture))]
    for top in range(0, height, STRIP):
        start = max(top - STRIP // 4, 0)
        strip = without_infinities(picture[:, start : top + STRIP + STRIP // 4].double())
        around = unspoilt(strip)
        dead = torch.stack([deviant(*both, *fit) for *both, fit in zip(strip, around, fits, strict=True)])
        rows = output[:, top : top + STRIP]
        inner = (slice(None), slice(top - start, top - start + rows.shape[1]))
        rows[:] = torch.where((dead & (around != strip))[inner], around[inner].to(picture.dtype), rows)
    return output


def linear(sd, middle):
    """Two functions, to what networks see of a picture with noise of that standard deviation, and back."""
    scale = STRENGTH / sd
    return lambda x: (x - middle) * scale + MIDDLE, lambda levels: (levels - MIDDLE) / scale + middle


def cleaned(model, levels, progress):
    """What a model makes of levels (C, H, W), float32 of any range."""
    output = torch.empty_like(levels)
    for place, clean in seen_by(model, levels, unchanged, progress):
        output[place] = clean
    return output


def seen_by(model, pixels, see, progress, back=None):
    """What a model makes of pixels (C, H, W) that it sees by a function, and of that `back`, in pieces: yields (place,
    values) for each."""
    model = copy.copy(model)  # whose network is the same
    prepared = model.prepared
    model.prepared = lambda images: see(prepared(images) * 255) / 255
    for (_, _, rows, columns), piece in model.pieces(pixels[None].expand(-1, 3, -1, -1), progress):
        values = back(piece[0]) if back else piece[0]
        yield (slice(None), rows, columns), values if len(pixels) == 3 else values.mean(0, keepdim=True)


def broad(change):
    """What a change (C, H, W) amounts to over BROAD x BROAD pixels, smooth: by this much the light of a picture that
    was denoised is less than it was."""
    height, width = change.shape[1:]
    if min(height, width) < 2 * BROAD:
        return change.mean((1, 2), keepdim=True)
    means = avg_pool2d(change[None], BROAD, ceil_mode=True, count_include_pad=False)
    means = avg_pool2d(means, 3, 1, 1, count_include_pad=False)
    full = interpolate(means, scale_factor=BROAD, mode="bilinear")
    return full[0, :, :height, :width]


# ---------------------------------------------------------------------------------------------------------------
# Networks that see pictures in their own range, and find out what their noise is


def in_its_range(models, pixels, progress, strength, share=1):
    """Pixels (C, H, W) of one channel or three, denoised, of their dtype: the way of networks that were trained on
    pictures of 8 bits as they are, or on measured ones in the range of these.

    share: of what is taken away in the first pass.
    """
    known = models[0].range
    if known and pixels.dtype == torch.uint8:
        raise ValueError("has 8 bits a value, but the weights were trained on another kind of picture, of more")
    if pixels.dtype == torch.uint8:
        return passed(models, pixels, progress, strength, share).expand_as(pixels)
    before = pixels.double()
    values, scale = seen(before, known)
    if not scale:
        return pixels
    change = passed(models, values, progress, strength, share).double() - values
    limits = (torch.finfo if pixels.is_floating_point() else torch.iinfo)(pixels.dtype)
    result = before + scale * change
    result = result if pixels.is_floating_point() else result.round_()
    return torch.where(before.isfinite(), result.clamp(limits.min, limits.max), before).to(pixels)


def passed(models, pixels, progress, strength, first=1):
    """Pixels (C, H, W) of one channel or three, uint8 or float32 in [0, 255], after as many passes as the strength has.

    Which model they go through, see `weights.chosen`, is for the picture to show. Pixels that are grey are kept so: of
    three equal channels one is returned. first: the share that is taken in the first pass.
    """
    independent, other = models
    if bool((pixels[1:] == pixels[0]).all()):
        pixels, model = pixels[:1], other
    else:
        model = independent if correlation(pixels) < ALIKE else other
    for share in (min(strength, 1) * first, strength - 1):
        if share > 0:
            pixels = blended(pixels, denoised(model, pixels, progress), share)
    return pixels


def denoised(model, pixels, progress):
    """What a model makes of pixels, as for `passed`."""
    output = torch.empty_like(pixels)
    see, back = linear(*model.seen) if model.seen else (unchanged, unchanged)
    limited = seen_by(model, pixels, see, progress, lambda piece: back(piece).clamp_(0, 255))
    for place, clean in limited:  # not `predict`, whose float32 takes four times as much
        output[place] = clean if pixels.is_floating_point() else clean.round_()
    return output


def unchanged(levels):
    return levels


def blended(before, after, share):
    """Pixels (C, H, W) with so much of `after` in them, for the rest `before`. share: a number, or one for each pixel,
    float32 (1, H, W)."""
    parts = share.split(STRIP, 1) if isinstance(share, torch.Tensor) else None
    if parts is None and share == 1:
        return after
    mixed = []
    strips = zip(before.split(STRIP, 1), after.split(STRIP, 1), strict=True)  # as float32 takes four times as much
    for i, both in enumerate(strips):
        one, other = both if before.is_floating_point() else (strip.float() for strip in both)
        part = one.lerp(other, parts[i].to(one) if parts else share)
        mixed.append((part if before.is_floating_point() else part.round_()).to(before.dtype))
    return torch.cat(mixed, 1)
