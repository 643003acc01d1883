"""Networks for others: `to_torch`, and the ONNX file that `noise2noise export` writes, run by ONNX Runtime."""

import sys
from pathlib import Path

import pytest
import torch

import Proj_Miniproject2
from Proj_Miniproject2.model import MSE, Model, Sequential
from Proj_Miniproject2.others.__main__ import main
from Proj_Miniproject2.others.api.exporting import to_torch
from Proj_Miniproject2.others.formats.files import save
from Proj_Miniproject2.others.networks import HALVING, NETWORKS, UNet
from Proj_Miniproject2.others.noise.ranges import with_about, with_range

from .test_denoise import refused

ROOT = Path(__file__).parents[1]
NEAR = 255e-6  # grey levels


class SmallUNet(UNet):
    """Quick to export: the third view is the first that is turned by a quarter, which squares would hide."""

    WIDTHS = (4,)
    ENDS = HALVING
    GRID = 8
    VIEWS = 3


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model with weights of its own, and the content of the file that the command makes of them."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    model = SmallUNet()
    for value, _ in model.network.param():  # far from doing nothing, and from 0 and 255 in places only
        value.mul_(1.7).add_(0.02)
    save(with_range(model.network.state_dict(), 100, 2.5), folder / "mine.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "photo", SmallUNet)
        main(["export", "--weights", str(folder / "mine.pth"), "--out", str(folder / "a.onnx")])
    return model, (folder / "a.onnx").read_bytes()


@pytest.mark.parametrize(
    "shape", [(2, 3, 21, 35), (1, 3, 8, 12), (1, 3, 1, 1), (3, 3, 1, 6), (1, 3, 90, 7), (0, 3, 9, 5)]
)
def test_onnx_runtime_predicts_as_ours(exported, shape):
    session = pytest.importorskip("onnxruntime").InferenceSession(exported[1], providers=["CPUExecutionProvider"])
    images = 255 * torch.rand(shape, generator=torch.Generator().manual_seed(1))
    (clean,) = session.run(["clean"], {"noisy": images.numpy()})
    expected = exported[0].predict(images)
    torch.testing.assert_close(torch.from_numpy(clean), expected, rtol=0, atol=NEAR)
    if images.numel() > 1000:
        assert (expected - images).abs().mean() > 1 and {0, 255} & set(expected.flatten().tolist())


def test_the_file_says_what_it_takes_and_nothing_of_this_machine(exported):
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(exported[1])
    onnx.checker.check_model(model, full_check=True)
    for image in (*model.graph.input, *model.graph.output):
        shape = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
        assert shape == ["N", 3, "height", "width"]
    assert "[0, 255]" in model.doc_string and "(x - 100.0) / 2.5 + 40" in model.doc_string
    assert str(ROOT).encode() not in exported[1] and b"site-packages" not in exported[1]


def test_what_is_there_stays_and_bad_weights_are_refused(tmp_path, capsys):
    (tmp_path / "a.onnx").write_text("mine")
    for options, message in [
        (["--out", tmp_path / "a.onnx"], "--overwrite"),
        (["--out", tmp_path / "b.onnx", "--weights", ROOT / "Proj_Miniproject2" / "bestmodel.pth"], "--network report"),
    ]:
        assert message in refused(capsys, lambda options=options: main(["export", *map(str, options)]), 2)
    assert (tmp_path / "a.onnx").read_text() == "mine" and not (tmp_path / "b.onnx").exists()


def test_without_the_extra_a_line_says_what_brings_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx_ir", None)
    for name in [name for name in sys.modules if name.startswith("onnx_ir.")]:
        monkeypatch.delitem(sys.modules, name)
    printed = refused(capsys, lambda: main(["export", "--out", str(tmp_path / "a.onnx")]), 2)
    assert "[export]" in printed and not (tmp_path / "a.onnx").exists()


def test_to_torch_keeps_dtype_and_weights_and_copies_them():
    """That it computes the same is what all tests of networks begin with, see `twins.py`."""
    network = Model().network.to(torch.float64)
    module = to_torch(network)
    before = network.state_dict()
    assert module.state_dict().keys() == before.keys()
    for name, value in module.named_parameters():
        assert value.dtype == torch.float64 and value.requires_grad and torch.equal(value, before[name])
        value.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("what", [Model, MSE, lambda: Sequential(MSE()), lambda: torch.nn.ReLU()])
def test_to_torch_takes_networks_only(what):
    with pytest.raises(TypeError, match="expected a network"):
        to_torch(what())


def test_to_torch_is_public():
    """And imported by who asks for it alone, see `test_rules.py`."""
    assert Proj_Miniproject2.to_torch is to_torch and "to_torch" in Proj_Miniproject2.__all__


def test_a_network_that_sees_even_noise_is_not_clamped(tmp_path):
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model = SmallUNet()
    save(with_about(model.network.state_dict(), even=True), tmp_path / "mine.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "photo", SmallUNet)
        main(["export", "--weights", str(tmp_path / "mine.pth"), "--out", str(tmp_path / "a.onnx")])
    model.load_weights(tmp_path / "mine.pth")
    session = pytest.importorskip("onnxruntime").InferenceSession(
        tmp_path / "a.onnx", providers=["CPUExecutionProvider"]
    )
    levels = 3000 * torch.randn(1, 3, 21, 35, generator=torch.Generator().manual_seed(1))
    ((_, expected),) = model.pieces(levels)
    (clean,) = session.run(["clean"], {"noisy": levels.numpy()})
    torch.testing.assert_close(torch.from_numpy(clean), expected, rtol=1e-4, atol=0.1)
    assert clean.min() < -1000 and clean.max() > 1000
