"""Other first weights than torch's default, which all layers draw when they are made. Each returns the network."""

from ..model import Convolution


def fans(layer):
    """(fan_in, fan_out) of a convolution: how many products enter an output of it, and how many an input enters."""
    taps = layer.kernel_size[0] * layer.kernel_size[1] / layer.groups
    # A pixel of y sees all taps, a pixel of x only those that the stride lets it meet.
    into_y, into_x = layer.x_channels * taps, layer.y_channels * taps / (layer.stride[0] * layer.stride[1])
    return layer.x_and_y(into_y, into_x)


def convolutions(network):
    return [module for module in network.modules() if isinstance(module, Convolution)]


def uniform(network):
    """torch's default, see `Convolution.reset_parameters`"""
    for layer in convolutions(network):
        layer.reset_parameters()
    return network


def xavier(network):
    """Weights from U(-b, b), b = sqrt(6 / (fan_in + fan_out)), biases of zero (Glorot and Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", 2010)"""
    for layer in convolutions(network):
        bound = (6 / sum(fans(layer))) ** 0.5
        layer.weight.uniform_(-bound, bound)
        if layer.bias is not None:
            layer.bias.zero_()
    return network


def kaiming(network):
    """Weights from N(0, 2 / fan_in), biases of zero (He et al., "Delving deep into rectifiers", 2015)"""
    for layer in convolutions(network):
        layer.weight.normal_(0, (2 / fans(layer)[0]) ** 0.5)
        if layer.bias is not None:
            layer.bias.zero_()
    return network


INITIALISATIONS = {"torch": uniform, "xavier": xavier, "kaiming": kaiming}
