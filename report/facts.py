"""What the report says of the code and the weights: no number of these is typed in either."""

import math
from pathlib import Path

from Proj_Miniproject2 import model as m
from Proj_Miniproject2.others.fast.convolution import maps_for
from Proj_Miniproject2.others.fast.minimal_filtering import TILES, MinimalFiltering
from Proj_Miniproject2.others.formats.files import load
from Proj_Miniproject2.others.networks import NETWORKS
from Proj_Miniproject2.others.pairs.photos import HELD_OUT

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def facts():
    """A dict for JSON."""
    network, kernels = m.Model().network, load(m.Model.PRETRAINED, "cpu")["0.weight"]
    return {
        "results": sorted(path.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("*.json")),
        "network": [repr(module) for module in network],
        "parameters": {
            name: sum(value.numel() for value, _ in make().network.param()) for name, make in NETWORKS.items()
        },
        "tile": max(TILES),
        "savings": savings(network, (32, 32)),
        "held out": HELD_OUT,
        "kernels": len(kernels),
        "edge kernels": int((flat_share(kernels) < 0.02).sum()),
        "colour kernels": int((grey_share(kernels) < 0.5).sum()),
    }


def savings(network, size):
    """How many times fewer products minimal filtering needs than patches do: of each layer that it takes, in order, for
    a batch of images of some size."""
    found = []
    for layer in network:
        if isinstance(layer, m.Convolution):
            maps = maps_for(layer, 64, layer.geometry(size), isinstance(layer, m.TransposeConv2d))
            size = layer.output_size(size)
            if isinstance(maps, MinimalFiltering):
                patches, filtering = maps.tile + layer.kernel_size, (len(maps.x.matrix), *layer.stride)
                found.append(math.prod(patches) / math.prod(filtering))
    return found


def flat_share(kernels):
    """Of each kernel (O, C, K0, K1) the part of its energy that a flat area of any colour can meet."""
    return kernels.mean((2, 3), keepdim=True).expand_as(kernels).square().sum((1, 2, 3)) / energy(kernels)


def grey_share(kernels):
    """Of each kernel the part of its energy that a picture without colour can meet."""
    return kernels.mean(1, keepdim=True).expand_as(kernels).square().sum((1, 2, 3)) / energy(kernels)


def energy(kernels):
    return kernels.square().sum((1, 2, 3))
