"""Prediction by whole rows of modules, where nothing is kept for backward: `forward` is for `model.Sequential`.

A convolution does what follows it as well, part by part while that is in the processor's cache: the ReLU, or the sum
with what goes round a branch, in whose place it is written if nobody else has that. What the next convolution would
round to bfloat16 anyway is handed on so. Nothing is computed otherwise than by the modules one by one, to the last bit.
"""

from ...model import Convolution, ReLU, Sequential, Skip, keeping
from .convolution import Fast


def forward(row, input):
    """As `Sequential.forward`: (N, C, H, W) go through whole rows of modules where nothing is kept."""
    if not keeping.get() and input.dim() == 4:
        return through(flattened(row), input.detach())[0]
    for module in row:
        input = module.forward(input)
    return input


def flattened(modules):
    """A list of the modules, with those of rows among them one by one."""
    lists = (flattened(module) if type(module) is Sequential else [module] for module in modules)
    return [module for modules in lists for module in modules]


def is_plain(module):
    """Whether it is a convolution like any other."""
    return isinstance(module, Convolution) and type(module).forward is Convolution.forward


def through(modules, tensor, own=False, following=None):
    """What modules in a row make of a tensor; whether nobody else has that, so that it may be written over; and whether
    it was rounded for the module `following`, if that is the only one that takes it. own: as to `tensor`."""
    rounded = False
    while modules:
        module, *modules = modules
        branch = flattened(module.branch) if type(module) is Skip and not module.cat else []
        if is_plain(module):
            relu = bool(modules) and type(modules[0]) is ReLU
            modules = modules[relu:]
            tensor = convolved(module, tensor, rounded, relu, following=modules[0] if modules else following)
            rounded = tensor.dtype != module.weight.dtype
        elif branch and is_plain(branch[-1]):
            *before, last = branch
            inner, apart, rounded = through(before, tensor, following=last)
            if shape_after(last, inner) != tensor.shape:
                tensor = module.forward(tensor)  # which raises
            tensor, rounded = convolved(last, inner, rounded, around=tensor, over=own and apart), False
        else:
            tensor = module.forward(tensor)
        own = is_plain(module) or type(module) in (Skip, ReLU)
    return tensor, own, rounded


def shape_after(layer, tensor):
    return len(tensor), layer.out_channels, *layer.output_size(tuple(tensor.shape[2:]))


def convolved(layer, tensor, rounded=False, relu=False, around=None, over=False, following=None):
    """What a convolution makes of a tensor, with a ReLU, or with the sum with what goes `around`, written over that.

    rounded: whether that was done to the tensor here. following: a module for whose sake it is done to the result, if
    that would be its first step.
    """
    images = tensor if rounded else layer.images(tensor, layer.in_channels)
    faster = layer.faster(len(images), layer.geometry(tuple(images.shape[2:])))
    if not isinstance(faster, Fast):
        output = layer.forward(images)
        output = output.clamp_(min=0) if relu else output
        return output if around is None else output.add_(around)
    dtype, shape = layer.weight.dtype, shape_after(layer, images)
    if is_plain(following) and following.in_channels == layer.out_channels:
        then = following.faster(len(images), following.geometry(shape[2:]))
        dtype = then.maps.dtype if isinstance(then, Fast) else dtype
    return faster.apply(layer, images, relu, around, over, dtype)
