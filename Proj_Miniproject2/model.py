"""A Noise2Noise image denoiser on a neural-network framework written by hand, all of it in this single file.

No autograd and no `torch.nn`: tensors come from `empty` and `arange`, arithmetic from tensor methods and
operators. From top to bottom: parameters and modules, the convolution and its adjoint, the blocks, the loss, the
optimisers, the network, and `Model`, which trains it and denoises with it.

Names, argument orders, defaults and results are torch's.
"""

import contextlib
import math
import os
import random
import time
from collections import namedtuple
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import product
from pathlib import Path

import torch
from torch import arange, empty

PRETRAINED = Path(__file__).with_name("bestmodel.pth")

# ---------------------------------------------------------------------------------------------------------------
# Parameters and modules


class Parameter(namedtuple("Parameter", ["value", "grad"])):
    """A trained tensor and its gradient, which unpack as a pair, with what the optimiser remembers in `state`.

    The two tensors stay the same objects for life: new values are written into them, so everyone who holds the
    pair (a layer, an optimiser) sees every change.
    """

    def __new__(cls, value, grad=None):
        parameter = super().__new__(cls, value, value.clone().zero_() if grad is None else grad)
        parameter.state = {}
        return parameter

    def copy_(self, value):
        """Write `value`, of the same shape, into the parameter."""
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"a parameter takes a tensor, got {type(value).__name__}")
        if value.shape != self.value.shape:
            raise ValueError(f"expected a tensor of shape {tuple(self.value.shape)}, got {tuple(value.shape)}")
        self.value.copy_(value.detach())

    def to(self, *target):
        """Move value, gradient and state to a device or dtype, as `torch.Tensor.to` does, keeping the objects."""
        for tensor in (*self, *(t for t in self.state.values() if isinstance(t, torch.Tensor))):
            tensor.data = tensor.to(*target)


class Module:
    """What every block is: a function with its derivative.

    `forward` computes the output and keeps what `backward` needs; `backward` takes the gradient of the loss with
    respect to the output, adds the parameters' gradients to those already there, and returns the gradient with
    respect to the input. Inputs are never changed, and nothing is recorded by autograd.
    """

    saved = None  # what forward keeps for backward

    def forward(self, *input):
        raise NotImplementedError

    def backward(self, *gradwrtoutput):
        raise NotImplementedError

    def __call__(self, *input):
        return self.forward(*input)

    def recall(self):
        """What `forward` kept; a RuntimeError when there was no forward pass."""
        if self.saved is None:
            raise RuntimeError(f"{type(self).__name__}.backward was called before forward")
        return self.saved

    def named_param(self):
        """The parameters by name, in torch's order and with torch's names: a dict of `Parameter`."""
        return {}

    def param(self):
        """The parameters: a list of pairs (tensor, gradient), empty for blocks that have none."""
        return list(self.named_param().values())

    def to(self, *target):
        """Move the parameters to a device or a floating dtype (TypeError for another); returns the module."""
        for dtype in target:
            if isinstance(dtype, torch.dtype) and not dtype.is_floating_point:
                raise TypeError(f"a module can be of a floating dtype only, got {dtype}")
        for parameter in self.param():
            parameter.to(*target)
        self.saved = None
        return self

    def state_dict(self):
        """Copies of all values by name, with the keys and shapes of the same torch.nn module."""
        return {name: value.clone().contiguous() for name, (value, _) in self.named_param().items()}

    def load_state_dict(self, state_dict):
        """Take all values from `state_dict`. Where keys or shapes differ, a ValueError, and nothing is changed."""
        if not isinstance(state_dict, dict):
            raise TypeError(f"expected a dict of tensors, got {type(state_dict).__name__}")
        parameters = self.named_param()
        expected = {name: tuple(value.shape) for name, (value, _) in parameters.items()}
        found = {name: tuple(getattr(value, "shape", [type(value)])) for name, value in state_dict.items()}
        if found != expected:
            missing = {name: shape for name, shape in expected.items() if found.get(name) != shape}
            wrong = {name: shape for name, shape in found.items() if expected.get(name) != shape}
            raise ValueError(f"expected a state with {missing}, got {wrong}")
        for name, parameter in parameters.items():
            parameter.copy_(state_dict[name])

    def __repr__(self):
        return f"{type(self).__name__}()"


# ---------------------------------------------------------------------------------------------------------------
# The convolution and its adjoint
#
# A convolution with stride s, dilation d and padding p computes
#
#     y[n, i, j, o] = sum over k, l, c of  x[n, s i + d k - p, s j + d l - p, c] w[k, l, c, o].
#
# It is linear in the image x and in the weight w. The inner product <y, conv(x, w)> is linear in y as well, and its
# derivatives by y, x and w are the convolution, its adjoint (the transposed convolution), and the gradient of the
# weight. All three are one batched matrix product between linear maps X, W, Y of the three tensors; with a star for
# the adjoint of a map and a prime for the transposed matrix:
#
#     convolution   y = Y*( X(x)  W(w)  )
#     its adjoint   x = X*( Y(y)  W(w)' )
#     weight        w = W*( X(x)' Y(y)  )
#
# With X = "cut into patches" and W, Y = "reshape" this is the textbook's unfold, multiply, fold. With the maps of Toom
# and Cook it is Winograd's minimal filtering, which takes less than half of the multiplications (Lavin and Gray, "Fast
# Algorithms for Convolutional Neural Networks", 2016). A stride s is no obstacle: with the pixels grouped in cells of
# s x s, the convolution is one of stride 1 over s s C channels.
#
# In this section images are (N, H, W, C), so that the channels of a pixel lie side by side in memory, and
# everything that is said of height and width is a pair.

CHUNK = 2**24  # bytes of a lifted piece of a batch: it should stay in the processor's cache
TILE = 3  # outputs of one tile of minimal filtering, a side
FAST_CHANNELS = 32  # from so many channels on both sides, and
FAST_PIXELS = 500  # so many pixels of a batch, minimal filtering is the faster


class Tiles:
    """A linear map from images (N, H, W, C) to P matrices (P, T, C'), and its adjoint.

    The image, shifted by `padding`, is covered by `count` windows, `step` pixels apart. A window has `taps` places,
    `dilation` pixels apart, and a place is a cell of `unit` pixels. With a `matrix` (P, places) the places of a window
    are mapped to P points. Without, they join the channels, which are cut into P = `groups`. T counts the windows.
    """

    def __init__(self, size, count, dtype, padding=(0, 0), step=(1, 1), taps=(1, 1), dilation=(1, 1), unit=(1, 1),
                 matrix=None, groups=1):  # fmt: skip
        self.size, self.count, self.dtype, self.padding = tuple(size), tuple(count), dtype, tuple(padding)
        self.step, self.taps, self.dilation, self.unit = tuple(step), tuple(taps), tuple(dilation), tuple(unit)
        self.matrix, self.groups = matrix, groups
        self.extent = tuple((count[i] - 1) * step[i] + (taps[i] - 1) * dilation[i] + unit[i] for i in (0, 1))
        # What the image and the padded image have in common, in the coordinates of each.
        start = [max(padding[i], 0) for i in (0, 1)]
        stop = [max(min(padding[i] + size[i], self.extent[i]), start[i]) for i in (0, 1)]
        self.in_padded = (slice(None), *(slice(start[i], stop[i]) for i in (0, 1)))
        self.in_image = (slice(None), *(slice(start[i] - padding[i], stop[i] - padding[i]) for i in (0, 1)))

    def numel(self, c):
        """Numbers of one lifted image of c channels."""
        places = self.taps[0] * self.taps[1] if self.matrix is None else self.matrix.shape[0]
        return places * self.count[0] * self.count[1] * self.unit[0] * self.unit[1] * c

    def windows(self, padded, taps):
        """The windows of a padded image: a view (N, t0, t1, a0, u0, a1, u1, C)."""
        n, h, w, c = padded.stride()
        (t0, t1), (a0, a1), (u0, u1), (s0, s1), (d0, d1) = self.count, taps, self.unit, self.step, self.dilation
        return padded.as_strided(
            (padded.shape[0], t0, t1, a0, u0, a1, u1, padded.shape[3]),
            (n, s0 * h, s1 * w, d0 * h, h, d1 * w, w, c),
            padded.storage_offset(),
        )

    def lift(self, image):
        """(N, H, W, C) -> (P, T, C')"""
        n, c = image.shape[0], image.shape[3]
        padded = image.to(self.dtype)
        if self.padding != (0, 0) or self.extent != self.size:
            padded = image.new_zeros(n, *self.extent, c, dtype=self.dtype)
            padded[self.in_padded] = image[self.in_image]
        places = self.windows(padded, self.taps)
        rows = n * self.count[0] * self.count[1]
        if self.matrix is None:
            places = places.unflatten(7, (self.groups, c // self.groups)).permute(7, 0, 1, 2, 3, 4, 5, 6, 8)
            return places.reshape(self.groups, rows, self.taps[0] * self.taps[1] * c // self.groups)
        places = places.permute(3, 5, 0, 1, 2, 4, 6, 7).reshape(self.matrix.shape[1], -1)
        return (self.matrix @ places).view(self.matrix.shape[0], rows, self.unit[0] * self.unit[1] * c)

    def lower(self, matrices, c):
        """The adjoint of `lift`: (P, T, C') -> (N, H, W, C)"""
        (t0, t1), (a0, a1), (u0, u1) = self.count, self.taps, self.unit
        n = matrices.shape[1] // (t0 * t1)
        if self.matrix is None:
            places = matrices.view(self.groups, n, t0, t1, a0, u0, a1, u1, c // self.groups)
            places = places.permute(1, 2, 3, 4, 5, 6, 7, 0, 8).reshape(n, t0, t1, a0, u0, a1, u1, c)
        else:
            places = self.matrix.t() @ matrices.view(self.matrix.shape[0], -1)
            places = places.view(a0, a1, n, t0, t1, u0, u1, c).permute(2, 3, 4, 0, 5, 1, 6, 7)
        # As many places of a window as fit into a step don't overlap with the next window's: they go in one addition.
        b0, b1 = (s // d if d == u else 1 for s, d, u in zip(self.step, self.dilation, self.unit, strict=True))
        if (a0, a1) == (b0, b1) and (a0 * u0, a1 * u1) == self.step:  # the windows tile the padded image
            padded = places.permute(0, 1, 3, 4, 2, 5, 6, 7).reshape(n, *self.extent, c)
        else:
            padded = places.new_zeros(n, *self.extent, c)
            for i, j in product(range(0, a0, b0), range(0, a1, b1)):
                block = places[:, :, :, i : i + b0, :, j : j + b1]
                corner = padded[:, i * self.dilation[0] :, j * self.dilation[1] :]
                self.windows(corner, (block.shape[3], block.shape[5])).add_(block)
        if padded[self.in_padded].shape[1:3] == self.size:
            return padded[self.in_padded]
        image = places.new_zeros(n, *self.size, c)
        image[self.in_image] = padded[self.in_padded]
        return image


def toom_cook(outputs, taps):
    """Matrices A, B, G with  sum_k x[i + k] w[k] = (A' (B x * G w))[i]  for 0 <= i < outputs, 0 <= k < taps.

    The values at outputs + taps - 1 points, the last of them infinity, determine the product of two polynomials; this
    is the transposed problem. Lists of rows of exact fractions. Source: Winograd, "Arithmetic Complexity of
    Computations", 1980; Lavin's wincnn for this normalisation.
    """
    points = [Fraction(p) for p in (0, 1, -1, -2)][: outputs + taps - 2]  # with 2 for -2 three times the rounding
    others = [[q for q in points if q != p] for p in points]

    def powers(n):
        return [[p**i for i in range(n)] for p in points] + [[Fraction(i == n - 1) for i in range(n)]]

    def polynomial(roots):
        coefficients = [Fraction(1)]
        for root in roots:
            coefficients = [a - root * b for a, b in zip([0, *coefficients], [*coefficients, 0], strict=True)]
        return coefficients

    A = powers(outputs)
    B = [[*polynomial(roots), Fraction(0)] for roots in others] + [polynomial(points)]
    scale = [math.prod(p - q for q in roots) for p, roots in zip(points, others, strict=True)] + [1]
    G = [[v / s for v in row] for row, s in zip(powers(taps), scale, strict=True)]
    return A, B, G


def multiply(a, b):
    """Products of two stacks of matrices; one pair as such, which spares torch a copy of a transposed matrix."""
    return (a[0] @ b[0])[None] if len(a) == 1 else a @ b


@lru_cache(maxsize=64)
class Correlation:
    """The maps X, Y and W of a convolution of images x (N, *x_size, x_channels) to y (N, *y_size, y_channels)."""

    def __init__(self, x_size, x_channels, y_size, y_channels, kernel, stride, padding, dilation, groups, fast,
                 dtype, device):  # fmt: skip
        self.groups, self.x_channels, self.y_channels = groups, x_channels, y_channels
        if not fast:
            self.x = Tiles(x_size, y_size, dtype, padding, stride, kernel, dilation, groups=groups)
            self.y = Tiles(y_size, y_size, dtype, groups=groups)  # every pixel a window
            self.matrix = None
            return

        def kron(matrices):
            """The map for both dimensions at once."""
            p, q = matrices
            numbers = [[float(a * b) for a in row for b in column] for row in p for column in q]
            return empty(0, dtype=dtype, device=device).new_tensor(numbers)

        self.unit, self.taps = stride, tuple(-(-kernel[i] // stride[i]) for i in (0, 1))
        A, B, G = zip(*(toom_cook(TILE, r) for r in self.taps), strict=True)
        tile, window = (TILE, TILE), tuple(TILE + r - 1 for r in self.taps)
        step = tuple(TILE * s for s in stride)
        if stride[0] * stride[1] * x_channels <= y_channels:
            count = [-(-n // TILE) for n in y_size]
            self.x = Tiles(x_size, count, dtype, padding, step, window, stride, stride, kron(B))
            self.y = Tiles(y_size, count, dtype, step=tile, taps=tile, matrix=kron(A))
        else:
            # Windows that overlap cost more, so y, which has fewer channels, gets them: x[j] = sum_k y[j - k] w[k] is a
            # correlation with the kernel turned round, for the cells j of x from the first to the last with a pixel.
            first = [padding[i] // stride[i] for i in (0, 1)]
            last = [(x_size[i] - 1 + padding[i]) // stride[i] for i in (0, 1)]
            count = [-(-(last[i] - first[i] + 1) // TILE) for i in (0, 1)]
            within, ahead = zip(*((padding[i] % stride[i], self.taps[i] - 1 - first[i]) for i in (0, 1)), strict=True)
            self.x = Tiles(x_size, count, dtype, within, step, tile, stride, stride, kron(A))
            self.y = Tiles(y_size, count, dtype, ahead, tile, window, matrix=kron(B))
            G = [[row[::-1] for row in matrix] for matrix in G]
        self.matrix = kron(G)

    def lift_weight(self, weight):
        """W: (K0, K1, x_channels / groups, y_channels) -> (P, x's C', y's C')"""
        *kernel, c, o = weight.shape
        if self.matrix is None:
            weight = weight.to(self.x.dtype).reshape(kernel[0] * kernel[1] * c, self.groups, o // self.groups)
            return weight.permute(1, 0, 2)
        cells = weight.new_zeros(*self.taps, *self.unit, c, o, dtype=self.x.dtype)
        for i, j in product(*map(range, self.unit)):
            taps = weight[i :: self.unit[0], j :: self.unit[1]]
            cells[: taps.shape[0], : taps.shape[1], i, j] = taps
        return (self.matrix @ cells.flatten(0, 1).flatten(1)).view(-1, self.unit[0] * self.unit[1] * c, o)

    def lower_weight(self, matrices, weight):
        """The adjoint of `lift_weight`, added to `weight`."""
        if self.matrix is None:
            weight += matrices.permute(1, 0, 2).reshape(weight.shape)
            return
        cells = (self.matrix.t() @ matrices.flatten(1)).view(*self.taps, *self.unit, *weight.shape[2:])
        for i, j in product(*map(range, self.unit)):
            taps = weight[i :: self.unit[0], j :: self.unit[1]]
            taps += cells[: taps.shape[0], : taps.shape[1], i, j]

    def parts(self, n):
        """Slices that cut n images into equal pieces whose lifted forms stay in the processor's cache."""
        numel = max(self.x.numel(self.x_channels), self.y.numel(self.y_channels))
        pieces = -(-n // max(CHUNK // max(numel * self.x.dtype.itemsize, 1), 1))
        size = -(-n // max(pieces, 1))
        return [slice(i, min(i + size, n)) for i in range(0, n, max(size, 1))]


# ---------------------------------------------------------------------------------------------------------------
# The blocks


def check_int(name, value, least=1):
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def pair(value, name, least):
    """An int, or two, as a pair of ints; ValueError if one is below `least`, TypeError if they aren't ints."""
    both = (value, value) if isinstance(value, int) else value
    if not isinstance(both, (tuple, list)) or len(both) != 2 or any(type(v) is not int for v in both):
        raise TypeError(f"{name} must be an int or a pair of ints, got {value!r}")
    if min(both) < least:
        raise ValueError(f"{name} must be at least {least}, got {value!r}")
    return tuple(both)


def check_kind(module, tensor, like=None):
    """Raise unless `tensor` is a floating-point tensor and, with `like`, has the dtype and device of that."""
    kind = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor)
    if like is None:
        if not (isinstance(tensor, torch.Tensor) and tensor.is_floating_point()):
            raise TypeError(f"{module!r} expected a floating-point tensor, got {kind}")
    elif kind != like.dtype:
        raise TypeError(f"{module!r} expected a tensor of {like.dtype}, got {kind}")
    elif tensor.device != like.device:
        raise ValueError(f"{module!r} expected a tensor on {like.device}, got one on {tensor.device}")


def check_like(module, tensor, like):
    """Raise unless `tensor` has the dtype, device and shape of `like`."""
    check_kind(module, tensor, like)
    if tensor.shape != like.shape:
        raise ValueError(f"{module!r} expected shape {tuple(like.shape)}, got {tuple(tensor.shape)}")


class Convolution(Module):
    """What Conv2d and TransposeConv2d share: all but the sizes, and which side of the `Correlation` is the input.

    Conv2d goes from x to y; TransposeConv2d goes from y to x, with the transposed matrices of the weight.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode):
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("groups", groups)):
            check_int(name, value)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")
        if padding_mode != "zeros":
            raise ValueError(f"padding_mode must be 'zeros', the only one implemented, got {padding_mode!r}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = pair(kernel_size, "kernel_size", 1)
        self.stride = pair(stride, "stride", 1)
        self.padding = padding if isinstance(padding, str) else pair(padding, "padding", 0)
        self.dilation = pair(dilation, "dilation", 1)
        self.precision = None  # dtype of the matrix products, None for the weight's
        self.input_grad = True  # False: backward returns None, for the first layer of a network in training
        self.lifted = None  # a dict while the weight can't change: the lifted weight, by kind of map

        x_channels, y_channels = self.x_and_y(in_channels, out_channels)
        # In memory (K0, K1, x_channels / groups, y_channels), as the matrix products want it.
        weight = empty(*self.kernel_size, x_channels // groups, y_channels).permute(3, 2, 0, 1)
        self._weight = Parameter(weight)
        self._bias = Parameter(empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self):
        """torch's default: U(-b, b) with b = 1 / sqrt(weight[0].numel()), see torch.nn.Conv2d's page."""
        for value, _ in self.param():
            value.uniform_(-(self.weight[0].numel() ** -0.5), self.weight[0].numel() ** -0.5)

    @property
    def weight(self):
        return self._weight.value

    @weight.setter
    def weight(self, value):
        self._weight.copy_(value)

    @property
    def bias(self):
        return self._bias.value if self._bias else None

    @bias.setter
    def bias(self, value):
        if self._bias is None:
            raise ValueError("this layer was made with bias=False")
        self._bias.copy_(value)

    def named_param(self):
        return {"weight": self._weight} | ({"bias": self._bias} if self._bias else {})

    def images(self, tensor, channels):
        """Check a tensor ([N, ]channels, H, W), and view it as (N, H, W, channels)."""
        check_kind(self, tensor, self.weight)
        if tensor.dim() not in (3, 4) or tensor.shape[-3] != channels:
            raise ValueError(f"{self!r} expected shape ([N, ]{channels}, H, W), got {tuple(tensor.shape)}")
        tensor = tensor.detach()
        return (tensor[None] if tensor.dim() == 3 else tensor).permute(0, 2, 3, 1)

    def maps(self, n, size, output_size):
        """The maps for n images of `size`: all, and those of the input's and the output's side."""
        x_size, y_size = self.x_and_y(size, output_size)
        x_channels, y_channels = self.x_and_y(self.in_channels, self.out_channels)
        taps = {-(-k // s) for k, s in zip(self.kernel_size, self.stride, strict=True)}
        # Minimal filtering is for 2 or 3 taps (with more it loses digits), where the products outweigh the maps.
        fast = (
            taps <= {2, 3}
            and self.groups == 1
            and self.dilation == (1, 1)
            and min(self.stride[0] * self.stride[1] * x_channels, y_channels) >= FAST_CHANNELS
            and n * y_size[0] * y_size[1] >= FAST_PIXELS
        )
        maps = Correlation(
            *(x_size, x_channels, y_size, y_channels),
            *(self.kernel_size, self.stride, tuple(before for before, _ in self.pad()), self.dilation, self.groups),
            *(fast, self.precision or self.weight.dtype, self.weight.device),
        )
        return maps, *self.x_and_y(maps.x, maps.y)

    def forward(self, input):
        """([N, ]in_channels, H, W) -> ([N, ]out_channels, H', W')"""
        images = self.images(input, self.in_channels)
        self.saved = None  # makes room
        n, *size, _ = images.shape
        output = images.new_empty(n, *self.output_size(size), self.out_channels)
        maps, source, target = self.maps(n, tuple(size), tuple(output.shape[1:3]))
        lifted, kind = {} if self.lifted is None else self.lifted, maps.matrix is None
        if kind not in lifted:
            lifted[kind] = maps.lift_weight(self.weight.permute(2, 3, 1, 0))
        weight = lifted[kind]
        matrices, _ = self.x_and_y(weight, weight.mT)
        for part in maps.parts(n):
            output[part] = target.lower(multiply(source.lift(images[part]), matrices), self.out_channels)
            if self._bias:
                output[part] += self.bias
        output = output.permute(0, 3, 1, 2)
        output = output if input.dim() == 4 else output[0]
        self.saved = images, weight, output.shape
        return output

    def backward(self, gradwrtoutput):
        """([N, ]out_channels, H', W') -> ([N, ]in_channels, H, W), or None if `input_grad` is False"""
        images, weight, shape = self.recall()
        grads = self.images(gradwrtoutput, self.out_channels)
        if gradwrtoutput.shape != shape:
            raise ValueError(f"{self!r} expected shape {tuple(shape)}, got {tuple(gradwrtoutput.shape)}")
        n, *size, _ = images.shape
        maps, source, target = self.maps(n, tuple(size), tuple(shape[-2:]))
        input_grads = images.new_empty(images.shape) if self.input_grad else None
        weight_grad = self._weight.grad.permute(2, 3, 1, 0)
        transposed, _ = self.x_and_y(weight.mT, weight)
        for part in maps.parts(n):
            lifted = target.lift(grads[part])
            if self.input_grad:
                input_grads[part] = source.lower(multiply(lifted, transposed), self.in_channels)
            x, y = self.x_and_y(source.lift(images[part]), lifted)
            maps.lower_weight(multiply(x.mT, y), weight_grad)
            del lifted, x, y  # makes room for the next part's
        if self._bias:
            self._bias.grad.add_(grads.sum((0, 1, 2)))
        if self.input_grad:
            input_grads = input_grads.permute(0, 3, 1, 2)
            return input_grads if gradwrtoutput.dim() == 4 else input_grads[0]

    def __repr__(self):
        words = [self.in_channels, self.out_channels, self.kernel_size]
        defaults = {"stride": (1, 1), "padding": (0, 0), "output_padding": (0, 0), "dilation": (1, 1), "groups": 1}
        for name, default in defaults.items():
            value = getattr(self, name, default)
            if value != default:
                words.append(f"{name}={value[0] if isinstance(value, tuple) and value[0] == value[1] else repr(value)}")
        if self._bias is None:
            words.append("bias=False")
        return f"{type(self).__name__}({', '.join(map(str, words))})"


class Conv2d(Convolution):
    """A convolution layer (in fact a cross-correlation), as torch.nn.Conv2d.

    Args:
        in_channels, out_channels: channels of the input and of the output, multiples of `groups`
        kernel_size, stride, dilation: ints or pairs (height, width), at least 1
        padding: zeros around the image, an int or a pair at least 0; or "valid" (none), or "same" (for stride 1: as
            much as keeps the size)
        groups: into as many groups input and output channels are cut, each group connected to its own only
        bias: whether to add a trained constant to every output channel

    Shapes: input ([N, ]in_channels, H, W), output ([N, ]out_channels, H', W') with
    H' = floor((H + 2 padding - dilation (kernel_size - 1) - 1) / stride) + 1; weight (out_channels,
    in_channels / groups, *kernel_size), bias (out_channels,), both drawn from U(-b, b), b = 1 / sqrt(fan_in).

    Raises ValueError or TypeError for options and inputs that fit neither this nor each other.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros"):  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"padding must be ints, 'same' or 'valid', got {padding!r}")
        if padding == "same" and self.stride != (1, 1):
            raise ValueError(f"padding='same' needs stride 1, got {stride}")

    def x_and_y(self, input, output):
        return input, output

    def pad(self):
        """Rows of zeros before and after the image, for height and width."""
        if self.padding == "same":  # an odd one goes behind
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return [(t // 2, t - t // 2) for t in total]
        return [(p, p) for p in ((0, 0) if self.padding == "valid" else self.padding)]

    def output_size(self, size):
        padded = [n + sum(p) for n, p in zip(size, self.pad(), strict=True)]
        kernel = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        if any(n < k for n, k in zip(padded, kernel, strict=True)):
            raise ValueError(f"{self!r} needs a padded image of at least {tuple(kernel)}, got {tuple(padded)}")
        return tuple((n - k) // s + 1 for n, k, s in zip(padded, kernel, self.stride, strict=True))


class TransposeConv2d(Convolution):
    """A transposed convolution, the adjoint of Conv2d without bias, as torch.nn.ConvTranspose2d.

    Args:
        in_channels, out_channels, kernel_size, stride, groups, bias, dilation: as for Conv2d
        padding: rows and columns cut off at every border, an int or a pair at least 0
        output_padding: rows and columns added at the end, less than stride or dilation

    Shapes: input ([N, ]in_channels, H, W), output ([N, ]out_channels, H', W') with
    H' = (H - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1; weight (in_channels,
    out_channels / groups, *kernel_size), bias (out_channels,), initialised as torch does.

    Raises ValueError or TypeError for options and inputs that fit neither this nor each other.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1,
                 bias=True, dilation=1, padding_mode="zeros"):  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode)
        if isinstance(padding, str):
            raise TypeError(f"padding must be an int or a pair of ints, got {padding!r}")
        self.output_padding = pair(output_padding, "output_padding", 0)
        if any(o >= max(s, d) for o, s, d in zip(self.output_padding, self.stride, self.dilation, strict=True)):
            raise ValueError(f"output_padding must be less than stride or dilation, got {output_padding!r}")

    def x_and_y(self, input, output):
        return output, input

    def pad(self):
        return [(p, p) for p in self.padding]

    def output_size(self, size):
        geometry = zip(
            size, self.stride, self.padding, self.dilation, self.kernel_size, self.output_padding, strict=True
        )
        output = tuple((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, s, p, d, k, o in geometry)
        if min(size) < 1 or min(output) < 1:
            raise ValueError(f"{self!r} makes an image of {output} from one of {tuple(size)}, too small")
        return output


class Upsampling(TransposeConv2d):
    """The report's upsampling block: a transposed convolution under another name."""


class NearestUpsampling(Module):
    """Repeats every pixel `scale_factor` times (an int or a pair, at least 1), as torch.nn.Upsample(mode="nearest").

    Shapes: ([N, ]C, H, W) -> ([N, ]C, H * scale_factor, W * scale_factor)
    """

    def __init__(self, scale_factor):
        self.scale_factor = pair(scale_factor, "scale_factor", 1)

    def forward(self, input):
        check_kind(self, input)
        if input.dim() not in (3, 4):
            raise ValueError(f"{self!r} expected shape ([N, ]C, H, W), got {tuple(input.shape)}")
        rows, columns = self.scale_factor
        self.saved = output = input.detach().repeat_interleave(rows, -2).repeat_interleave(columns, -1)
        return output

    def backward(self, gradwrtoutput):
        output, (rows, columns) = self.recall(), self.scale_factor
        check_like(self, gradwrtoutput, output)
        *_, height, width = output.shape
        grad = gradwrtoutput.detach().unflatten(-1, (width // columns, columns))
        return grad.unflatten(-3, (height // rows, rows)).sum((-3, -1))

    def __repr__(self):
        return f"NearestUpsampling({self.scale_factor})"


class ReLU(Module):
    """max(0, x), for floating-point tensors of any shape; the derivative at 0 is 0."""

    def forward(self, input):
        check_kind(self, input)
        self.saved = output = input.detach().clamp(min=0)
        return output

    def backward(self, gradwrtoutput):
        output = self.recall()
        check_like(self, gradwrtoutput, output)
        return output.sign().mul_(gradwrtoutput.detach())  # 1 or 0 times the gradient


class Sigmoid(Module):
    """1 / (1 + exp(-x)), for floating-point tensors of any shape; the derivative is s (1 - s)."""

    def forward(self, input):
        check_kind(self, input)
        # Where exp overflows to infinity its reciprocal is 0, as it should be.
        self.saved = output = input.detach().neg().exp_().add_(1).reciprocal_()
        return output

    def backward(self, gradwrtoutput):
        output = self.recall()
        check_like(self, gradwrtoutput, output)
        return gradwrtoutput.detach() * output * (1 - output)


class Sequential(Module):
    """Modules in a row: forward from the first to the last, backward from the last to the first.

    `len`, iteration, indices and slices work as on a list; a slice is a Sequential of the same modules.
    """

    def __init__(self, *modules):
        for module in modules:
            if not isinstance(module, Module):
                raise TypeError(f"Sequential takes modules, got {type(module).__name__}")
        self.modules = modules

    def forward(self, input):
        for module in self.modules:
            input = module.forward(input)
        return input

    def backward(self, gradwrtoutput):
        for module in reversed(self.modules):
            gradwrtoutput = module.backward(gradwrtoutput)
        return gradwrtoutput

    def named_param(self):
        return {f"{i}.{name}": p for i, module in enumerate(self) for name, p in module.named_param().items()}

    def to(self, *target):
        for module in self.modules:
            module.to(*target)
        return self

    def __len__(self):
        return len(self.modules)

    def __getitem__(self, index):
        return Sequential(*self.modules[index]) if isinstance(index, slice) else self.modules[index]

    def __repr__(self):
        return "Sequential(\n" + "".join(f"  {module!r},\n" for module in self.modules) + ")"


class MSE(Module):
    """Mean squared error: the mean (or with reduction="sum" the sum) of (prediction - target)^2 over all elements.

    `forward(prediction, target)` takes two tensors of the same shape and gives a scalar tensor; `backward()` gives the
    gradient with respect to the prediction, 2 (prediction - target) / N (for the sum without N). The report sums this
    over the elements, by a slip: it is one number for each.
    """

    def __init__(self, reduction="mean"):
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {reduction!r}")
        self.reduction = reduction

    def forward(self, prediction, target):
        check_kind(self, prediction)
        check_like(self, target, prediction)
        self.saved = error = prediction.detach() - target.detach()
        return (error * error).mean() if self.reduction == "mean" else (error * error).sum()

    def backward(self, gradwrtoutput=1):
        error = self.recall()
        return error * (2 / max(error.numel(), 1) if self.reduction == "mean" else 2) * gradwrtoutput

    def __repr__(self):
        return "MSE()" if self.reduction == "mean" else f"MSE(reduction={self.reduction!r})"


# ---------------------------------------------------------------------------------------------------------------
# The optimisers


def check_not_negative(**numbers):
    for name, value in numbers.items():
        if not value >= 0:  # also where it is NaN
            raise ValueError(f"{name} must be at least 0, got {value}")


class Optimizer:
    """The parameters to train, and their gradients' reset. Making an optimiser starts its `state` in them afresh."""

    def __init__(self, params):
        self.params = list(params)
        if not self.params:
            raise ValueError("an optimiser needs at least one parameter, got none")
        for i, pair in enumerate(self.params):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise TypeError(f"an optimiser takes pairs (tensor, gradient), got {type(pair).__name__}")
            if not isinstance(pair, Parameter):
                self.params[i] = Parameter(*pair)
        for parameter in self.params:
            parameter.state.clear()

    def zero_grad(self):
        for _, grad in self.params:
            grad.zero_()

    def step(self):
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent, step by step as torch.optim.SGD.

    Args:
        params: pairs (tensor, gradient), as `Module.param()` gives them
        lr: the learning rate; may be changed between steps, as may everything below
        momentum: how much of the velocity stays, in [0, 1)
        dampening: how much of the gradient doesn't enter the velocity
        weight_decay: what is added of the parameter to its gradient (an L2 penalty)
        nesterov: look ahead along the velocity; needs momentum and no dampening

    Raises ValueError for negative numbers, for nesterov without momentum, and for no parameters.
    """

    def __init__(self, params, lr=1e-3, momentum=0, dampening=0, weight_decay=0, nesterov=False):
        check_not_negative(lr=lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(f"nesterov needs a momentum and no dampening, got {momentum} and {dampening}")
        super().__init__(params)
        self.lr, self.momentum, self.dampening = lr, momentum, dampening
        self.weight_decay, self.nesterov = weight_decay, nesterov

    def step(self):
        for parameter in self.params:
            value, grad = parameter
            if self.weight_decay:
                grad = grad.add(value, alpha=self.weight_decay)
            if self.momentum:
                if "velocity" not in parameter.state:
                    parameter.state["velocity"] = grad.clone()
                else:
                    parameter.state["velocity"].mul_(self.momentum).add_(grad, alpha=1 - self.dampening)
                velocity = parameter.state["velocity"]
                grad = grad.add(velocity, alpha=self.momentum) if self.nesterov else velocity
            value.add_(grad, alpha=-self.lr)


class Adam(Optimizer):
    """Adam with decoupled weight decay, step by step as torch.optim.AdamW (but for the default weight_decay, 0).

    Source: Kingma and Ba, "Adam", 2015, algorithm 1; Loshchilov and Hutter, "Decoupled weight decay
    regularization", 2019, algorithm 2.

    Args:
        params: pairs (tensor, gradient), as `Module.param()` gives them
        lr: the learning rate; may be changed between steps
        betas: how much of the averages of the gradient and of its square stays, each in [0, 1)
        eps: added to the root of the averaged square
        weight_decay: by what part of itself, times lr, a parameter shrinks in every step

    Raises ValueError for numbers out of these ranges, and for no parameters.
    """

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0):
        check_not_negative(lr=lr, eps=eps, weight_decay=weight_decay)
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must lie in [0, 1), got {betas}")
        super().__init__(params)
        self.lr, self.betas, self.eps, self.weight_decay = lr, betas, eps, weight_decay

    def step(self):
        beta1, beta2 = self.betas
        for parameter in self.params:
            (value, grad), state = parameter, parameter.state
            if "step" not in state:
                state.update(step=0, mean=grad.clone().zero_(), square=grad.clone().zero_())
            state["step"] += 1
            value.mul_(1 - self.lr * self.weight_decay)
            state["mean"].lerp_(grad, 1 - beta1)
            state["square"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
            # the averages began at zero, which the two powers correct
            scale = (1 - beta2 ** state["step"]) ** 0.5
            divisor = state["square"].sqrt().div_(scale).add_(self.eps)
            value.addcdiv_(state["mean"], divisor, value=-self.lr / (1 - beta1 ** state["step"]))


class Muon(Optimizer):
    """Momentum with orthogonal steps, step by step as torch.optim.Muon, but in the weights' own precision.

    A weight is a matrix with len(weight) rows, a bias one with a single row. With U S V' the singular value
    decomposition of its velocity, looked ahead as in Nesterov's, it moves by U S' V', where all of S' is near 1: the
    directions that the gradient hardly shows move as far as those that rule it. Source: Jordan et al., "Muon: an
    optimizer for hidden layers in neural networks", 2024, and torch.optim.Muon's page, which takes matrices only.

    Args:
        params: pairs (tensor, gradient), as `Module.param()` gives them
        lr: the learning rate, for matrices with more rows than columns times sqrt(rows / columns); may be changed
            between steps
        weight_decay: by what part of itself, times lr, a parameter shrinks in every step
        momentum: how much of the velocity stays, in [0, 1)

    Raises ValueError for numbers out of these ranges, and for no parameters.
    """

    def __init__(self, params, lr=1e-3, weight_decay=0.1, momentum=0.95):
        check_not_negative(lr=lr, weight_decay=weight_decay)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        super().__init__(params)
        self.lr, self.weight_decay, self.momentum = lr, weight_decay, momentum

    def step(self):
        for parameter in self.params:
            (value, grad), state = parameter, parameter.state
            if "velocity" not in state:
                state["velocity"] = grad.clone().zero_()
            velocity = state["velocity"].lerp_(grad, 1 - self.momentum)
            ahead = grad.lerp(velocity, self.momentum)
            matrix = ahead.flatten(1) if ahead.dim() > 1 else ahead.view(1, -1)
            rows, columns = matrix.shape
            matrix = orthogonalize(matrix) if rows <= columns else orthogonalize(matrix.t()).t()
            value.mul_(1 - self.lr * self.weight_decay)
            value.add_(matrix.reshape(value.shape), alpha=-self.lr * max(1, rows / columns) ** 0.5)


def orthogonalize(matrix):
    """U S' V' for a matrix U S V' with no more rows than columns; S' lies in 0.68 ... 1.14 unless S is below |S| / 100.

    Five steps X <- a X + b (X X') X + c (X X')^2 X of Newton, Schulz and Jordan's coefficients. X keeps the form Q X0,
    with Q and the Gram matrix X X' polynomials of X0 X0', so that only square matrices need be multiplied on the way.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    matrix = matrix / matrix.norm().clamp(min=1e-7)
    gram = matrix @ matrix.t()
    identity = gram.clone().zero_().fill_diagonal_(1)
    factors = identity
    for _ in range(5):
        factor = a * identity + b * gram + c * (gram @ gram)
        factors = factor @ factors
        gram = factor @ gram @ factor
    return factors @ matrix


# ---------------------------------------------------------------------------------------------------------------
# The network and its training


def initialize(network, scheme):
    """Draw new weights for all convolutions in a Sequential.

    scheme: "torch" for the layers' own default; "xavier" for U(-b, b) with b = sqrt(6 / (fan_in + fan_out)) (Glorot
    and Bengio, 2010) or "kaiming" for N(0, 2 / fan_in) (He et al., 2015), both with biases of zero. fan_in counts the
    products that enter an output of the layer, fan_out those that an input enters; a stride divides one of the two.
    """
    if scheme not in ("torch", "xavier", "kaiming"):
        raise ValueError(f"scheme must be 'torch', 'xavier' or 'kaiming', got {scheme!r}")
    for layer in (layer for layer in network if isinstance(layer, Convolution)):
        if scheme == "torch":
            layer.reset_parameters()
            continue
        taps = layer.kernel_size[0] * layer.kernel_size[1] / layer.groups
        x_channels, y_channels = layer.x_and_y(layer.in_channels, layer.out_channels)
        into_y, into_x = x_channels * taps, y_channels * taps / (layer.stride[0] * layer.stride[1])
        fan_in, fan_out = layer.x_and_y(into_y, into_x)
        if scheme == "xavier":
            bound = (6 / (fan_in + fan_out)) ** 0.5
            layer.weight.uniform_(-bound, bound)
        else:
            layer.weight.normal_(0, (2 / fan_in) ** 0.5)
        if layer.bias is not None:
            layer.bias.zero_()


@dataclass(frozen=True)
class Recipe:
    """How `Model.train` trains. Raises ValueError for numbers out of range.

    num_epochs, batch_size: at least 1
    optimizer: "muon", the best in short trainings, "adam", the best in long ones, or "sgd"
    lr: the learning rate at its highest
    momentum: of Muon and SGD (Nesterov's, where there is any)
    schedule: "cosine" (down to 0), "steps" (a fifth after a quarter of the training, as the report), or "constant"
    warmup: the part of the training in which the learning rate rises from 0
    weight_decay: as in the optimiser
    average: how much of the running average of the weights stays from step to step (less in the beginning); the
        average is what the model keeps. 0 for none
    augment: flip and transpose the pairs at random, both images alike
    exchange: swap input and target at random, where both are noisy
    precision: "float32", or "bfloat16" for the matrix products of the convolutions and the maps around them (weights,
        sums of gradients and all else stay float32): faster on processors with bfloat16 units, slow on others
    """

    num_epochs: int = 8
    batch_size: int = 32
    optimizer: str = "muon"
    lr: float = 0.03
    momentum: float = 0.95
    schedule: str = "cosine"
    warmup: float = 0.02
    weight_decay: float = 0.0
    average: float = 0.999
    augment: bool = True
    exchange: bool = True
    precision: str = "float32"

    def __post_init__(self):
        for name in ("num_epochs", "batch_size"):
            check_int(name, getattr(self, name))
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be positive, got {self.lr}")
        for name in ("momentum", "warmup", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        choices = {"optimizer": ("muon", "adam", "sgd"), "schedule": SCHEDULES, "precision": ("float32", "bfloat16")}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    def lr_at(self, progress):
        """The learning rate after the part `progress`, in (0, 1), of the training."""
        rise = min(1, progress / self.warmup) if self.warmup else 1
        return self.lr * rise * SCHEDULES[self.schedule](progress)


SCHEDULES = {
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "steps": lambda progress: 1 if progress < 0.25 else 0.2,
    "constant": lambda progress: 1,
}
DEFAULT = Recipe()
# The report's: plain SGD, 0.5 for 10 epochs, then 0.1 for 30.
REPORT = Recipe(
    num_epochs=40,
    optimizer="sgd",
    lr=0.5,
    momentum=0,
    schedule="steps",
    warmup=0,
    average=0,
    augment=False,
    exchange=False,
)
# For weights that are good already: steps so small that they do no harm.
FINETUNE = replace(DEFAULT, num_epochs=1, lr=1e-3)


def check_images(name, images):
    """TypeError or ValueError unless `images` are (N, 3, H, W), uint8 or floating, all values in [0, 255]."""
    if not isinstance(images, torch.Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(images).__name__}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"{name} must be uint8 or floating, got {images.dtype}")
    if images.dim() != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 1:
        raise ValueError(f"{name} must have shape (N, 3, H, W), got {tuple(images.shape)}")
    if images.is_meta:
        raise ValueError(f"{name} must hold data, got a tensor on the device meta")
    if images.numel() and images.is_floating_point():
        low, high = (float(v) for v in images.aminmax())
        if not (low >= 0 and high <= 255):  # also where they are NaN
            raise ValueError(f"{name} must hold values in [0, 255], got values from {low} to {high}")


def save(content, path):
    """torch.save, but all or nothing: a file of that name is replaced in one go when the new one is complete."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        torch.save(content, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load(path, device):
    """torch.load for dicts from outside: no code in the file is run. A ValueError for any other file."""
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds, with advice that is no good here
        raise ValueError(f"{path} can't be read, is damaged, or was not written by torch.save") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} should hold a dict, got {type(content).__name__}")
    return content


@contextlib.contextmanager
def fast_products(device):
    """On the CPU, makes torch's float32 matrix products faster if they stay exact, and puts the setting back.

    At "medium" torch multiplies with oneDNN instead of MKL, which is faster on AMD's processors. On processors with
    bfloat16 matrix units it may round to bfloat16: the product of two numbers that bfloat16 can't hold tells.
    """
    before = torch.get_float32_matmul_precision()
    if device.type == "cpu":
        # Linux's malloc gives large blocks back to the system, to take them again page by page in the next step, until
        # it has seen the largest that it considers, 32 MiB, freed once: M_MMAP_THRESHOLD in mallopt(3).
        empty(2**25 - 2**16, dtype=torch.uint8)
        torch.set_float32_matmul_precision("medium")
        probe = empty(64, 64).fill_(1 + 2**-10)
        if ((probe @ probe) / 64 - (1 + 2**-10) ** 2).abs().max() > 1e-5:
            torch.set_float32_matmul_precision(before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Model:
    """The report's denoiser: `network`, `loss`, `optimizer`, and how they train and denoise. Needs no clean images.

    On a machine with a GPU the network lives there; images may come from anywhere.
    """

    HALO = 16  # pixels that an output depends on, in every direction, rounded up to the network's grid of 4
    SIDE = 256  # larger images are cut into tiles of this side
    BATCH_PIXELS = 2**16  # pixels that go through the network at once

    def __init__(self):
        self.network = Sequential(
            Conv2d(3, 64, (4, 4), stride=2, padding=2),
            ReLU(),
            Conv2d(64, 256, (4, 4), stride=2, padding=2),
            ReLU(),
            Upsampling(256, 128, (5, 5), stride=2, padding=2),
            ReLU(),
            Upsampling(128, 3, (4, 4), stride=2, padding=2),
            Sigmoid(),
        )
        initialize(self.network, "xavier")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.to(self.device)
        self.loss = MSE()
        self.optimizer = SGD(self.network.param())
        self.pretrained = False

    def load_pretrained_model(self):
        """Take the weights of `bestmodel.pth` beside this file; see `load_weights`."""
        self.load_weights(PRETRAINED)

    def load_weights(self, path):
        """Take the weights that a file holds, a state_dict of the network.

        Raises FileNotFoundError, or ValueError for a file of anything else, and then leaves the model as it was.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"there is no file of weights {path}")
        try:
            self.network.load_state_dict(load(path, self.device))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} does not hold the weights of this network: {error}") from error
        self.pretrained = True

    def train(self, train_input, train_target, num_epochs=None, *, recipe=None, seed=0, checkpoint=None):
        """Train on pairs of noisy versions of the same images, both (N, 3, H, W), uint8 or float in [0, 255].

        Args:
            num_epochs: passes over the pairs, instead of the recipe's number
            recipe: a `Recipe`; without, `DEFAULT`, or `FINETUNE` after `load_pretrained_model`
            seed: of the order of the pairs and of their augmentation
            checkpoint: a file to write after every epoch, and to go on from if it is there

        Prints a line an epoch. If training fails, the weights are those from before. Raises TypeError or ValueError
        for bad input, before any work is done, and FloatingPointError if the loss is no longer finite.
        """
        check_images("train_input", train_input)
        check_images("train_target", train_target)
        if train_input.shape != train_target.shape or len(train_input) == 0:
            shapes = f"{tuple(train_input.shape)} and {tuple(train_target.shape)}"
            raise ValueError(f"train_input and train_target must be at least one pair, of equal shapes, got {shapes}")
        self.fit(lambda epoch: (train_input, train_target), num_epochs, recipe=recipe, seed=seed, checkpoint=checkpoint)

    def fit(self, pairs, num_epochs=None, *, recipe=None, seed=0, checkpoint=None):
        """As `train`, for pairs that come fresh with every epoch: `pairs(epoch)` gives its (inputs, targets)."""
        recipe = recipe or (FINETUNE if self.pretrained else DEFAULT)
        if not isinstance(recipe, Recipe):
            raise TypeError(f"recipe must be a Recipe, got {recipe!r}")
        if checkpoint and not Path(checkpoint).parent.is_dir():
            raise FileNotFoundError(f"there is no folder {Path(checkpoint).parent} for the checkpoint")
        if num_epochs is not None:
            recipe = replace(recipe, num_epochs=num_epochs)
        self.optimizer = self.make_optimizer(recipe)
        for parameter in self.optimizer.params:
            parameter.state["average"] = parameter.value.clone()
        with self.prepared(recipe):
            first = self.resume(checkpoint, recipe, seed) if checkpoint and Path(checkpoint).exists() else 0
            begin = time.perf_counter()
            for epoch in range(first, recipe.num_epochs):
                start = time.perf_counter()
                inputs, targets = pairs(epoch)
                with fast_products(self.device):
                    loss = self.train_epoch(inputs, targets, epoch, recipe, seed)
                if checkpoint:
                    self.save_checkpoint(checkpoint, recipe, seed, epoch + 1)
                now = time.perf_counter()
                speed = len(inputs) / (now - start)
                left = (now - begin) / (epoch + 1 - first) * (recipe.num_epochs - epoch - 1) / 60
                progress = f"loss {loss:.6f}, {speed:.0f} images/s, {left:.1f} min left"
                print(f"epoch {epoch + 1}/{recipe.num_epochs}: {progress}", flush=True)
        for parameter in self.optimizer.params:
            average = parameter.state.pop("average")
            if recipe.average:
                parameter.value.copy_(average)

    @contextlib.contextmanager
    def prepared(self, recipe):
        """The network as training wants it; afterwards as it was, with its weights, should training fail."""
        before = self.network.state_dict()
        try:
            for layer in self.convolutions():
                layer.precision = torch.bfloat16 if recipe.precision == "bfloat16" else None
            self.network[0].input_grad = False  # nobody asks for the gradient of the images
            yield
        except BaseException:
            self.network.load_state_dict(before)
            raise
        finally:
            for layer in self.convolutions():
                layer.precision, layer.input_grad = None, True

    def make_optimizer(self, recipe):
        parameters = self.network.param()
        if recipe.optimizer == "muon":
            return Muon(parameters, recipe.lr, recipe.weight_decay, recipe.momentum)
        if recipe.optimizer == "adam":
            return Adam(parameters, recipe.lr, weight_decay=recipe.weight_decay)
        return SGD(parameters, recipe.lr, recipe.momentum, 0, recipe.weight_decay, nesterov=recipe.momentum > 0)

    def train_epoch(self, inputs, targets, epoch, recipe, seed):
        """One pass over the pairs; returns the mean loss."""
        rng = random.Random(f"{seed} {epoch}")
        n, height, width = len(inputs), *inputs.shape[2:]
        rows, columns = (arange(-(-size // 4) * 4).clamp(max=size - 1).to(inputs.device) for size in (height, width))
        order = arange(n).new_tensor(rng.sample(range(n), n)).to(inputs.device)
        batches, total = order.split(recipe.batch_size), 0
        for step, index in enumerate(batches):
            batch = [
                t.detach()[index][:, :, rows][..., columns].to(self.device).float() / 255 for t in (inputs, targets)
            ]
            if recipe.augment:
                batch = augment(*batch, rng)
            if recipe.exchange and rng.random() < 0.5:
                batch = batch[::-1]
            self.optimizer.lr = recipe.lr_at((epoch + (step + 0.5) / len(batches)) / recipe.num_epochs)
            self.optimizer.zero_grad()
            total += self.loss(self.network(batch[0]), batch[1]) * len(index)
            self.network.backward(self.loss.backward())
            self.optimizer.step()
            if recipe.average:
                steps = epoch * len(batches) + step + 1
                keep = min(recipe.average, steps / (steps + 10))  # a short memory while the weights still move far
                for parameter in self.optimizer.params:
                    parameter.state["average"].lerp_(parameter.value, 1 - keep)
        loss = float(total) / n
        if not math.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss} in epoch {epoch + 1}: try a lower learning rate")
        return loss

    def save_checkpoint(self, path, recipe, seed, epochs):
        state = [parameter.state for parameter in self.network.param()]
        content = {"recipe": asdict(recipe), "seed": seed, "epochs": epochs, "state": state}
        save(content | {"network": self.network.state_dict()}, path)

    def resume(self, path, recipe, seed):
        """Take all state from a checkpoint of the same recipe and seed; returns how many epochs it has seen."""
        try:
            content = load(path, self.device)
            made_by = content["recipe"], content["seed"]
            if made_by == (asdict(recipe), seed):
                self.network.load_state_dict(content["network"])
                for parameter, state in zip(self.network.param(), content["state"], strict=True):
                    parameter.state.update(state)
                return content["epochs"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a checkpoint: {error!r}") from error
        raise ValueError(f"{path} comes from another recipe or seed: {made_by}")

    def predict(self, test_input):
        """Denoise images (N, 3, H, W) of any size, uint8 or float in [0, 255]: float32 of that shape and range.

        Raises TypeError or ValueError for other input. Works in pieces, so that memory stays bounded.
        """
        check_images("test_input", test_input)
        test_input = test_input.detach()
        n, _, height, width = test_input.shape
        output = test_input.new_empty(test_input.shape, dtype=torch.float32)
        batch = max(1, self.BATCH_PIXELS // (min(height, self.SIDE) * min(width, self.SIDE)))
        corners = product(range(0, n, batch), range(0, height, self.SIDE), range(0, width, self.SIDE))
        with fast_products(self.device), self.frozen():
            for first, top, left in corners:
                images = slice(first, first + batch)
                rows, inner_rows, outer_rows = self.tile(top, height)
                columns, inner_columns, outer_columns = self.tile(left, width)
                piece = test_input[images][:, :, rows.to(test_input.device)][..., columns.to(test_input.device)]
                piece = piece.to(self.device).float() / 255
                for module in self.network:
                    piece = module(piece)
                    module.saved = None  # nobody will ask for gradients
                inner = piece[:, :, inner_rows, inner_columns] * 255
                output[images, :, outer_rows, outer_columns] = inner.to(output.device)
        return output

    @contextlib.contextmanager
    def frozen(self):
        """The convolutions lift their weights once for all pieces."""
        try:
            for layer in self.convolutions():
                layer.lifted = {}
            yield
        finally:
            for layer in self.convolutions():
                layer.lifted = None

    def convolutions(self):
        return [layer for layer in self.network if isinstance(layer, Convolution)]

    def tile(self, start, size):
        """Which pixels, of `size` along one axis, the network must see for the tile from `start` on.

        Returns their indices, and the tile's place among them and in the image. A size that is no multiple of 4 is
        filled up with copies of the last pixel.
        """
        stop = min(start + self.SIDE, size)
        first = max(0, start - self.HALO)
        last = min(stop + self.HALO, -(-size // 4) * 4)
        return arange(first, last).clamp(max=size - 1), slice(start - first, stop - first), slice(start, stop)


def augment(inputs, targets, rng):
    """One of the eight symmetries of the square for a batch of pairs, both images alike."""
    for axis in (2, 3):
        if rng.random() < 0.5:
            inputs, targets = inputs.flip(axis), targets.flip(axis)
    if inputs.shape[2] == inputs.shape[3] and rng.random() < 0.5:
        inputs, targets = inputs.transpose(2, 3), targets.transpose(2, 3)
    return inputs, targets
