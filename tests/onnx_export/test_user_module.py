"""`eqlr export --model`: a module of the user's own, with baked weights, checked like the others."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.utils.parametrize
from torch import nn

from tests.onnx_export.graphs import load, run
from tests.onnx_export.tensorrt import refused_by_tensorrt

pytest.importorskip("onnxscript")


class Plain(nn.Module):
    """A small generator whose layers use their weights as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4 * 16)
        self.conv = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.conv(torch.relu(self.fc(z)).reshape(z.shape[0], 4, 4, 4)))


class Grouped(nn.Module):
    """Modulated convolution as published: its groups follow the batch, which ONNX cannot say."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        batch = z.shape[0]
        weight = (self.weight[None] * z[:, None, :, None, None]).reshape(batch * 4, 4, 3, 3)
        x = torch.ones(1, batch * 4, 8, 8)
        return nn.functional.conv2d(x, weight, padding=1, groups=batch).reshape(batch, 4, 8, 8)


class _Hook:
    def __init__(self, constant: float) -> None:
        self.constant = constant

    def __call__(self, module: nn.Module, inputs: tuple) -> None:
        module.weight = module.weight_orig * self.constant


def hooked() -> nn.Module:
    """The same generator, its weights stored as N(0, 1) and scaled by a hook at every call, as rosinality does it."""
    module = Plain()
    for layer in (module.fc, module.conv):
        weight = layer.weight
        constant = math.sqrt(2 / weight[0].numel())
        del layer._parameters["weight"]
        layer.register_parameter("weight_orig", nn.Parameter(weight.data / constant))
        layer.register_forward_pre_hook(_Hook(constant))
        layer.weight = weight.data
    return module


class _Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * self.scale


def parametrized() -> nn.Module:
    """The same generator, its weights scaled by torch's own parametrization, as eqlr writes it."""
    module = Plain()
    for layer in (module.fc, module.conv):
        constant = math.sqrt(2 / layer.weight[0].numel())
        layer.weight.data /= constant
        nn.utils.parametrize.register_parametrization(layer, "weight", _Scaled(constant))
    return module


def normed() -> nn.Module:
    """The same generator with weight norm, by a hook that keeps no `_orig`."""
    module = Plain()
    nn.utils.weight_norm(module.conv)
    return module


def checkpoint(path: Path, module: nn.Module) -> Path:
    torch.save(module.state_dict(), path)
    return path


def export(run_cli, source: Path, target: Path, factory: str, *more: str):
    name = f"{__name__}:{factory}"
    return run_cli("export", source, target, "--model", name, "--shape", "z=8", "--family", "plain", *more)


def test_plain_module(run_cli, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Plain()
    target = tmp_path / "x.onnx"
    result = export(run_cli, checkpoint(tmp_path / "x.pt", module), target, "Plain", "--opset", "18")
    assert result.code == 0, result.stderr
    z = torch.randn(5, 8)
    np.testing.assert_allclose(run(target, z=z.numpy()), module(z).detach().numpy(), atol=1e-5)
    model = load(target)
    assert model.opset_import[0].version == 18
    assert str(Path(__file__).parent) not in model.SerializeToString().decode("latin-1"), "source paths are left in it"
    assert [path.name for path in tmp_path.iterdir() if "x.onnx" in path.name] == ["x.onnx"]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("made", ["hooked", "parametrized", "normed"])
def test_hooks_and_parametrizations_are_baked(run_cli, tmp_path: Path, made: str) -> None:
    torch.manual_seed(0)
    module = globals()[made]()
    target = tmp_path / "x.onnx"
    result = export(run_cli, checkpoint(tmp_path / "x.pt", module), target, made)
    assert result.code == 0, result.stderr
    z = torch.randn(3, 8)
    np.testing.assert_allclose(run(target, z=z.numpy()), module(z).detach().numpy(), atol=1e-5)
    assert refused_by_tensorrt(load(target)) == []
    names = {tensor.name for tensor in load(target).graph.initializer}
    assert not [name for name in names if "orig" in name or "weight_" in name]


def test_weights_that_do_not_fit_are_refused(run_cli, tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "x.pt", nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)))
    result = export(run_cli, source, tmp_path / "x.onnx", "Plain")
    assert result.code == 2
    assert "does not fit the module" in result.stderr


def test_a_batch_that_cannot_be_free_is_said(run_cli, tmp_path: Path) -> None:
    source = checkpoint(tmp_path / "x.pt", Grouped())
    name = f"{__name__}:Grouped"
    result = run_cli("export", source, tmp_path / "x.onnx", "--model", name, "--shape", "z=4", "--family", "plain")
    assert result.code == 2
    assert "free batch" in result.stderr
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model", "no.such.package:make", "--shape", "z=8"),
        ("--model", "tests.onnx_export.test_user_module", "--shape", "z=8"),
        ("--model", "tests.onnx_export.test_user_module:Plain"),
        ("--model", "tests.onnx_export.test_user_module:Plain", "--shape", "8"),
        ("--model", "tests.onnx_export.test_user_module:Plain", "--shape", "z=8", "--precision", "fp16"),
        ("--shape", "z=8"),
    ],
)
def test_unusable_options(run_cli, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    source = checkpoint(tmp_path / "x.pt", Plain())
    result = run_cli("export", source, tmp_path / "x.onnx", "--family", "plain", *arguments)
    assert result.code == 2
    assert "Traceback" not in result.stderr
