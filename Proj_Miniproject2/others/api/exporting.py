"""Networks for others: as a module of torch.nn, and as an ONNX file.

The one file of the package that uses torch.nn's modules: nothing here is what ours are made of, or run or learn by.
"""

import contextlib
import copy
import logging
import warnings

import torch

from ...model import Conv2d, Convolution, NearestUpsampling, ReLU, Sequential, Sigmoid, Skip

INFO = "Denoises images: float32 (N, 3, height, width) in [0, 255], any size, to the same, as `Model.predict`."


def to_torch(network):
    """The torch.nn module of a network or block of ours, with the same weights, dtype and device.

    network: of the blocks of `model.py`, as `Model().network` is. Shapes and ranges are the network's own: those of
    `Model` take and give images (N, 3, H, W) in [0, 1], H and W multiples of the model's GRID, and are a part of what
    `Model.predict` does. The module's `state_dict` has the network's keys and shapes; the weights are copies.

    Raises TypeError for anything else.
    """
    if isinstance(network, Sequential):
        return torch.nn.Sequential(*map(to_torch, network))
    if isinstance(network, Skip):
        return TorchSkip(*map(to_torch, network.branch), cat=network.cat)
    if isinstance(network, Convolution):
        return to_torch_convolution(network)
    if isinstance(network, NearestUpsampling):
        return TorchUpsampling(scale_factor=network.scale_factor)
    for kind, theirs in ((ReLU, torch.nn.ReLU), (Sigmoid, torch.nn.Sigmoid)):
        if isinstance(network, kind):
            return theirs()
    kinds = "Conv2d, TransposeConv2d, Upsampling, NearestUpsampling, ReLU, Sigmoid, Sequential, Skip"
    raise TypeError(f"expected a network, as Model().network, of {kinds}, got {type(network).__name__}")


def to_torch_convolution(layer):
    kind = torch.nn.Conv2d if isinstance(layer, Conv2d) else torch.nn.ConvTranspose2d
    names = ("stride", "padding", "output_padding", "dilation", "groups")
    theirs = kind(
        *(layer.in_channels, layer.out_channels, layer.kernel_size),
        **{name: getattr(layer, name) for name in names if hasattr(layer, name)},
        bias=layer.bias is not None,
        dtype=layer.weight.dtype,
        device=layer.weight.device,
    )
    theirs.load_state_dict(layer.state_dict())  # strict: the same names and shapes
    return theirs


class TorchSkip(torch.nn.Module):
    def __init__(self, *modules, cat=False):
        super().__init__()
        self.branch, self.cat = torch.nn.Sequential(*modules), cat

    def forward(self, x):
        return torch.cat([x, self.branch(x)], -3) if self.cat else x + self.branch(x)


class TorchUpsampling(torch.nn.Upsample):
    """torch's own, for a single image (C, H, W), too, which it takes for one of a single row."""

    def forward(self, x):
        return super().forward(x) if x.dim() == 4 else super().forward(x[None])[0]


class TorchPredict(torch.nn.Module):
    """`Model.predict` of float32 (N, 3, H, W) in one piece, and without its checks; not clamped if the model sees noise
    made even, of which pictures have any range."""

    def __init__(self, model):
        super().__init__()
        self.open = getattr(model, "even", False) or bool(getattr(model, "seen", None))
        self.model, self.network = copy.copy(model), to_torch(model.network)
        self.model.network = self.network

    def forward(self, images):
        height, width = images.shape[2:]
        for axis in (2, 3):  # as `Model.prepared` does; of tensors, and of divisions of numbers above 0, as ONNX rounds
            size, grid = images.shape[axis], self.model.GRID
            last = torch.arange(size)[-1]
            index = torch.arange((size + grid - 1) // grid * grid) % (2 * last).clamp(min=1)
            images = images.index_select(axis, index.minimum(2 * last - index))
        clean = self.model.denoise(images / 255)[:, :, :height, :width]
        return (clean if self.open else clean.clamp(0, 1)) * 255


def to_onnx(model, about=""):
    """A model as the content of an ONNX file, which does what `Model.predict` does, and says so: INFO, and `about`.

    All of an image goes through at once, where `predict` cuts large ones into tiles. Takes the extra "export".
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    module, size = TorchPredict(model).to("cpu"), {0: "N", 2: "height", 3: "width"}
    example = torch.full((2, 3, 2 * model.GRID + 1, 3 * model.GRID + 1), 128.0)
    with quiet():
        program = torch.onnx.export(
            *(module, (example,)),
            dynamo=True,
            dynamic_shapes=(size,),
            input_names=["noisy"],
            output_names=["clean"],
            verbose=False,
        )
    ClearMetadataAndDocStringPass()(program.model)  # in which paths of this machine stand
    (noisy,), (clean,) = program.model.graph.inputs, program.model.graph.outputs
    clean.shape, program.model.doc_string = noisy.shape, INFO + about
    return program.model_proto.SerializeToString()


@contextlib.contextmanager
def quiet():
    """Without what torch's exporter says of its own parts, and of packages that it doesn't need here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
