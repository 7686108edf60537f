"""`eqlr export model.onnx out.onnx`: what torch exports of published StyleGAN2 becomes a graph that runs anywhere."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from eqlr_tools.onnx_export.improving import batch, modulated
from eqlr_tools.onnx_export.improving.improve import improve
from tests.conftest import Result
from tests.onnx_export import published
from tests.onnx_export.graphs import constants, load, run
from tests.onnx_export.tensorrt import refused_by_tensorrt

LAYERS = ["FiveDimensional", "FourDimensional", "Around0"]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A generator as one of torch's exporters writes it, made once."""
    folder = tmp_path_factory.mktemp("published")

    def make(layer: str, exporter: str = "dynamo", samples: int = 2) -> Path:
        path = folder / f"{layer}-{exporter}-{samples}.onnx"
        if path.exists():
            return path
        if exporter == "dynamo":
            pytest.importorskip("onnxscript")
        torch.manual_seed(0)
        module = published.Generator(getattr(published, layer)).eval()
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            logging.disable(logging.WARNING)
            torch.onnx.export(
                module,
                (torch.randn(samples, published.WIDTH),),
                str(path),
                dynamo=exporter == "dynamo",
                external_data=False,
                input_names=["z"],
                output_names=["image"],
            )
            logging.disable(logging.NOTSET)
        return path

    return make


@pytest.mark.parametrize(
    ("layer", "exporter"),
    [*((layer, "torchscript") for layer in LAYERS), ("FiveDimensional", "dynamo"), ("FourDimensional", "dynamo")],
)
def test_modulated_kernels_become_constant_and_the_batch_free(
    exported, run_cli: Callable[..., Result], tmp_path: Path, layer: str, exporter: str
) -> None:
    source, target = exported(layer, exporter), tmp_path / "out.onnx"
    assert refused_by_tensorrt(load(source)), "the published form has kernels that are computed"
    result = run_cli("export", source, target, "-f", "json")
    assert result.code == 0, result.stderr
    report = json.loads(result.stdout)
    assert len(report["changes"]["modulated"]) == 5
    assert report["changes"]["constant_norms"] == 3
    assert report["changes"]["freed_batch"] == 2
    assert report["left_alone"] == []
    assert {entry["latents"] for entry in report["checked"]["outputs"]} == {"usual", "extreme"}
    model = load(target)
    assert refused_by_tensorrt(model) == []
    assert [axis.dim_param or axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim] == [
        "batch",
        8,
    ]
    z = RNG.standard_normal((5, 8)).astype(np.float32)
    pairs = [run(source, z=z[[k, k + 1]]) for k in (0, 2, 3)]
    expected = np.concatenate([pairs[0], pairs[1], pairs[2][1:]])
    np.testing.assert_allclose(run(target, z=z), expected, atol=1e-5 * np.abs(expected).max())
    np.testing.assert_allclose(run(target, z=z[:1]), expected[:1], atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("layer", LAYERS)
def test_a_batch_of_one_is_free_too(exported, tmp_path: Path, layer: str) -> None:
    source = exported(layer, "torchscript", samples=1)
    done = improve(source, tmp_path / "out.onnx")
    assert (len(done.changes.modulated), done.changes.freed_batch) == (5, 1)
    z = RNG.standard_normal((3, 8)).astype(np.float32)
    expected = np.concatenate([run(source, z=z[k : k + 1]) for k in range(3)])
    np.testing.assert_allclose(run(tmp_path / "out.onnx", z=z), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("precision", ["fp16", "mixed"])
def test_half_precision_keeps_images(exported, run_cli, tmp_path: Path, precision: str) -> None:
    target = tmp_path / "out.onnx"
    result = run_cli("export", exported("FiveDimensional"), target, "--precision", precision, "-f", "json")
    assert result.code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["changes"]["half_convolutions"] >= 3
    assert min(entry["snr_db"] for entry in report["checked"]["outputs"] if entry["latents"] == "usual") >= 60
    kinds = {name: tensor.data_type for name, tensor in constants(load(target)).items()}
    styles = [name for name, kind in kinds.items() if "squares" in name and kind == TensorProto.FLOAT16]
    assert styles == [], "norms are computed in single precision"
    assert TensorProto.FLOAT16 in kinds.values()


def test_half_precision_of_large_styles_does_not_collapse(run_cli, tmp_path: Path) -> None:
    """Styles a thousand times larger, which demodulation takes out: squares of them overflow in half precision."""
    torch.manual_seed(0)
    module = published.Generator().eval()
    with torch.no_grad():
        for layer in [module.first, *module.up, *module.flat]:
            layer.style.weight *= 1000
            layer.style.bias *= 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (torch.randn(2, 8),), str(tmp_path / "x.onnx"), dynamo=False, input_names=["z"])
    result = run_cli("export", tmp_path / "x.onnx", tmp_path / "y.onnx", "--precision", "fp16")
    assert result.code == 0, result.stderr


def test_a_wrong_rewrite_is_not_written(exported, run_cli, tmp_path: Path, monkeypatch) -> None:
    real = modulated._Rewriter._convolved
    monkeypatch.setattr(modulated._Rewriter, "_convolved", lambda self, x, weight: real(self, x, weight * 1.001))
    result = run_cli("export", exported("FiveDimensional"), tmp_path / "out.onnx")
    assert result.code == 1
    assert "differs from the model as it was" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_cannot_be_free_stays_and_is_said(exported, run_cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(batch, "_free_reshape", lambda *_: None)
    result = run_cli("export", exported("FourDimensional", "torchscript"), tmp_path / "out.onnx", "-f", "json")
    assert result.code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["changes"]["freed_batch"] is None
    assert [entry["name"] for entry in report["left_alone"]] == ["batch"]
    assert run(tmp_path / "out.onnx", z=RNG.standard_normal((2, 8)).astype(np.float32)).shape == (2, 3, 8, 8)


def test_nothing_to_improve(exported, run_cli, samples: Path, tmp_path: Path) -> None:
    """What was improved once, and what eqlr exported, is left alone."""
    once = tmp_path / "once.onnx"
    assert run_cli("export", exported("FiveDimensional"), once).code == 0
    result = run_cli("export", once, tmp_path / "twice.onnx")
    assert (result.code, "nothing to improve" in result.stderr) == (3, True)
    own = tmp_path / "own.onnx"
    assert run_cli("export", samples / "stylegan2_digits.pt", own).code == 0
    assert run_cli("export", own, tmp_path / "twice.onnx").code == 3
    assert not (tmp_path / "twice.onnx").exists()


def test_kernels_from_elsewhere_are_left_alone(run_cli, tmp_path: Path) -> None:
    """A kernel that a network predicts wholly, as dynamic convolutions do, has no constant part."""
    nodes = [
        helper.make_node("Mul", ["w", "c"], ["wc"]),
        helper.make_node("Conv", ["x", "wc"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["k"], ["s"]),
        helper.make_node("Conv", ["a", "s"], ["y"], pads=[1, 1, 1, 1], name="dynamic"),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [info("x", TensorProto.FLOAT, [1, 3, 8, 8]), info("k", TensorProto.FLOAT, [4, 3, 3, 3])],
        [info("y", TensorProto.FLOAT, [None] * 4)],
        [
            numpy_helper.from_array(RNG.standard_normal((3, 3, 3, 3)).astype(np.float32), "w"),
            numpy_helper.from_array(np.array(0.1, np.float32), "c"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "x.onnx")
    result = run_cli("export", tmp_path / "x.onnx", tmp_path / "y.onnx", "-f", "json")
    assert result.code == 0, result.stderr
    report = json.loads(result.stdout)
    assert [entry["weight"] for entry in report["changes"]["folded"]] == ["w"]
    (left,) = report["left_alone"]
    assert left["name"] == "dynamic"
    assert "Sigmoid" in left["reason"]


def test_external_data_both_ways(exported, tmp_path: Path) -> None:
    """Read from a model with external data, and written as one when it is larger than a file may be."""
    inner = tmp_path / "in"
    inner.mkdir()
    model = load(exported("FiveDimensional"))
    onnx.save(model, inner / "x.onnx", save_as_external_data=True, location="weights", size_threshold=1024)
    done = improve(inner / "x.onnx", tmp_path / "y.onnx", single_file_bytes=1000)
    assert done.data_bytes == (tmp_path / "y.onnx.data").stat().st_size > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "y.onnx", "y.onnx.data"]
    z = RNG.standard_normal((2, 8)).astype(np.float32)
    expected = run(exported("FiveDimensional"), z=z)
    np.testing.assert_allclose(run(tmp_path / "y.onnx", z=z), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("option", [("--noise", "none"), ("--opset", "19"), ("--split",), ("--network", "g")])
def test_options_of_checkpoints_are_refused(exported, run_cli, tmp_path: Path, option: tuple[str, ...]) -> None:
    result = run_cli("export", exported("FiveDimensional"), tmp_path / "y.onnx", *option)
    assert result.code == 2
    assert "improved as it is" in result.stderr


def test_runs_faster_nodes_are_fewer(exported, tmp_path: Path) -> None:
    """No product of five axes is left: nothing as large as a kernel per sample is made."""
    improve(exported("FourDimensional", "torchscript"), tmp_path / "y.onnx")
    model = onnx.shape_inference.infer_shapes(load(tmp_path / "y.onnx"))
    assert not [info.name for info in model.graph.value_info if len(info.type.tensor_type.shape.dim) == 5]
    assert onnxruntime.InferenceSession(str(tmp_path / "y.onnx")).get_outputs()[0].name == "image"
