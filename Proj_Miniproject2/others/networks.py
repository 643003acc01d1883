"""Larger networks than the report's, of the same blocks: what it could not build for want of skip connections.

Both predict a correction of the noisy image, by a `Skip` round everything. They are used as `Model` is.
"""

from itertools import product
from pathlib import Path

from ..model import Conv2d, Model, ReLU, Sequential, Skip, Upsampling, check_kind, xavier

HALVING = {"kernel_size": 2, "stride": 2}  # of a convolution to half the height and width; transposed, to the double
SHRINK = 0.2  # of the last weight of every branch: at first each adds little, and deep networks start as shallow ones


def residual_block(channels):
    """Two 3 x 3 convolutions and a way round them (He et al., "Deep residual learning for image recognition", 2016)."""
    return Skip(Conv2d(channels, channels, 3, padding=1), ReLU(), Conv2d(channels, channels, 3, padding=1))


def initialised(network):
    """The network with Xavier's weights, the last of every branch smaller by SHRINK; returns it."""
    xavier(network)
    for module in network.modules():
        if isinstance(module, Skip) and not module.cat:
            module.branch[-1].weight.mul_(SHRINK)
    return network


def correcting(width, ends, *modules):
    """A network that predicts a correction: from 3 channels to `width`, through the modules, and back to 3, the first
    and the last layer with the options `ends`. The last one is transposed, as the shipped weights have it.
    """
    first, last = Conv2d(3, width, **ends), Upsampling(width, 3, **ends)
    return initialised(Sequential(Skip(first, *modules, last)))


def take_common_channels(network, state):
    """Give a network the weights of one that differs in its widths alone, in the channels that both have.

    New channels keep what was drawn for them, and the old ones don't see them yet: a network that is wider all the way
    computes the same. Raises TypeError or ValueError for the weights of any other network, and changes nothing.
    """
    check_widths(network, state)
    for layer, weight, bias in layers_with(network, state):
        ys, xs = (min(both) for both in zip(weight.shape[:2], layer.weight.shape[:2], strict=True))
        old_outputs = layer.x_and_y((slice(None), slice(xs)), slice(ys))[1]  # of Conv2d rows, of Upsampling columns
        outputs = layer.x_and_y(xs, ys)[1]
        layer.weight[old_outputs] = 0
        layer.weight[:ys, :xs] = weight[:ys, :xs]
        layer.bias[:outputs] = bias[:outputs]


def layers_with(network, state):
    """Triples (layer, weight, bias): the layers of a network that have any, and what a state holds for each."""
    values = iter([state[name] for name in network.named_param()])
    return zip((module for module in network.modules() if module.parameters), values, values, strict=True)


def check_widths(network, state):
    """TypeError or ValueError unless a state is of a network that differs from this one in its widths alone."""
    parameters = network.named_param()
    if state.keys() != parameters.keys():
        raise ValueError(f"expected {', '.join(parameters)}, got {', '.join(map(str, state))}")
    for name, (ours, _) in parameters.items():
        theirs = state[name]
        check_kind(name, theirs)
        if theirs.dim() != ours.dim() or theirs.shape[2:] != ours.shape[2:] or 0 in theirs.shape:
            raise ValueError(f"{name}: expected a kernel as in {tuple(ours.shape)}, got {tuple(theirs.shape)}")
        if not theirs[tuple(map(slice, ours.shape))].isfinite().all():
            raise ValueError(f"{name}: expected finite numbers, got others")
    width = their_width = 3  # of what comes into a layer: at first an image, then what the layer before gives, or twice
    for layer, weight, bias in layers_with(network, state):
        inputs, outputs = layer.x_and_y(weight.shape[1], weight.shape[0])
        if inputs * width != layer.in_channels * their_width or bias.shape != (outputs,):
            shapes = f"{tuple(weight.shape)} and {tuple(bias.shape)}"
            raise ValueError(f"{layer!r}: expected weight and bias to fit each other and what is before, got {shapes}")
        width, their_width = layer.out_channels, outputs
    if their_width != width:
        raise ValueError(f"expected {width} channels in the end, got {their_width}")


def turned(function, images, turns, mirrored):
    """What a function makes of images (N, C, H, W) that are turned by so many quarters and maybe mirrored, put back."""
    if not turns and not mirrored:
        return function(images)
    flips = (3,) * mirrored
    return function(images.rot90(turns, (2, 3)).flip(flips)).flip(flips).rot90(-turns, (2, 3))


class UNet(Model):
    """A U-Net (Ronneberger et al., 2015) of residual blocks, 3.4 million parameters, which works at three scales.

    WIDTHS are the channels at full, half and quarter resolution. On the way down and up there is a block at each; what
    goes round a scale is added. `predict` takes the mean over VIEWS of the image's eight symmetries: it is nearer to
    the truth than what the network makes of the image as it stands.
    """

    WIDTHS = (64, 128, 256)
    ENDS = {"kernel_size": 3, "padding": 1}
    GRID = 4
    HALO = 31
    SIDE = 320  # as HALO is large
    VIEWS = 8
    PRECISION = "auto"  # that of products in `predict`, see others/fast
    PRETRAINED = Path(__file__).with_name("unet.pth")
    range, seen, even = None, None, False  # how `denoise` shows it pictures: its weights say, see noise/ranges.py

    def build(self):
        return correcting(self.WIDTHS[0], self.ENDS, *self.scale(0))

    def scale(self, i):
        """The modules of one scale and all below it."""
        channels = self.WIDTHS[i]
        if i + 1 == len(self.WIDTHS):
            return [residual_block(channels), residual_block(channels)]
        below = self.WIDTHS[i + 1]
        down, up = Conv2d(channels, below, **HALVING), Upsampling(below, channels, **HALVING)
        return [residual_block(channels), Skip(down, *self.scale(i + 1), up), residual_block(channels)]

    def denoise(self, images):
        views = list(product((0, 1), (0, 2, 1, 3)))[: self.VIEWS]
        output = turned(self.network, images, 0, 0)
        for mirrored, turns in views[1:]:
            output += turned(self.network, images, turns, mirrored)
        return output.div_(len(views)) if len(views) > 1 else output


class PhotoUNet(UNet):
    """The U-Net for photos at their full resolution: at every scale half as high and wide, 2.3 million parameters."""

    WIDTHS = (64, 128, 192)
    ENDS = HALVING
    GRID = 8
    HALO = 60
    SIDE = 576
    VIEWS = 1
    PRETRAINED = Path(__file__).with_name("photo.pth")


class CameraUNet(PhotoUNet):
    """The same for noise that is correlated over pixels or channels, and for grey pictures, which have three equal
    channels: 1.5 million parameters."""

    WIDTHS = (64, 128, 128)
    PRETRAINED = Path(__file__).with_name("camera.pth")


class ResNet(Model):
    """A residual network (He et al., 2016) that works at half the resolution all the way: BLOCKS blocks of WIDTH
    channels, at about the cost of `UNet`."""

    WIDTH, BLOCKS = 96, 6
    GRID = 2
    HALO = 24
    PRECISION = "auto"
    PRETRAINED = Path(__file__).with_name("resnet.pth")

    def build(self):
        return correcting(self.WIDTH, HALVING, *(residual_block(self.WIDTH) for _ in range(self.BLOCKS)))


# What the ablations train, at a smaller width; they compare the networks alone.


class NarrowUNet(UNet):
    WIDTHS = (48, 96, 192)
    VIEWS = 1


class VeryNarrowUNet(NarrowUNet):
    WIDTHS = (32, 64, 128)


class ShallowUNet(NarrowUNet):
    WIDTHS = (48, 96)


class PlainUNet(NarrowUNet):
    """Without any skip, all layers in one row."""

    def build(self):
        return xavier(Sequential(*(module for module in super().build().modules() if not module.children())))


class DirectUNet(NarrowUNet):
    """It predicts the image, not a correction of the noisy one."""

    def build(self):
        return initialised(Sequential(*super().build()[0].branch))


class ConcatenatingUNet(NarrowUNet):
    """What goes round a scale is concatenated, as in the original, and a 1 x 1 convolution halves the channels."""

    def scale(self, i):
        row = super().scale(i)
        if i + 1 < len(self.WIDTHS):
            row[1:2] = Skip(*row[1].branch, cat=True), Conv2d(2 * self.WIDTHS[i], self.WIDTHS[i], 1)
        return row


VARIANTS = {
    "unet-narrow": NarrowUNet,
    "unet-very-narrow": VeryNarrowUNet,
    "unet-shallow": ShallowUNet,
    "unet-plain": PlainUNet,
    "unet-direct": DirectUNet,
    "unet-concatenating": ConcatenatingUNet,
}

# Those that are used, by the names that commands take.
NETWORKS = {"report": Model, "unet": UNet, "photo": PhotoUNet, "camera": CameraUNet, "resnet": ResNet}
TRAINABLE = NETWORKS | VARIANTS
