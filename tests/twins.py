"""Networks beside the same ones of torch.nn, in float64."""

import torch

from Proj_Miniproject2.others.api.exporting import to_torch

from .drawn import assert_accumulates, normal


def relative(ours, reference):
    return ((ours - reference).abs().max() / reference.abs().max().clamp(min=1e-300)).item()


def assert_equals_twin(network, x, bound=1e-11):
    """Output, input gradient and all parameters' gradients of a network in float64."""
    other, x_twin = to_torch(network), x.clone().requires_grad_()
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
    assert_accumulates(network, grad)
