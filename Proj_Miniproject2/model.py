"""A Noise2Noise image denoiser on a neural-network framework written by hand, all of it in this single file.

No autograd and no `torch.nn`: tensors come from `empty` and `arange`, arithmetic from tensor methods and operators.
Names, argument orders, defaults and results are torch's. To be read from top to bottom:

    1. Parameter and Module         what a block is
    2. the simple blocks            ReLU, Sigmoid, NearestUpsampling, MSE, Sequential, Skip
    3. SGD                          how a network learns
    4. the convolution              as the textbook has it, and its adjoint: Conv2d, TransposeConv2d, Upsampling
    5. Model                        the network, its weights, how it denoises and is trained
    6. training                     by what: the optimiser Muon, the recipe, augmentation
    7. faster convolutions          which take the place of 4's patches where they pay, minimal filtering among them
    8. faster products              what this machine multiplies faster, and how it keeps its memory

Symbols: an image batch is (N, C, H, W), that is images, channels, rows and columns. For a convolution x is the larger
image, y the smaller one and w the weight; the capitals X, Y and W are the matrices made of them. A prime transposes.
"""

import contextlib
import io
import json
import math
import numbers
import os
import random
import threading
import time
import warnings
import zipfile
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import lru_cache
from itertools import product
from pathlib import Path

import torch
from torch import arange, empty

# ---------------------------------------------------------------------------------------------------------------
# 1. Parameter and Module


class Parameter(namedtuple("Parameter", ["value", "grad"])):
    """A trained tensor and its gradient, which unpack as a pair, with what the optimiser remembers in `state`.

    The two tensors stay the same objects for life: new values are written into them, so everyone who holds the
    pair (a layer, an optimiser) sees every change. Two parameters are equal if they are the same one.
    """

    def __new__(cls, value, grad=None):
        with torch.inference_mode(False):  # what is made in that mode can never be changed outside
            value = value.clone() if value.is_inference() else value
            grad = value.clone().zero_() if grad is None else grad
        parameter = super().__new__(cls, value, grad)
        parameter.state = {}
        return parameter

    __eq__, __ne__, __hash__ = object.__eq__, object.__ne__, object.__hash__

    def accept(self, value, name="a parameter"):
        """`value` as it would be written into the parameter: TypeError or ValueError unless it is a tensor of that
        shape, of a floating dtype, and finite. Errors call it `name`."""
        check_kind(name, value)
        if value.shape != self.value.shape:
            raise ValueError(f"{name}: expected shape {tuple(self.value.shape)}, got {tuple(value.shape)}")
        value = value.detach().to(self.value)
        if not value.isfinite().all():
            raise ValueError(f"{name}: expected finite numbers of {value.dtype}, got others")
        return value

    def copy_(self, value):
        """Write `value` into the parameter, if it can `accept` it."""
        self.value.copy_(self.accept(value))

    def to(self, *args, **kwargs):
        """Move value, gradient and state to a device or dtype, as `torch.Tensor.to` does, keeping the objects."""
        with torch.inference_mode(False):
            for tensor in (*self, *(t for t in self.state.values() if isinstance(t, torch.Tensor))):
                tensor.data = tensor.to(*args, **kwargs)


def version(tensor):
    """How often a tensor was changed in place; None where torch doesn't count."""
    return None if tensor.is_inference() else tensor._version


class Module:
    """What every block is: a function with its derivative.

    `forward` computes the output and keeps what `backward` needs; `backward` takes the gradient of the loss with
    respect to the output, adds the parameters' gradients to those already there, and returns the gradient with
    respect to the input. Inputs are never changed, and nothing is recorded by autograd.
    """

    parameters = {}  # a block's own, by name
    saved = None  # what forward keeps for backward
    frozen = False  # True while weights can't change and nobody will ask for gradients: see `setting`

    def forward(self, *input):
        raise NotImplementedError

    def backward(self, *gradwrtoutput):
        raise NotImplementedError

    def __call__(self, *input):
        return self.forward(*input)

    def keep(self, *tensors, **others):
        """Keep for `backward`: tensors, which must not be changed in place until then, and other things."""
        if not self.frozen:
            self.saved = tensors, [version(t) for t in tensors], others.values()

    def recall(self):
        """What `forward` kept; a RuntimeError if there was no forward pass, or a tensor was changed since."""
        if self.saved is None:
            raise RuntimeError(f"{type(self).__name__}.backward was called before forward")
        tensors, versions, others = self.saved
        for tensor, before in zip(tensors, versions, strict=True):
            if version(tensor) != before:
                shape = tuple(tensor.shape)
                raise RuntimeError(f"a tensor {shape} that {self!r} needs was changed in place since forward")
        return *tensors, *others

    def children(self):
        """The modules that this one is made of, by name, in order."""
        return {}

    def modules(self):
        """This module and all below it, each once, parents first."""
        return [self, *(module for child in self.children().values() for module in child.modules())]

    def named_param(self):
        """The parameters by name, in torch's order and with torch's names: a dict of `Parameter`."""
        below = {f"{n}.{k}": p for n, child in self.children().items() for k, p in child.named_param().items()}
        return self.parameters | below

    def param(self):
        """The parameters: a list of pairs (tensor, gradient), empty for blocks that have none."""
        return list(self.named_param().values())

    def to(self, *args, **kwargs):
        """Move the parameters as `torch.Tensor.to`, to dtypes in FLOATS only (else TypeError); returns the module."""
        check_kind("a module", empty(0).to(*args, **kwargs))
        for parameter in self.param():
            parameter.to(*args, **kwargs)
        for module in self.modules():
            module.saved = None
        return self

    def state_dict(self):
        """Copies of all values by name, with the keys and shapes of the same torch.nn module."""
        return {name: value.clone().contiguous() for name, (value, _) in self.named_param().items()}

    def load_state_dict(self, state_dict):
        """Take all values from `state_dict`, or none.

        Raises TypeError or ValueError, and changes nothing, unless it holds finite tensors of these names and shapes.
        """
        parameters = self.named_param()
        if not isinstance(state_dict, dict) or state_dict.keys() != parameters.keys():
            names = [*state_dict] if isinstance(state_dict, dict) else type(state_dict).__name__
            raise ValueError(f"expected a dict of {', '.join(parameters)}, got {names}")
        accepted = [parameter.accept(state_dict[name], name) for name, parameter in parameters.items()]
        for (value, _), new in zip(parameters.values(), accepted, strict=True):
            value.copy_(new)

    def __repr__(self):
        children = "".join(f"  {child!r},\n".replace("\n", "\n  ")[:-2] for child in self.children().values())
        return f"{type(self).__name__}({children and chr(10) + children})"


@contextlib.contextmanager
def setting(network, **attributes):
    """Set attributes of all modules of a network for a while; what they kept meanwhile is forgotten."""
    modules = network.modules()
    try:
        for module in modules:
            vars(module).update(attributes)
        yield
    finally:
        for module in modules:
            for name in (*attributes, "saved", "lifted"):
                vars(module).pop(name, None)


# Checks of arguments, each with one clear error.


def check_int(name, value, least=1, most=2**63 - 1):
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if value > most:
        raise ValueError(f"{name} must be at most {most}, got {value}")


def pair(value, name, least):
    """An int, or two, as a pair of ints; ValueError if one is below `least`, TypeError if they aren't ints."""
    both = (value, value) if isinstance(value, int) else value
    if not isinstance(both, (tuple, list)) or len(both) != 2:
        raise TypeError(f"{name} must be an int or a pair of ints, got {value!r}")
    for v in both:
        check_int(name, v, least)
    return tuple(both)


FLOATS = torch.float16, torch.bfloat16, torch.float32, torch.float64


def check_kind(what, tensor, like=None, dtypes=FLOATS):
    """Raise unless `tensor` is a dense one of such a dtype or, with `like`, of the dtype and on the device of that."""
    dtypes = dtypes if like is None else [like.dtype]
    kind, dense = type(tensor).__name__, False
    if isinstance(tensor, torch.Tensor):
        kind = f"{tensor.dtype} ({'nested' if tensor.is_nested else tensor.layout}, {tensor.device})"
        dense = tensor.layout == empty(0).layout and not tensor.is_nested and (like is not None or not tensor.is_meta)
    if not dense or tensor.dtype not in dtypes:
        raise TypeError(f"{what}: expected a dense tensor of {' or '.join(map(str, dtypes))}, got {kind}")
    if like is not None and tensor.device != like.device:
        raise ValueError(f"{what}: expected a tensor on {like.device}, got one on {tensor.device}")


def check_like(what, tensor, like):
    """Raise unless `tensor` has the dtype, device and shape of `like`."""
    check_kind(what, tensor, like)
    if tensor.shape != like.shape:
        raise ValueError(f"{what}: expected shape {tuple(like.shape)}, got {tuple(tensor.shape)}")


# ---------------------------------------------------------------------------------------------------------------
# 2. The simple blocks


class ReLU(Module):
    """max(0, x), for floating-point tensors of any shape; the derivative at 0 is 0."""

    def forward(self, input):
        check_kind(self, input)
        output = input.detach().clamp(min=0)
        self.keep(output)
        return output

    def backward(self, gradwrtoutput):
        (output,) = self.recall()
        check_like(self, gradwrtoutput, output)
        grad = gradwrtoutput.detach()
        if math.isfinite(output.sum() + grad.sum()):
            return output.sign().mul_(grad)  # the same, several times as fast
        return grad.masked_fill(output <= 0, 0)


class Sigmoid(Module):
    """s = 1 / (1 + exp(-x)), for floating-point tensors of any shape; the derivative is s (1 - s)."""

    def forward(self, input):
        check_kind(self, input)
        # Where exp overflows to infinity its reciprocal is 0, as it should be; half precision would overflow early.
        wide = input.detach().float() if input.dtype.itemsize < 4 else input.detach()
        output = wide.neg().exp_().add_(1).reciprocal_().to(input.dtype)
        self.keep(output)
        return output

    def backward(self, gradwrtoutput):
        (output,) = self.recall()
        check_like(self, gradwrtoutput, output)
        return gradwrtoutput.detach() * output * (1 - output)


class NearestUpsampling(Module):
    """Repeats every pixel `scale_factor` times (an int or a pair, at least 1), as torch.nn.Upsample(mode="nearest").

    Shapes: ([N, ]C, H, W) -> ([N, ]C, H * scale_factor, W * scale_factor)
    """

    def __init__(self, scale_factor):
        self.scale_factor = pair(scale_factor, "scale_factor", 1)

    def forward(self, input):
        check_kind(self, input)
        if input.dim() not in (3, 4) or min(input.shape[-2:]) < 1:
            raise ValueError(f"{self!r} expected shape ([N, ]C, H, W), got {tuple(input.shape)}")
        rows, columns = self.scale_factor
        output = input.detach().repeat_interleave(rows, -2).repeat_interleave(columns, -1)
        self.keep(like=output)  # of which nothing but the shape matters
        return output

    def backward(self, gradwrtoutput):
        (output,), (rows, columns) = self.recall(), self.scale_factor
        check_like(self, gradwrtoutput, output)
        *_, height, width = output.shape
        grad = gradwrtoutput.detach().unflatten(-1, (width // columns, columns))
        return grad.unflatten(-3, (height // rows, rows)).sum((-3, -1))

    def __repr__(self):
        return f"NearestUpsampling({self.scale_factor})"


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
        error = prediction.detach() - target.detach()
        self.keep(error)
        return (error * error).mean() if self.reduction == "mean" else (error * error).sum()

    def backward(self, gradwrtoutput=1):
        (error,) = self.recall()
        return error * (2 / max(error.numel(), 1) if self.reduction == "mean" else 2) * gradwrtoutput

    def __repr__(self):
        return "MSE()" if self.reduction == "mean" else f"MSE(reduction={self.reduction!r})"


class Sequential(Module):
    """Modules in a row: forward from the first to the last, backward from the last to the first.

    `len`, iteration, indices and slices work as on a list; a slice is a Sequential of the same modules. Raises
    TypeError for what is no module, ValueError for a module that stands twice in the network: it keeps what its last
    forward pass needs for backward, which the second place would take from the first.
    """

    def __init__(self, *modules):
        for module in modules:
            if not isinstance(module, Module):
                raise TypeError(f"Sequential takes modules, got {type(module).__name__}")
        below = [m for module in modules for m in module.modules()]
        for i, module in enumerate(below):
            if module in below[:i]:
                raise ValueError(f"{module!r} stands twice in one network: make a second one")
        self.row = modules

    def children(self):
        return {str(i): module for i, module in enumerate(self.row)}

    def forward(self, input):
        for module in self.row:
            input = module.forward(input)
        return input

    def backward(self, gradwrtoutput):
        for module in reversed(self.row):
            gradwrtoutput = module.backward(gradwrtoutput)
        return gradwrtoutput

    def __len__(self):
        return len(self.row)

    def __getitem__(self, index):
        return Sequential(*self.row[index]) if isinstance(index, slice) else self.row[index]


class Skip(Module):
    """A branch and a way round it: `input + branch(input)`, or with `cat=True` the two one after the other over the
    channels, for ([N, ]C, H, W). Its branch is a Sequential of `modules`.

    The derivative is the branch's plus the identity's. Raises what `Sequential` does, and ValueError where input and
    output of the branch don't fit: they need the same shape, with `cat=True` apart from the channels.
    """

    def __init__(self, *modules, cat=False):
        self.branch, self.cat = Sequential(*modules), cat

    def children(self):
        return {"branch": self.branch}

    def forward(self, input):
        output = self.branch.forward(input)
        ours, theirs = ([*t.shape[:-3], *t.shape[-2:]] if self.cat else t.shape for t in (input, output))
        if ours != theirs or input.dim() != output.dim() or (self.cat and input.dim() < 3):
            shapes = f"{tuple(input.shape)} and {tuple(output.shape)}"
            raise ValueError(f"the input and the output of {self!r} don't fit together: {shapes}")
        self.keep(channels=input.shape[-3] if self.cat else None)
        return torch.cat([input.detach(), output], -3) if self.cat else input.detach() + output

    def backward(self, gradwrtoutput):
        (channels,) = self.recall()
        grad = gradwrtoutput.detach()
        around, through = grad.tensor_split([channels], -3) if self.cat else (grad, grad)
        return self.branch.backward(through) + around

    def __repr__(self):
        inside = repr(self.branch).removeprefix("Sequential(").removesuffix(")")
        return f"Skip({inside}{'  cat=True,' + chr(10) if self.cat and len(self.branch) else 'cat=True' * self.cat})"


# ---------------------------------------------------------------------------------------------------------------
# 3. SGD


def check_not_negative(**values):
    for name, value in values.items():
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


# ---------------------------------------------------------------------------------------------------------------
# 4. The convolution and its adjoint
#
# A convolution with stride s, dilation d and padding p computes
#
#     y[n, i, j, o] = sum over c, k, l of  x[n, s i + d k - p, s j + d l - p, c] w[o, c, k, l].
#
# Cut x into the patches that the kernel sees and write each as a row of a matrix X. Write the weight as a matrix W with
# a column for each output channel, and y as a matrix Y with a row for each pixel. Then
#
#     the convolution                        Y = X W
#     the gradient with respect to x         X = Y W'        which is also what TransposeConv2d computes
#     the gradient with respect to w         W = X' Y
#
# To `lift` is to make such a matrix of a tensor. To `lower`, its adjoint, is to add the numbers of a matrix up where
# they came from. `Patches` holds the six maps of one geometry and the three products. Section 7 has other kinds, which
# copy or multiply less; a layer doesn't know which it has been given, so all matrices come in stacks: with groups, one
# each.
#
# Inside, images are (N, H, W, C), so that the channels of a pixel lie side by side in memory, and everything that is
# said of height and width is a pair.


def cut(image, size, step, dilation=(1, 1)):
    """(N, H, W, ...) -> a view (N, H', W', ..., size0, size1): windows of the image, `step` pixels apart."""
    (s0, s1), (d0, d1) = step, dilation
    windows = image.unfold(1, d0 * (size[0] - 1) + 1, s0).unfold(2, d1 * (size[1] - 1) + 1, s1)
    return windows[..., ::d0, ::d1]


def paste(windows, image, step, dilation=(1, 1)):
    """The adjoint of `cut`: write to image (N, H, W, ...) the sums of windows (N, H', W', ..., size0, size1)."""
    size, count = tuple(windows.shape[-2:]), windows.shape[1:3]
    if size == tuple(step) and tuple(image.shape[1:3]) == tuple(n * s for n, s in zip(count, step, strict=True)):
        cut(image, size, step).copy_(windows)  # they tile it
        return
    image.zero_()
    # As many rows and columns of a window as fit into a step don't overlap with the next window's, and go at once.
    (d0, d1), (b0, b1) = dilation, (s if d == 1 else 1 for s, d in zip(step, dilation, strict=True))
    for i, j in product(range(0, size[0], b0), range(0, size[1], b1)):
        block = windows[..., i : i + b0, j : j + b1]
        cut(image[:, i * d0 :, j * d1 :], block.shape[-2:], step)[:, : count[0], : count[1]].add_(block)


def placed(image, offset, size, extent, dtype):
    """An image (N, H, W, C) of zeros of height and width `extent`, and in it `image`, of which (at most) the first
    `size` pixels count, from the pixel `offset` on."""
    if tuple(offset) == (0, 0) and tuple(extent) == tuple(size) == tuple(image.shape[1:3]):
        return image.to(dtype)
    there, here = overlap(offset, size, extent)
    padded = image.new_zeros(len(image), *extent, image.shape[3], dtype=dtype)
    padded[there] = image[here]
    return padded


def unplaced(padded, offset, size, image_size):
    """The adjoint of `placed`: back to height and width `image_size`."""
    there, here = overlap(offset, size, padded.shape[1:3])
    if padded[there].shape[1:3] == tuple(image_size):
        return padded[there]
    image = padded.new_zeros(len(padded), *image_size, padded.shape[3])
    image[here] = padded[there]
    return image


def overlap(offset, size, extent):
    """The pixels that a padded image and an image have in common: slices of the one and of the other."""
    start = [max(o, 0) for o in offset]
    stop = [max(min(o + n, e), b) for o, n, e, b in zip(offset, size, extent, start, strict=True)]
    there = [slice(b, e) for b, e in zip(start, stop, strict=True)]
    here = [slice(b - o, e - o) for b, e, o in zip(start, stop, offset, strict=True)]
    return (slice(None), *there), (slice(None), *here)


def over_pixels(images):
    """The sums (C,) of images (N, H, W, C). In two steps, as then each core adds up what it has written: several times
    as fast."""
    return images.sum(2).sum((0, 1))


def multiply(A, B, start=None):
    """The products of two stacks of matrices, their sums beginning with `start`.

    One pair is multiplied as such, which spares torch a copy of a transposed matrix."""
    if len(A) == 1:
        return (A[0] @ B[0] if start is None else start[0].addmm(A[0], B[0]))[None]
    return A @ B if start is None else start.baddbmm(A, B)


class Maps:
    """What all kinds have in common: the three products. Weights lifted by maps of one `key` are the same."""

    exact = False
    piece = 2**24  # bytes of a lifted piece of a batch: it should stay in the processor's cache

    def y_from(self, X, W):
        return multiply(X, W)

    def x_from(self, Y, W):
        return multiply(Y, W.mT)

    def w_from(self, X, Y):
        return multiply(X.mT, Y)


class Patches(Maps):
    """The maps of a convolution by cutting x into patches. G groups, N images, T = N H' W' pixels of y.

    x (N, H, W, C) <-> X (G, T, C / G K0 K1),  y (N, H', W', O) <-> Y (G, T, O / G),
    w (O, C / G, K0, K1) <-> W (G, C / G K0 K1, O / G)
    """

    def __init__(self, layer, x_channels, x_size, y_size, padding, dtype, exact=False):
        self.x_size, self.y_size, self.padding, self.dtype = x_size, y_size, padding, dtype
        self.kernel_size, self.dilation, self.groups = layer.kernel_size, layer.dilation, layer.groups
        geometry = zip(y_size, layer.stride, layer.dilation, layer.kernel_size, strict=True)
        self.extent = [(m - 1) * s + d * (k - 1) + 1 for m, s, d, k in geometry]  # of padded x, as far as it is read
        self.window, self.step, self.gap, self.count = layer.kernel_size, layer.stride, layer.dilation, y_size
        # A patch's axes are (channel, row, column). With `exact` they stand in the order in which torch itself adds up,
        # so that not even the last digit differs. Otherwise channels come last, which is faster to copy.
        self.exact, self.key = exact, (type(self), exact)
        self.order = (0, 1, 2) if exact else (1, 2, 0)
        self.patch = [(x_channels // layer.groups, *layer.kernel_size)[axis] for axis in self.order]
        self.axes = (3, 0, 1, 2, *(4 + axis for axis in self.order))  # of N, H', W', G, C / G, K0, K1

    def numel(self, channels):
        """Numbers of one lifted image; `channels` are those of x or y, whichever has more."""
        return math.prod(self.count) * max(self.groups * math.prod(self.patch), channels)

    def lift_x(self, x):
        padded = placed(x, self.padding, self.x_size, self.extent, self.dtype).unflatten(3, (self.groups, -1))
        patches = cut(padded, self.window, self.step, self.gap).permute(self.axes)
        return patches.reshape(self.groups, -1, math.prod(self.patch))

    def lower_x(self, X, c):
        patches = X.view(self.groups, -1, *self.count, *self.patch).permute(*map(self.axes.index, range(7)))
        if self.window == self.step == (1, 1):  # nothing to add up
            return unplaced(patches.flatten(3), self.padding, self.x_size, self.x_size)
        padded = X.new_empty(len(patches), *self.extent, c)
        paste(patches, padded.unflatten(3, (self.groups, -1)), self.step, self.gap)
        return unplaced(padded, self.padding, self.x_size, self.x_size)

    def lift_y(self, y):
        pixels = y.to(self.dtype).reshape(-1, self.groups, y.shape[3] // self.groups)
        return pixels.transpose(0, 1)

    def lower_y(self, Y, o):
        return Y.transpose(0, 1).reshape(-1, *self.count, o)

    def lift_w(self, w):
        return self.columns(w.to(self.dtype)).flatten(-4, -2)

    def lower_w(self, W, w):
        """Adds to `w`."""
        columns = self.columns(w)
        columns.add_(W.view(columns.shape))

    def columns(self, w):
        """(O, C / G, K0, K1) -> a view (G, *patch, O / G)"""
        return w.unflatten(0, (self.groups, -1)).permute(0, *(2 + axis for axis in self.order), 1)

    def y_from(self, X, W, bias=None):
        """torch's own convolution starts its sums with the bias."""
        return multiply(X, W, None if bias is None else bias.to(self.dtype).view(self.groups, 1, -1))


WORTH_ROUNDING = 32  # channels of a group: with fewer it is copying that takes the time, which float32 does as fast


class Convolution(Module):
    """What Conv2d and TransposeConv2d share: all but the rule and the sizes.

    Each has an x side and a y side (see above): Conv2d goes from x to y, TransposeConv2d from y to x.
    """

    precision = None  # dtype of the matrices, where it is WORTH_ROUNDING; None for the weight's own
    lifted = None  # while frozen: the lifted weight, by `key` of the maps

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
        self.x_channels, self.y_channels = self.x_and_y(in_channels, out_channels)
        # (y channels, x channels / groups, K0, K1); in memory channels come last, as the products want it.
        weight = empty(*self.kernel_size, self.x_channels // groups, self.y_channels).permute(3, 2, 0, 1)
        self.parameters = {"weight": Parameter(weight)} | ({"bias": Parameter(empty(out_channels))} if bias else {})
        self.reset_parameters()

    def reset_parameters(self):
        """torch's default: U(-b, b) with b = 1 / sqrt(weight[0].numel()), see torch.nn.Conv2d's page."""
        for value, _ in self.param():
            value.uniform_(-(self.weight[0].numel() ** -0.5), self.weight[0].numel() ** -0.5)

    @property
    def weight(self):
        return self.parameters["weight"].value

    @weight.setter
    def weight(self, value):
        self.parameters["weight"].copy_(value)

    @property
    def bias(self):
        return self.parameters["bias"].value if "bias" in self.parameters else None

    @bias.setter
    def bias(self, value):
        if self.bias is None:
            raise ValueError("this layer was made with bias=False")
        self.parameters["bias"].copy_(value)

    def images(self, tensor, channels):
        """Check a tensor ([N, ]channels, H, W), and view it as (N, H, W, channels)."""
        check_kind(self, tensor, self.weight)
        if tensor.dim() not in (3, 4) or tensor.shape[-3] != channels:
            raise ValueError(f"{self!r} expected shape ([N, ]{channels}, H, W), got {tuple(tensor.shape)}")
        tensor = tensor.detach()
        return (tensor[None] if tensor.dim() == 3 else tensor).permute(0, 2, 3, 1)

    def maps(self, n, input_size, output_size, backward=False):
        """The maps for n images, on their way forward or backward."""
        x_size, y_size = self.x_and_y(input_size, output_size)
        makes_x, _ = self.x_and_y(backward, not backward)
        padding, dtype = tuple(before for before, _ in self.pad()), self.weight.dtype
        if self.precision and min(self.x_channels, self.y_channels) // self.groups >= WORTH_ROUNDING:
            dtype = self.precision
        # Of a small single image, which torch takes by patches, too, not even the last digit should differ.
        exact = n == 1 and math.prod(x_size) * self.x_channels <= 20480
        faster = None if exact else faster_maps(self, n, x_size, y_size, padding, dtype, makes_x)
        return faster or Patches(self, self.x_channels, x_size, y_size, padding, dtype, exact)

    def lift_w(self, maps):
        """The lifted weight; while it can't change, made once for every kind of maps."""
        lifted = self.lifted or {}
        W = lifted[maps.key] if maps.key in lifted else maps.lift_w(self.weight)
        if self.frozen:
            self.lifted = lifted | {maps.key: W}
        return W

    def in_parts(self, function, maps, *shape):
        """Images of `shape`, as `function(part)` makes them of equal slices of the batch, whose lifted forms stay in
        the processor's cache."""
        n, bytes_each = shape[0], maps.numel(max(self.x_channels, self.y_channels)) * maps.dtype.itemsize
        pieces = -(-n // max(maps.piece // max(bytes_each, 1), 1))
        if pieces == 1:
            return function(slice(n)).to(self.weight.dtype).contiguous()
        images, size = self.weight.new_empty(shape), -(-n // max(pieces, 1))
        for first in range(0, n, max(size, 1)):
            images[first : first + size] = function(slice(first, first + size))
        return images

    def forward(self, input):
        """([N, ]in_channels, H, W) -> ([N, ]out_channels, H', W')"""
        images = self.images(input, self.in_channels)
        self.saved = None  # makes room
        size = tuple(images.shape[1:3])
        output_size = self.output_size(size)
        maps = self.maps(len(images), size, output_size)
        W, shape = self.lift_w(maps), (len(images), *output_size, self.out_channels)
        output = self.in_parts(lambda part: self.apply(maps, W, images[part]), maps, *shape)
        output = self.like(input, output)
        self.keep(images, self.weight, maps=maps, W=W, shape=output.shape)
        return output

    def backward(self, gradwrtoutput):
        """([N, ]out_channels, H', W') -> ([N, ]in_channels, H, W)"""
        images, _, maps, W, shape = self.recall()
        grads = self.images(gradwrtoutput, self.out_channels)
        if gradwrtoutput.shape != shape:
            raise ValueError(f"{self!r} expected shape {tuple(shape)}, got {tuple(gradwrtoutput.shape)}")
        back = self.maps(len(images), images.shape[1:3], grads.shape[1:3], backward=True)
        if back.key != maps.key:  # of another kind, which is faster on this way
            maps, W = back, self.lift_w(back)
        weight_grad = self.parameters["weight"].grad
        input_grads = self.in_parts(
            lambda part: self.adjoint(maps, W, images[part], grads[part], weight_grad), maps, *images.shape
        )
        if self.bias is not None:
            self.parameters["bias"].grad.add_(over_pixels(grads))
        return self.like(gradwrtoutput, input_grads)

    def biased(self, images):
        return images if self.bias is None else images.to(self.bias.dtype).add_(self.bias)

    def like(self, tensor, images):
        """Images (N, H, W, C) as (N, C, H, W), or (C, H, W) if `tensor` is a single one, too."""
        images = images.permute(0, 3, 1, 2)
        return images if tensor.dim() == 4 else images[0]

    def __repr__(self):
        words = [self.in_channels, self.out_channels, self.kernel_size]
        defaults = {"stride": (1, 1), "padding": (0, 0), "output_padding": (0, 0), "dilation": (1, 1), "groups": 1}
        for name, default in defaults.items():
            value = getattr(self, name, default)
            if value != default:
                words.append(f"{name}={value[0] if isinstance(value, tuple) and value[0] == value[1] else repr(value)}")
        if self.bias is None:
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
        if self.padding == "same":  # an odd one at the end, as in torch
            total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            return [(t // 2, t - t // 2) for t in total]
        return [(p, p) for p in ((0, 0) if self.padding == "valid" else self.padding)]

    def output_size(self, size):
        padded = [n + sum(p) for n, p in zip(size, self.pad(), strict=True)]
        kernel = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        if min(size) < 1 or any(n < k for n, k in zip(padded, kernel, strict=True)):
            raise ValueError(f"{self!r} needs a padded image of at least {tuple(kernel)}, got {tuple(padded)}")
        return tuple((n - k) // s + 1 for n, k, s in zip(padded, kernel, self.stride, strict=True))

    def apply(self, maps, W, x):
        """Y = X W"""
        X = maps.lift_x(x)
        if maps.exact:
            return maps.lower_y(maps.y_from(X, W, self.bias), self.out_channels)
        return self.biased(maps.lower_y(maps.y_from(X, W), self.out_channels))

    def adjoint(self, maps, W, x, y_grad, weight_grad):
        """X = Y W',  W = X' Y"""
        Y = maps.lift_y(y_grad)
        x_grad = maps.lower_x(maps.x_from(Y, W), self.in_channels)
        maps.lower_w(maps.w_from(maps.lift_x(x), Y), weight_grad)
        return x_grad


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

    def apply(self, maps, W, y):
        """X = Y W'"""
        return self.biased(maps.lower_x(maps.x_from(maps.lift_y(y), W), self.out_channels))

    def adjoint(self, maps, W, y, x_grad, weight_grad):
        """Y = X W,  W = X' Y"""
        X = maps.lift_x(x_grad)
        y_grad = maps.lower_y(maps.y_from(X, W), self.in_channels)
        maps.lower_w(maps.w_from(X, maps.lift_y(y)), weight_grad)
        return y_grad


class Upsampling(TransposeConv2d):
    """The report's upsampling block: a transposed convolution under another name."""


# ---------------------------------------------------------------------------------------------------------------
# 5. Model


def fans(layer):
    """(fan_in, fan_out) of a convolution: how many products enter an output of it, and how many an input enters."""
    taps = layer.kernel_size[0] * layer.kernel_size[1] / layer.groups
    # A pixel of y sees all taps, a pixel of x only those that the stride lets it meet.
    into_y, into_x = layer.x_channels * taps, layer.y_channels * taps / (layer.stride[0] * layer.stride[1])
    return layer.x_and_y(into_y, into_x)


def xavier(network):
    """Draw all convolutions' weights from U(-b, b), b = sqrt(6 / (fan_in + fan_out)), with biases of zero (Glorot and
    Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010). Returns the network."""
    for layer in network.modules():
        if isinstance(layer, Convolution):
            bound = (6 / sum(fans(layer))) ** 0.5
            layer.weight.uniform_(-bound, bound)
            if layer.bias is not None:
                layer.bias.zero_()
    return network


def check_images(name, images):
    """TypeError or ValueError unless `images` are (N, 3, H, W), uint8 or floating, all values in [0, 255]; a warning if
    they seem to be in [0, 1]."""
    check_kind(name, images, dtypes=(torch.uint8, *FLOATS))
    if images.dim() != 4 or images.shape[1] != 3 or min(images.shape[2:]) < 1:
        raise ValueError(f"{name} must have shape (N, 3, H, W), got {tuple(images.shape)}")
    if images.numel() and images.is_floating_point():
        low, high = (float(v) for v in images.aminmax())
        if not (low >= 0 and high <= 255):  # also where they are NaN
            raise ValueError(f"{name} must hold values in [0, 255], got values from {low} to {high}")
        if 0 < high <= 1:
            warnings.warn(f"{name} holds values from {low} to {high}: the range is [0, 255], not [0, 1]", stacklevel=3)


def write_whole(content, path):
    """Write bytes to a file, which is replaced in one go: it is there whole or not at all. OSError if it can't be."""
    partial = Path(path).with_name(f"{os.getpid()}.part")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save(content, path):
    """torch.save by `write_whole`. The same content makes the same file, as torch doesn't see its name."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(buffer.getbuffer(), path)


def load(path, device, kind=dict):
    """torch.load for what comes from outside, a dict or something of another `kind`: no code in the file is run.

    Raises FileNotFoundError, or ValueError for any other file, such as a compressed one, which could be of any size.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > os.path.getsize(path):
                    raise ValueError("the file is compressed")
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds, with advice that is no good here
        raise ValueError(f"{path} can't be read, is damaged, or was not written by torch.save") from error
    if not isinstance(content, kind):
        raise ValueError(f"{path} should hold a {kind.__name__}, got {type(content).__name__}")
    return content


def fingerprint(images):
    """By what a checkpoint knows its data again."""
    total = images.detach().contiguous().view(torch.uint8).sum(dtype=torch.int64)
    return f"{tuple(images.shape)}, {images.dtype}, sum of all bytes {int(total)}"


class Model:
    """A denoiser: `network`, `loss`, `optimizer`, and how they train and denoise. Needs no clean images.

    On a machine with a GPU the network lives there; images may come from anywhere. This is the report's network; a
    subclass with another one overrides `build` and the three values below it.
    """

    def build(self):
        """The network, newly initialised: from (N, 3, H, W) in [0, 1] to the same, H and W multiples of GRID."""
        return xavier(
            Sequential(
                Conv2d(3, 64, (4, 4), stride=2, padding=2),
                ReLU(),
                Conv2d(64, 256, (4, 4), stride=2, padding=2),
                ReLU(),
                Upsampling(256, 128, (5, 5), stride=2, padding=2),
                ReLU(),
                Upsampling(128, 3, (4, 4), stride=2, padding=2),
                Sigmoid(),
            )
        )

    GRID = 4  # height and width of what the network takes are multiples of it
    HALO = 10  # outside its cell of GRID x GRID pixels an output depends on so many pixels at most, in every direction
    PRETRAINED = Path(__file__).with_name("bestmodel.pth")

    SIDE = 280  # larger images are cut into tiles, of at most this side with their halo
    BATCH_PIXELS = 2**15  # pixels that go through the network at once

    def __init__(self):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = self.build().to(self.device, torch.float32)
        self.loss = MSE()
        self.optimizer = SGD(self.network.param())
        self.pretrained = False

    def load_pretrained_model(self):
        """Take the weights of `PRETRAINED`, a file beside this one; see `load_weights`."""
        self.load_weights(self.PRETRAINED)

    def load_weights(self, path):
        """Take the weights that a file holds, a state_dict of the network.

        Raises FileNotFoundError, or ValueError for a file of anything else, and then leaves the model as it was.
        """
        try:
            self.network.load_state_dict(load(path, self.device))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} does not hold the weights of this network: {error}") from error
        self.pretrained = True

    def save_weights(self, path, dtype=None):
        """Write the weights to a file, for `load_weights`; it is replaced in one go. Raises OSError.

        dtype: that of the file, such as torch.float16 for half the size; None for the weights' own.
        """
        save({name: value.to("cpu", dtype) for name, value in self.network.state_dict().items()}, path)

    def predict(self, test_input, progress=iter):
        """Denoise images (N, 3, H, W) of any size, uint8 or float in [0, 255]: float32 of that shape and range.

        Raises TypeError or ValueError for other input. Works in pieces, so that memory stays bounded; `progress` wraps
        the list of them, as tqdm does.
        """
        check_images("test_input", test_input)
        test_input = test_input.detach()
        output = test_input.new_empty(test_input.shape, dtype=torch.float32)
        for place, piece in self.pieces(test_input, progress):
            output[place] = piece
        return output

    def pieces(self, test_input, progress=iter):
        """What `predict` makes of images, piece by piece: yields (its place in the output, its values)."""
        n, _, height, width = test_input.shape
        tile = [self.on_grid(min(n, self.SIDE)) for n in (height, width)]
        batch = max(1, self.BATCH_PIXELS // math.prod(tile))
        pieces = list(product(range(0, n, batch), self.tiles(height), self.tiles(width)))
        with fast_products(self.device), setting(self.network, frozen=True):
            for first, (rows, inner_rows, outer_rows), (columns, inner_columns, outer_columns) in progress(pieces):
                images = slice(first, first + batch)
                piece = test_input[images][:, :, rows.to(test_input.device)][..., columns.to(test_input.device)]
                piece = self.denoise(piece.to(self.device).float() / 255).clamp_(0, 1).mul_(255)
                yield (images, slice(None), outer_rows, outer_columns), piece[:, :, inner_rows, inner_columns]

    def denoise(self, images):
        """What `predict` makes of a piece: from (N, 3, H, W) in [0, 1] to about the same, H and W multiples of GRID."""
        return self.network(images)

    def tiles(self, size):
        """How an axis of `size` pixels is cut: yields for each tile the indices of the pixels that the network must
        see, its place among them, and its place in the image.

        A size that is no multiple of GRID is filled up with copies of the last pixel.
        """
        halo = self.on_grid(self.HALO)
        step = size if size <= self.SIDE else self.SIDE - 2 * halo
        for start in range(0, size, step):
            stop = min(start + step, size)
            first, last = max(0, start - halo), min(stop + halo, self.on_grid(size))
            last = first + self.on_grid(last - first)
            seen = arange(first, last).clamp(max=size - 1)
            yield seen, slice(start - first, stop - first), slice(start, stop)

    def on_grid(self, size):
        return -(-size // self.GRID) * self.GRID

    def train(self, train_input, train_target, num_epochs=None, *, recipe=None, seed=0, checkpoint=None):
        """Train on pairs of noisy versions of the same images, both (N, 3, H, W), uint8 or float in [0, 255].

        Args:
            num_epochs: passes over the pairs, instead of the recipe's number
            recipe: a `Recipe`; without, `DEFAULT`, or `FINETUNE` after `load_pretrained_model`
            seed: of the order of the pairs and of their augmentation
            checkpoint: a file to write after every epoch, and to go on from if it is there; one of another recipe, seed
                or data is refused

        Prints a line an epoch. If training fails, the weights are those from before. Raises TypeError or ValueError
        for bad input, before any work is done, and FloatingPointError if the loss is no longer finite.
        """
        check_images("train_input", train_input)
        check_images("train_target", train_target)
        if train_input.shape != train_target.shape or len(train_input) == 0:
            shapes = f"{tuple(train_input.shape)} and {tuple(train_target.shape)}"
            raise ValueError(f"train_input and train_target must be at least one pair, of equal shapes, got {shapes}")
        about = [fingerprint(images) for images in (train_input, train_target)] if checkpoint else ""
        pairs = train_input, train_target
        self.fit(lambda epoch: pairs, num_epochs, recipe=recipe, seed=seed, checkpoint=checkpoint, about=about)

    def fit(self, pairs, num_epochs=None, *, recipe=None, seed=0, checkpoint=None, about=""):
        """As `train`, for pairs that come fresh with every epoch: `pairs(epoch)` gives its (inputs, targets).

        about: says what a checkpoint can't know, such as where the pairs come from, in what JSON can hold; a checkpoint
            that was written about something else, or by another recipe or seed, is refused.

        Returns the mean losses of the epochs that it trained: a dict by the epoch's number, from 1.
        """
        word = "fine-tuning, epoch" if recipe is None and self.pretrained else "epoch"
        recipe = recipe or (FINETUNE if self.pretrained else DEFAULT)
        if not isinstance(recipe, Recipe):
            raise TypeError(f"recipe must be a Recipe, got {recipe!r}")
        if not isinstance(seed, numbers.Integral):
            raise TypeError(f"seed must be an int, got {seed!r}")
        if checkpoint and not os.access(Path(checkpoint).parent, os.W_OK):
            raise FileNotFoundError(f"there is no folder {Path(checkpoint).parent} that a checkpoint can be written to")
        if num_epochs is not None:
            recipe = replace(recipe, num_epochs=num_epochs)
        # By way of JSON, as not all that JSON takes (NumPy's floats, say) can be read from a checkpoint.
        run = {"recipe": described(recipe), "seed": int(seed), "about": about}
        run = json.loads(json.dumps(run, allow_nan=False))
        before = self.network.state_dict()
        self.optimizer = recipe.make_optimizer(self.network.param())
        for parameter in self.optimizer.params:
            parameter.state["average"] = parameter.value.clone()
        precision = recipe.dtype(self.device)
        try:
            begin, first = time.perf_counter(), self.resume(checkpoint, run)
            losses = {}
            for epoch in range(first, recipe.num_epochs):
                start = time.perf_counter()
                inputs, targets = pairs(epoch)
                with fast_products(self.device), setting(self.network, precision=precision):
                    loss, seen = self.train_epoch(inputs, targets, epoch, recipe, seed)
                losses[epoch + 1] = loss
                if checkpoint:
                    state = [parameter.state for parameter in self.optimizer.params]
                    save(run | {"epochs": epoch + 1, "state": state, "network": self.network.state_dict()}, checkpoint)
                now = time.perf_counter()
                speed = seen / (now - start)
                left = (now - begin) / (epoch + 1 - first) * (recipe.num_epochs - epoch - 1) / 60
                progress = f"loss {loss:.6f}, {speed:.0f} images/s, {left:.1f} min left"
                print(f"{word} {epoch + 1}/{recipe.num_epochs}: {progress}", flush=True)
            if recipe.average:
                for parameter in self.optimizer.params:
                    parameter.copy_(parameter.state["average"])
            return losses
        except BaseException:
            for name, parameter in self.network.named_param().items():
                parameter.value.copy_(before[name])
            raise
        finally:
            for parameter in self.optimizer.params:
                parameter.state.pop("average", None)

    def train_epoch(self, inputs, targets, epoch, recipe, seed):
        """One pass over the pairs; returns the mean loss and the number of pairs."""
        rng = random.Random(f"{seed} {epoch}")
        n, height, width = len(inputs), *inputs.shape[2:]
        rows, columns = (arange(self.on_grid(n)).clamp(max=n - 1).to(inputs.device) for n in (height, width))
        order = arange(n).new_tensor(rng.sample(range(n), n)).to(inputs.device)
        batches, total, seen = order.split(recipe.batch_size), 0, 0
        for step, index in recipe.halved(batches, epoch):
            batch = [
                t.detach()[index][:, :, rows][..., columns].to(self.device).float() / 255 for t in (inputs, targets)
            ]
            if recipe.augment:
                batch = augment(*batch, rng)
            if recipe.exchange and rng.random() < 0.5:
                batch = batch[::-1]
            self.optimizer.lr = recipe.lr_at((epoch + (step + 0.5) / len(batches)) / recipe.num_epochs)
            loss, images = self.learn(*batch)
            total, seen = total + loss * images, seen + images
            self.optimizer.step()
            if recipe.average:
                steps = epoch * len(batches) + step + 1
                keep = min(recipe.average, steps / (steps + 10))  # a short memory while the weights still move far
                for parameter in self.optimizer.params:
                    parameter.state["average"].lerp_(parameter.value, 1 - keep)
        loss, seen = float(total) / int(seen), int(seen)
        if not math.isfinite(loss) or not all(value.isfinite().all() for value, _ in self.optimizer.params):
            raise FloatingPointError(f"epoch {epoch + 1} diverged, its loss is {loss}: try a lower learning rate")
        return loss, seen

    def learn(self, inputs, targets):
        """Write the gradients for a batch; returns its mean loss and its number of pairs."""
        self.optimizer.zero_grad()
        loss = self.loss(self.network(inputs), targets)
        self.network.backward(self.loss.backward())
        return loss, len(inputs)

    def resume(self, path, run):
        """Take all state from a checkpoint of the same run, if there is one; returns how many epochs it has seen."""
        if not path or not Path(path).exists():
            return 0
        content = load(path, self.device)
        try:
            both = {name: content[name] for name in run}, run
            theirs, ours = (json.dumps(what, indent=0, sort_keys=True).splitlines() for what in both)
            if theirs != ours:
                other, this = (" ".join(x for x in a if x not in b) for a, b in ((theirs, ours), (ours, theirs)))
                raise ValueError(f"it comes from another training, of {other} instead of {this}")
            check_int("epochs", content["epochs"])
            for parameter, state in zip(self.optimizer.params, content["state"], strict=True):
                if "average" not in state or state.keys() != content["state"][0].keys():
                    raise ValueError(f"its state holds {[*state]}")
                for name, value in state.items():
                    parameter.state[name] = value if type(value) is int else parameter.accept(value, name)
            self.network.load_state_dict(content["network"])
            return content["epochs"]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no checkpoint of this training: {error}") from error


# ---------------------------------------------------------------------------------------------------------------
# 6. Training


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
        matrices = []
        for parameter in self.params:
            (value, grad), state = parameter, parameter.state
            if "velocity" not in state:
                state["velocity"] = grad.clone().zero_()
            velocity = state["velocity"].lerp_(grad, 1 - self.momentum)
            ahead = grad.lerp(velocity, self.momentum)
            ahead /= ahead.norm().clamp(min=1e-7)
            # The order of the columns doesn't matter: that in which the layers' weights lie in memory saves a copy.
            matrices.append(ahead.movedim(1, -1).flatten(1) if ahead.dim() > 1 else ahead[None])
        for (value, _), step in zip(self.params, self.directions(matrices), strict=True):
            rows, columns = step.shape
            turned = value.movedim(1, -1) if value.dim() > 1 else value
            turned.mul_(1 - self.lr * self.weight_decay)
            turned.add_(step.view(turned.shape), alpha=-self.lr * max(1, rows / columns) ** 0.5)

    def directions(self, matrices):
        """A step for every matrix, before it is multiplied by the learning rate."""
        return orthogonalize(matrices)


def orthogonalize(matrices):
    """U S' V' for every matrix U S V' of norm 1; S' lies in 0.68 ... 1.14 where S is above 0.01.

    Five steps X <- a X + b (X X') X + c (X X')^2 X of Newton, Schulz and Jordan's coefficients. X keeps the form Q X0,
    with Q and the Gram matrix X X' polynomials of X0 X0', so that only square matrices need be multiplied on the way:
    those of one size at once.
    """
    wide = [matrix if len(matrix) <= matrix.shape[1] else matrix.t() for matrix in matrices]
    for rows in {len(matrix) for matrix in wide}:
        alike = [i for i, matrix in enumerate(wide) if len(matrix) == rows]
        gram = torch.cat([(wide[i] @ wide[i].t())[None] for i in alike])
        factors = factor = next_factor(gram)
        for _ in range(4):
            gram = factor @ gram @ factor
            factor = next_factor(gram)
            factors = factor @ factors
        for i, Q in zip(alike, factors, strict=True):
            wide[i] = Q @ wide[i]
    return [step if step.shape == matrix.shape else step.t() for step, matrix in zip(wide, matrices, strict=True)]


def next_factor(gram):
    """a + b X X' + c (X X')^2 for a stack of X X'"""
    a, b, c = 3.4445, -4.7750, 2.0315
    factor = gram.baddbmm(gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=1, dim2=2).add_(a)
    return factor


def cosine(progress):
    """From 1 down to 0, for `progress` from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def described(what):
    """The fields of a dataclass, functions by their names: a dict of what JSON and checkpoints can hold."""
    values = {field.name: getattr(what, field.name) for field in fields(what)}
    return {name: getattr(v, "__name__", repr(v)).lower() if callable(v) else v for name, v in values.items()}


@dataclass(frozen=True)
class Recipe:
    """How `Model.train` trains. Raises TypeError or ValueError for values out of range."""

    num_epochs: int = 8
    batch_size: int = 32
    small_batches: float = 0  # the part of the training, from its beginning on, in which batches are half as large
    optimizer: Callable = Muon  # takes the parameters, lr, weight_decay and momentum, and makes an optimiser of them
    lr: float = 0.02  # the learning rate at its highest
    momentum: float = 0.95  # of the optimiser, in [0, 1)
    schedule: Callable = cosine  # by what lr is multiplied, a function of the part of the training that is done
    warmup: float = 0.02  # the part of the training in which the learning rate rises from 0
    weight_decay: float = 0.1  # of the optimiser; this one, like lr, is Muon's
    # How much of the running average of the weights, which the model keeps, stays from step to step (less in the
    # beginning); 0 for no average.
    average: float = 0.999
    augment: bool = True  # flip and transpose the pairs at random, both images alike
    exchange: bool = True  # swap input and target at random, where both are noisy
    # Of the matrix products and the maps around them in convolutions of many channels (weights, sums of gradients and
    # all else stay float32): "float32", "bfloat16", or "auto" for what this machine multiplies faster.
    precision: str = "auto"

    def __post_init__(self):
        for field in fields(self):
            # Numbers become Python's own (numpy has others), which every checkpoint can hold.
            value, kind = getattr(self, field.name), field.type
            wanted = {int: numbers.Integral, float: numbers.Real}.get(kind, kind)
            is_bool = type(value).__name__ in ("bool", "bool_")
            if not (is_bool if kind is bool else isinstance(value, wanted) and not is_bool):
                raise TypeError(f"{field.name} must be of type {kind.__name__}, got {value!r}")
            object.__setattr__(self, field.name, value if kind is Callable else kind(value))
        for name in ("num_epochs", "batch_size"):
            check_int(name, getattr(self, name))
        # So that the products of the two stay below float32's largest number.
        if not 0 < self.lr <= 1e30:
            raise ValueError(f"lr must be positive and at most 1e30, got {self.lr}")
        if not 0 <= self.weight_decay <= 1e6:
            raise ValueError(f"weight_decay must lie in [0, 1e6], got {self.weight_decay}")
        for name in ("momentum", "warmup", "average", "small_batches"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.precision not in ("float32", "bfloat16", "auto"):
            raise ValueError(f"precision must be 'float32', 'bfloat16' or 'auto', got {self.precision!r}")

    def make_optimizer(self, params):
        return self.optimizer(params, lr=self.lr, weight_decay=self.weight_decay, momentum=self.momentum)

    def halved(self, batches, epoch):
        """(number, batch) of an epoch's batches; while batches are small, two halves with the number of the whole."""
        for number, batch in enumerate(batches):
            small = (epoch + number / len(batches)) / self.num_epochs < self.small_batches
            yield from ((number, part) for part in batch.chunk(2 if small else 1))

    def lr_at(self, progress):
        """The learning rate after the part `progress`, in (0, 1), of the training."""
        return self.lr * (min(1, progress / self.warmup) if self.warmup else 1) * self.schedule(progress)

    def dtype(self, device):
        """The dtype of the products on a device."""
        if self.precision == "auto":
            return fastest_dtype(device)
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32


DEFAULT = Recipe()
# For weights that are good already: steps so small that they do no harm.
FINETUNE = replace(DEFAULT, num_epochs=1, lr=1e-3, weight_decay=0)


def augment(inputs, targets, rng):
    """One of the eight symmetries of the square for a batch of pairs, both images alike."""
    for axis in (2, 3):
        if rng.random() < 0.5:
            inputs, targets = inputs.flip(axis), targets.flip(axis)
    if inputs.shape[2] == inputs.shape[3] and rng.random() < 0.5:
        inputs, targets = inputs.transpose(2, 3), targets.transpose(2, 3)
    return inputs, targets


# ---------------------------------------------------------------------------------------------------------------
# 7. Faster convolutions, in place of section 4's patches where they pay
#
# `Rows` and `Turned` copy less, `Shifts` doesn't multiply matrices, and `MinimalFiltering` multiplies less. The section
# can be taken away, with the line of `Convolution.maps` that asks it.

MANY_PIXELS = 500  # of y in a batch: from there on it pays to be clever
ROW = 12  # numbers in a patch of one row, with groups twice as many, from which on it is worth a product of its own
TILE = 3  # cells of x in one tile of minimal filtering, a side
FEWER = 0.5  # of the textbook's products: from there on minimal filtering pays
MANY_CHANNELS = 40  # on both sides, those of a cell on the x side: from there on minimal filtering pays


def faster_maps(layer, n, x_size, y_size, padding, dtype, makes_x):
    """The maps for n images that are the fastest for a layer and exact enough, where it makes x (and perhaps w) or y;
    None for the textbook's."""
    c, o = layer.x_channels, layer.y_channels
    if n * math.prod(y_size) < MANY_PIXELS or layer.weight.dtype.itemsize < 4:  # sums of half precision lose too much
        return None
    if layer.groups == c == o:
        return Shifts(layer, c, x_size, y_size, padding, dtype)
    taps = tuple(-(-k // s) for k, s in zip(layer.kernel_size, layer.stride, strict=True))  # cells that a kernel spans
    # What minimal filtering multiplies for a pixel of y, where the textbook has the kernel's pixels.
    products = math.prod((TILE + r - 1) / TILE * s for r, s in zip(taps, layer.stride, strict=True))
    fewer = products <= FEWER * math.prod(layer.kernel_size) and {*taps} <= {2, 3}  # with more taps it loses digits
    many = min(math.prod(layer.stride) * c, o) >= MANY_CHANNELS
    if layer.groups == 1 and layer.dilation == (1, 1) and fewer and many:
        return MinimalFiltering(layer, taps, x_size, y_size, padding, dtype)
    rows = layer.stride[0] == 1 < layer.kernel_size[0]
    # Adding up what overlaps in x takes longer than to copy patches of y, unless y has more channels.
    if layer.groups == 1 and layer.stride == (1, 1) and (2 * o <= c or makes_x and rows and o <= c):
        turned = [d * (k - 1) - p for d, k, p in zip(layer.dilation, layer.kernel_size, padding, strict=True)]
        kind = Rows if layer.kernel_size[1] * o >= ROW else Patches
        return Turned(kind(layer, o, y_size, x_size, turned, dtype))
    if rows and layer.kernel_size[1] * c // layer.groups >= (ROW if layer.groups == 1 else 2 * ROW):
        return Rows(layer, c, x_size, y_size, padding, dtype)
    return None


class Rows(Patches):
    """Patches of a single row of the kernel: a K0-th of the copying, as all rows of the kernel need the same ones, only
    further down. So Y is a sum of K0 products X_k W_k. For layers without a stride between rows. With groups, whose
    patches are dear to copy, and no stride at all, patches of a single pixel, which are x itself, and K0 K1 products.

    The images stand one below the other, those of y with as many rows as padded x has, H0, and with patches of a pixel
    with as many columns. The last of these mean nothing, and are zero where y is lifted. So each X_k is a part of X,
    which need not be copied.

    With A pixels in a patch and W0 in a row:
    x <-> X (G, N H0 W0, A C / G),  y <-> Y (G, N H0 W0, O / G),  w <-> W (K0, K1 / A, G, A C / G, O / G)
    """

    piece = 3 * 2**21

    def __init__(self, *arguments):
        super().__init__(*arguments)
        pixelwise = self.groups > 1 and self.step == (1, 1)
        columns, width = (1, self.extent[1]) if pixelwise else (self.kernel_size[1], self.y_size[1])
        self.tops = [
            i * self.dilation[0] * width + j * self.dilation[1]
            for i, j in product(range(self.kernel_size[0]), range(0, self.kernel_size[1], columns))
        ]
        self.window, self.step, self.gap = (1, columns), (1, self.step[1]), (1, self.gap[1])
        self.count, self.patch = (self.extent[0], width), (1, columns, self.patch[2])

    def columns(self, w):
        """(O, C / G, K0, K1) -> a view (K0, K1 / A, G, 1, A, C / G, O / G)"""
        w = w.unflatten(3, (-1, self.window[1])).unflatten(0, (self.groups, -1))  # G, O / G, C / G, K0, K1 / A, A
        return w.permute(3, 4, 0, 5, 2, 1).unsqueeze(3)

    def lift_y(self, y):
        return super().lift_y(placed(y, (0, 0), self.y_size, self.count, self.dtype))

    def lower_y(self, Y, o):
        return super().lower_y(Y, o)[:, : self.y_size[0], : self.y_size[1]]

    def below(self, X):
        """X_k for every k: views, all of the same height, the first of them from the top on"""
        pixels = X.shape[1] - self.tops[-1]
        return [X[:, top : top + pixels] for top in self.tops]

    # One product at a time, as torch copies matrices of a stack that don't stand side by side. The first one replaces
    # what was there.

    def y_from(self, X, W):
        Y = X.new_empty(X.shape[1], self.groups, W.shape[-1]).transpose(0, 1)
        for k, (X_k, W_k) in enumerate(zip(self.below(X), W.flatten(0, 1), strict=True)):
            for y, x, w in zip(self.below(Y)[0], X_k, W_k, strict=True):
                y.addmm_(x, w, beta=min(k, 1))
        return Y

    def x_from(self, Y, W):
        X, Y = Y.new_empty(Y.shape[1], self.groups, W.shape[-2]).transpose(0, 1), self.below(Y)[0]
        X[:, Y.shape[1] :] = 0
        for k, (X_k, W_k) in enumerate(zip(self.below(X), W.flatten(0, 1), strict=True)):
            for x, y, w in zip(X_k, Y, W_k, strict=True):
                x.addmm_(y, w.t(), beta=min(k, 1))
        return X

    def w_from(self, X, Y):
        Y = self.below(Y)[0]
        return torch.cat([(x.t() @ y)[None] for X_k in self.below(X) for x, y in zip(X_k, Y, strict=True)])


class Shifts(Patches):
    """A depthwise convolution, pixel by pixel of the kernel: y is the sum of w_k x_k, with views x_k of x, no matrices.

    x <-> X (N, H + padding, W + padding, C),  y <-> Y = y,  w (C, 1, K0, K1) <-> W (K0 K1, C)
    """

    def lift_x(self, x):
        return placed(x, self.padding, self.x_size, self.extent, self.dtype)

    def lower_x(self, X, c):
        return unplaced(X, self.padding, self.x_size, self.x_size)

    def lift_y(self, y):
        return y.to(self.dtype)

    def lower_y(self, Y, o):
        return Y

    def lift_w(self, w):
        return w.flatten(1).t().to(self.dtype).contiguous()

    def lower_w(self, W, w):
        w += W.t().view(w.shape)

    def shifts(self, X):
        """x_k for each pixel k of the kernel: views (N, H', W', C)"""
        views = cut(X, self.window, self.step, self.gap)
        return [views[..., i, j] for i, j in product(*map(range, self.kernel_size))]

    def y_from(self, X, W):
        first, *others = self.shifts(X)
        Y = first * W[0]
        for x_k, w_k in zip(others, W[1:], strict=True):
            Y.addcmul_(x_k, w_k)
        return Y

    def x_from(self, Y, W):
        X = Y.new_zeros(len(Y), *self.extent, Y.shape[3])
        for x_k, w_k in zip(self.shifts(X), W, strict=True):
            x_k.addcmul_(Y, w_k)
        return X

    def w_from(self, X, Y):
        return torch.cat([over_pixels(x_k * Y)[None] for x_k in self.shifts(X)])


class Turned(Maps):
    """The maps of a convolution of stride 1 by those of its adjoint, where x and y change places: x is also the
    convolution of y with the kernel turned round. For layers with few channels of y, of which less need be copied, and
    in place of `Rows` on the way to x.
    """

    def __init__(self, maps):
        self.maps, self.dtype, self.key = maps, maps.dtype, (Turned, maps.key)
        self.lift_x, self.lower_x, self.lift_y, self.lower_y = maps.lift_y, maps.lower_y, maps.lift_x, maps.lower_x
        self.x_from, self.numel, self.piece = maps.y_from, maps.numel, maps.piece

    def y_from(self, X, W):
        return self.maps.x_from(X, W)

    def w_from(self, X, Y):
        return self.maps.w_from(Y, X)

    def lift_w(self, w):
        return self.maps.lift_w(self.turned(w))

    def lower_w(self, W, w):
        grad = self.turned(w).zero_()
        self.maps.lower_w(W, grad)
        w += self.turned(grad)

    @staticmethod
    def turned(w):
        """(O, C, K0, K1) -> a copy (C, O, K0, K1)"""
        return w.flip(2, 3).transpose(0, 1)


def toom_cook(outputs, taps):
    """Matrices A, B, G with  sum_k x[i + k] w[k] = (A' (B x * G w))[i]  for 0 <= i < outputs, 0 <= k < taps.

    The values at outputs + taps - 1 points, the last of them infinity, determine the product of two polynomials; this
    is the transposed problem. Lists of rows of exact fractions. Source: Winograd 1980; Lavin's wincnn for this
    normalisation.
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


@lru_cache(maxsize=64)
def filters(taps, dtype, device):
    """`toom_cook`'s three matrices for both dimensions at once and a kernel turned round."""

    def kron(matrices):
        p, q = matrices
        rows = [[float(a * b) for a in row for b in column] for row in p for column in q]
        return empty(0, dtype=dtype, device=device).new_tensor(rows)

    A, B, G = zip(*(toom_cook(TILE, r) for r in taps), strict=True)
    with torch.inference_mode(False):
        return kron(A), kron(B), kron([[row[::-1] for row in matrix] for matrix in G])


class Windows:
    """A linear map from images (N, H, W, C) to P matrices (P, T, C'), and its adjoint.

    The image is cut into cells of `unit` pixels, which join the channels, C' = unit0 unit1 C. It is covered by `count`
    windows of `taps` cells, TILE cells apart; `matrix` (P, taps0 taps1) maps the cells of a window to P points. The
    image stands `offset` pixels after the first window's corner, and only the first `size` of its pixels count.
    """

    def __init__(self, image_size, size, offset, count, taps, unit, matrix):
        self.image_size, self.size, self.offset, self.count = image_size, size, offset, count
        self.taps, self.unit, self.matrix = taps, unit, matrix
        self.cells = [(n - 1) * TILE + r for n, r in zip(count, taps, strict=True)]
        self.extent = [n * u for n, u in zip(self.cells, unit, strict=True)]

    def lift(self, image):
        """(N, H, W, C) -> (P, T, C')"""
        padded = placed(image, self.offset, self.size, self.extent, self.matrix.dtype)
        windows = cut(self.in_cells(padded), self.taps, (TILE, TILE))  # N, t0, t1, unit0, unit1, C, taps0, taps1
        windows = windows.permute(6, 7, 0, 1, 2, 3, 4, 5).reshape(self.matrix.shape[1], -1)
        return (self.matrix @ windows).view(len(self.matrix), -1, math.prod(self.unit) * image.shape[3])

    def lower(self, matrices, c):
        """The adjoint of `lift`: (P, T, C') -> (N, H, W, C)"""
        windows = (self.matrix.t() @ matrices.flatten(1)).view(*self.taps, -1, *self.count, *self.unit, c)
        padded = windows.new_empty(windows.shape[2], *self.extent, c)
        paste(windows.permute(2, 3, 4, 5, 6, 7, 0, 1), self.in_cells(padded), (TILE, TILE))
        return unplaced(padded, self.offset, self.size, self.image_size)

    def in_cells(self, padded):
        """(N, H, W, C) -> a view (N, H / unit0, W / unit1, unit0, unit1, C)"""
        return padded.unflatten(2, (-1, self.unit[1])).unflatten(1, (-1, self.unit[0])).transpose(2, 3)


class MinimalFiltering(Maps):
    """The maps of a convolution by minimal filtering: for a tile of 3 x 3 pixels and a kernel of 3 x 3, patches need
    81 products, and after a change of basis 25 do. A stride s is no obstacle: with the pixels in cells of s x s,
    the convolution is one of stride 1 over s s C channels. P points, T tiles.

    In float32 it costs about a digit: the tests hold it below 1e-5 of the largest value. Where values of one tile
    differ much in size, the small ones lose more: a pixel of the image and one of the gradient at 1,000 times the rest
    can cost a weight's gradient all but its first three. Sources: Winograd, "Arithmetic Complexity of Computations",
    1980; for its use here Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016.

    x (N, H, W, C) <-> X (P, T, s0 s1 C),  y (N, H', W', O) <-> Y (P, T, O),
    w (O, C, K0, K1) <-> W (P, s0 s1 C, O)
    """

    key = "points"

    def __init__(self, layer, taps, x_size, y_size, padding, dtype):
        self.dtype, kernel_size, stride = dtype, layer.kernel_size, layer.stride
        self.cell_channels, wide = math.prod(stride) * layer.x_channels, tuple(TILE + r - 1 for r in taps)
        # Pixels after the last that an output reads count for nothing, even where they are infinite.
        geometry = zip(x_size, y_size, stride, kernel_size, padding, strict=True)
        read = [min(n, (m - 1) * s + k - p) for n, m, s, k, p in geometry]
        A, B, G = filters(taps, dtype, layer.weight.device)
        # The windows of x tile it; those of y overlap, which costs more, but a training step lifts Conv2d's x twice and
        # its y once. So x[j] = sum_k y[j - k] w[k], with the kernel turned round, for the cells j of x with a pixel.
        first = [p // s for p, s in zip(padding, stride, strict=True)]
        last = [(n - 1 + p) // s for n, p, s in zip(x_size, padding, stride, strict=True)]
        count = [-(-(b - a + 1) // TILE) for a, b in zip(first, last, strict=True)]
        within = [p % s for p, s in zip(padding, stride, strict=True)]
        ahead = [r - 1 - a for r, a in zip(taps, first, strict=True)]
        self.x = Windows(x_size, read, within, count, (TILE, TILE), stride, A)
        self.y = Windows(y_size, y_size, ahead, count, wide, (1, 1), B)
        self.w = Windows(kernel_size, kernel_size, (0, 0), (1, 1), taps, stride, G)  # of one image of C O channels
        self.lift_x, self.lower_x = self.x.lift, self.x.lower
        self.lift_y, self.lower_y = self.y.lift, self.y.lower

    def numel(self, channels):
        """Numbers of one lifted image; `channels` are those of x or y, whichever has more."""
        return len(self.x.matrix) * math.prod(self.x.count) * max(self.cell_channels, channels)

    def lift_w(self, w):
        return self.w.lift(w.permute(2, 3, 1, 0).flatten(2)[None]).view(len(self.w.matrix), -1, len(w))

    def lower_w(self, W, w):
        """Adds to `w`."""
        taps = w.permute(2, 3, 1, 0)
        taps += self.w.lower(W.flatten(1).unsqueeze(1), taps[0, 0].numel()).view(taps.shape)


# ---------------------------------------------------------------------------------------------------------------
# 8. Faster products and memory, as far as this machine has them


@lru_cache(maxsize=8)
def fastest_dtype(device):
    """bfloat16 where products of matrices take at most 0.7 of float32's time, else float32. Measured once, in turn, so
    that what else the machine does meets both."""
    times = {torch.float32: [], torch.bfloat16: []}
    for dtype in [*times] * 12:
        matrix = empty(512, 512, dtype=dtype, device=device).fill_(1)
        begin = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for a GPU
        times[dtype].append(time.perf_counter() - begin)
    return torch.bfloat16 if min(times[torch.bfloat16]) <= 0.7 * min(times[torch.float32]) else torch.float32


@contextlib.contextmanager
def at_bfloat16():
    """Lets torch round float32 products to bfloat16, and puts the setting back.

    Where it is so already, another thread or the user did it, and will put it back: so it is right in the end.
    """
    setting = torch.backends.mkldnn.matmul
    before = setting.fp32_precision
    try:
        if before != "bf16":
            setting.fp32_precision = "bf16"
        yield
    finally:
        if before != "bf16":
            setting.fp32_precision = before


@lru_cache(maxsize=1)
def exact_at_bfloat16():
    """Whether products stay exact there: that of two numbers that bfloat16 can't hold tells."""
    probe = empty(64, 64, dtype=torch.float32).fill_(1 + 2**-10)
    with at_bfloat16():
        return bool(((probe @ probe) / 64 - (1 + 2**-10) ** 2).abs().max() < 1e-5)


@lru_cache(maxsize=1)
def keep_memory():
    """Linux's malloc gives large blocks back to the system, to take them again page by page in the next step, until it
    has seen the largest that it considers, 32 MiB, freed once: M_MMAP_THRESHOLD in mallopt(3)."""
    empty(2**25 - 2**16, dtype=torch.uint8)


PROBING = threading.Lock()  # so that no thread begins during another's probe


def fast_products(device):
    """A context in which the CPU multiplies float32 matrices faster if they stay exact.

    At "bf16" torch multiplies with oneDNN instead of MKL, which is faster on AMD's processors; on those with units for
    bfloat16 it may round. Before version 2.9 torch has no such setting.
    """
    if device.type != "cpu":
        return contextlib.nullcontext()
    with PROBING:
        keep_memory()
        exact = hasattr(torch.backends.mkldnn, "matmul") and exact_at_bfloat16()
    return at_bfloat16() if exact else contextlib.nullcontext()
