"""Initialisations of a network beside `model.xavier`, which return it as that does."""

from ...model import Convolution, fans, xavier


def uniform(network):
    """torch's default, see `Convolution.reset_parameters`"""
    for layer in network.modules():
        if isinstance(layer, Convolution):
            layer.reset_parameters()
    return network


def kaiming(network):
    """Weights from N(0, 2 / fan_in), biases of zero (He et al., "Delving deep into rectifiers", 2015)"""
    for layer in network.modules():
        if isinstance(layer, Convolution):
            layer.weight.normal_(0, (2 / fans(layer)[0]) ** 0.5)
            if layer.bias is not None:
                layer.bias.zero_()
    return network


INITIALISATIONS = {"torch": uniform, "xavier": xavier, "kaiming": kaiming}
