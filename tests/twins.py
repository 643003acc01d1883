"""The same networks in torch.nn, and a loss with autograd: what ours are compared with."""

import torch

from Proj_Miniproject2 import model as m

from .drawn import normal


class Skip(torch.nn.Module):
    def __init__(self, *modules, cat=False):
        super().__init__()
        self.branch, self.cat = torch.nn.Sequential(*modules), cat

    def forward(self, x):
        return torch.cat([x, self.branch(x)], -3) if self.cat else x + self.branch(x)


class Upsample(torch.nn.Upsample):
    """torch's own, for a single image (C, H, W), too, which it takes for one of a single row."""

    def forward(self, x):
        return super().forward(x) if x.dim() == 4 else super().forward(x[None])[0]


def relative_mse(prediction, target):
    """`RelativeMSE`"""
    return ((prediction - target).square().reshape(len(target), -1).mean(1) + (15 / 255) ** 2).log().mean()


def twin(module, dtype=None):
    """The torch.nn module of one of ours, with its weights, in `dtype` or its own."""
    other = empty_twin(module)
    other.load_state_dict(module.state_dict())  # strict: the same names and shapes
    return other.to(dtype) if dtype else other


def empty_twin(module):
    if isinstance(module, m.Sequential):
        return torch.nn.Sequential(*map(empty_twin, module))
    if isinstance(module, m.Skip):
        return Skip(*map(empty_twin, module.branch), cat=module.cat)
    if isinstance(module, m.Convolution):
        options = ("stride", "padding", "output_padding", "dilation", "groups")
        make = torch.nn.Conv2d if isinstance(module, m.Conv2d) else torch.nn.ConvTranspose2d
        return make(
            *(module.in_channels, module.out_channels, module.kernel_size),
            **{name: getattr(module, name) for name in options if hasattr(module, name)},
            bias=module.bias is not None,
            dtype=module.weight.dtype,
        )
    if isinstance(module, m.NearestUpsampling):
        return Upsample(scale_factor=module.scale_factor)
    return getattr(torch.nn, type(module).__name__)()


def relative(ours, reference):
    return ((ours - reference).abs().max() / reference.abs().max().clamp(min=1e-300)).item()


def assert_equals_twin(network, x, bound=1e-11):
    """Output, input gradient and all parameters' gradients of a network in float64."""
    other, x_twin = twin(network), x.clone().requires_grad_()
    reference = other(x_twin)
    grad = normal(*reference.shape, seed=1)
    reference.backward(grad)
    for parameter in network.param():
        parameter.grad.zero_()
    before = x.clone()
    output = network(x)
    kept = output.clone()
    x_grad = network.backward(grad)
    assert torch.equal(x, before) and torch.equal(output, kept)
    assert relative(output, reference.detach()) <= bound
    assert relative(x_grad, x_twin.grad) <= bound
    for (name, (_, ours)), theirs in zip(network.named_param().items(), other.parameters(), strict=True):
        assert relative(ours, theirs.grad) <= bound, name
