"""`eqlr bake model.onnx out.onnx`: constant scales in front of weights become part of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import Result

RNG = np.random.default_rng(0)
C = np.float32(0.0589)


def weight(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def const(name: str, value: Any) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value)))


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    initializers: dict[str, np.ndarray],
    shape: list[Any],
    kind: int = TensorProto.FLOAT,
    extra_inputs: list[Any] | None = None,
    extra_outputs: list[Any] | None = None,
    **options: Any,
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", kind, shape), *(extra_inputs or [])]
    outputs = [helper.make_tensor_value_info("y", kind, [None] * len(shape)), *(extra_outputs or [])]
    tensors = [numpy_helper.from_array(array, name) for name, array in initializers.items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path, **options)
    return model


def initial(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


LAYERS = {
    "Conv": ((4, 3, 3, 3), [1, 3, 8, 8]),
    "ConvTranspose": ((3, 4, 3, 3), [1, 3, 8, 8]),
    "Gemm": ((3, 4), [2, 3]),
    "MatMul": ((3, 4), [2, 3]),
}


@pytest.mark.parametrize("operator", LAYERS)
@pytest.mark.parametrize("swapped", [False, True], ids=["w*c", "c*w"])
def test_a_scalar_is_folded(tmp_path: Path, run_cli: Callable[..., Result], operator: str, swapped: bool) -> None:
    shape, x = LAYERS[operator]
    w = weight(*shape)
    factors = ["c", "w"] if swapped else ["w", "c"]
    nodes = [const("c", C), helper.make_node("Mul", factors, ["wc"]), helper.make_node(operator, ["x", "wc"], ["y"])]
    save(tmp_path / "m.onnx", nodes, {"w": w}, x)
    result = run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx", "-f", "json")
    assert result.code == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["schema"] == "eqlr.plan/1"
    (step,) = content["steps"]
    assert (step["action"], step["source"], step["target"]) == ("rescale", "w", "w")
    assert step["factor"] == pytest.approx(float(C), rel=1e-6)
    assert content["verified"]["passed"]
    assert operators(tmp_path / "out.onnx") == [operator]
    np.testing.assert_array_equal(initial(tmp_path / "out.onnx")["w"], w * C)


CHAINS: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray]]] = {
    "identity": ([helper.make_node("Identity", ["w"], ["i"]), helper.make_node("Mul", ["i", "c"], ["wc"])], {"c": C}),
    "cast constant": (
        [helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT), helper.make_node("Mul", ["w", "f"], ["wc"])],
        {"c": np.float64(C)},
    ),
    "cast behind": (
        [helper.make_node("Mul", ["w", "c"], ["m"]), helper.make_node("Cast", ["m"], ["wc"], to=TensorProto.FLOAT)],
        {"c": C},
    ),
    "division": ([helper.make_node("Div", ["w", "d"], ["wc"])], {"d": np.float32(1 / C)}),
    "two constants": (
        [helper.make_node("Mul", ["w", "c"], ["m"]), helper.make_node("Mul", ["m", "d"], ["wc"])],
        {"c": C, "d": np.float32(2.0)},
    ),
    "per output channel": (
        [helper.make_node("Mul", ["w", "c"], ["wc"])],
        {"c": np.linspace(0.1, 0.4, 4, dtype=np.float32).reshape(4, 1, 1, 1)},
    ),
    "per input channel": (
        [helper.make_node("Mul", ["w", "c"], ["wc"])],
        {"c": np.linspace(0.1, 0.4, 3, dtype=np.float32).reshape(1, 3, 1, 1)},
    ),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_chains_and_channels(tmp_path: Path, run_cli: Callable[..., Result], chain: str) -> None:
    nodes, constants = CHAINS[chain]
    w = weight(4, 3, 3, 3)
    arrays = {"w": w, **{name: np.asarray(value) for name, value in constants.items()}}
    save(tmp_path / "m.onnx", [*nodes, helper.make_node("Conv", ["x", "wc"], ["y"])], arrays, ["N", 3, "H", "W"])
    result = run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert result.code == 0, result.stderr
    assert operators(tmp_path / "out.onnx") == ["Conv"]
    found = initial(tmp_path / "out.onnx")
    assert list(found) == ["w"]
    scale = constants["c"] if "per" in chain else {"division": C, "two constants": 2 * C}.get(chain, C)
    np.testing.assert_allclose(found["w"], w * scale, rtol=2e-7)


def test_biases_half_precision_and_external_data(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    arrays = {"w": weight(3, 4, dtype=np.float16), "b": weight(4, dtype=np.float16), "lr": np.float16(0.01)}
    nodes = [
        helper.make_node("Mul", ["w", "lr"], ["ws"]),
        helper.make_node("Mul", ["b", "lr"], ["bs"]),
        helper.make_node("Gemm", ["x", "ws", "bs"], ["y"]),
    ]
    save(
        tmp_path / "m.onnx",
        nodes,
        arrays,
        [2, 3],
        TensorProto.FLOAT16,
        save_as_external_data=True,
        location="m.data",
        size_threshold=0,
    )
    result = run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert result.code == 0, result.stderr
    found = initial(tmp_path / "out.onnx")
    assert set(found) == {"w", "b"}
    product = arrays["w"].astype(np.float64) * float(arrays["lr"])
    np.testing.assert_array_equal(found["w"], product.astype(np.float16))


def test_what_others_use_stays(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    """Two layers share the scaled weight, a third takes it as it is stored; the constant has another use, too."""
    nodes = [
        helper.make_node("Mul", ["w", "c"], ["wc"]),
        helper.make_node("MatMul", ["x", "wc"], ["a"]),
        helper.make_node("MatMul", ["a", "wc"], ["b"]),
        helper.make_node("MatMul", ["b", "w"], ["d"]),
        helper.make_node("Mul", ["d", "c"], ["y"]),
    ]
    w = weight(3, 3)
    save(tmp_path / "m.onnx", nodes, {"w": w, "c": np.asarray(C)}, [2, 3])
    assert run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx").code == 0
    assert operators(tmp_path / "out.onnx") == ["MatMul", "MatMul", "MatMul", "Mul"]
    found = initial(tmp_path / "out.onnx")
    np.testing.assert_array_equal(found["w"], w)
    np.testing.assert_array_equal(found["wc"], w * C)
    assert found.keys() == {"w", "wc", "c"}


def test_scales_in_a_branch(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    def branch(factor: float) -> onnx.GraphProto:
        nodes = [
            const("k", np.float32(factor)),
            helper.make_node("Mul", ["w", "k"], ["wk"]),
            helper.make_node("MatMul", ["x", "wk"], ["out"]),
        ]
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, None])
        return helper.make_graph(nodes, "b", [], [out])

    node = helper.make_node("If", ["flag"], ["y"], then_branch=branch(0.5), else_branch=branch(0.25))
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    w = weight(3, 3)
    save(tmp_path / "m.onnx", [node], {"w": w}, [2, 3], extra_inputs=[flag])
    result = run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert result.code == 0, result.stderr
    assert "w" not in initial(tmp_path / "out.onnx")
    feeds = {"x": weight(2, 3), "flag": np.array(False)}
    for value in (True, False):
        feeds["flag"] = np.array(value)
        pair = [onnxruntime.InferenceSession(tmp_path / name).run(None, feeds)[0] for name in ("m.onnx", "out.onnx")]
        np.testing.assert_allclose(*pair, rtol=1e-6)


def test_what_is_computed_is_not_folded(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    scale = helper.make_tensor_value_info("s", TensorProto.FLOAT, [1])
    nodes = [helper.make_node("Mul", ["w", "s"], ["ws"]), helper.make_node("MatMul", ["x", "ws"], ["y"])]
    save(tmp_path / "m.onnx", nodes, {"w": weight(3, 3)}, [2, 3], extra_inputs=[scale])
    result = run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert result.code == 3
    assert not (tmp_path / "out.onnx").exists()
    nodes = [helper.make_node("Mul", ["w", "m"], ["ws"]), helper.make_node("MatMul", ["x", "ws"], ["y"])]
    save(tmp_path / "mask.onnx", nodes, {"w": weight(3, 3), "m": weight(3, 3)}, [2, 3])
    assert run_cli("bake", tmp_path / "mask.onnx", tmp_path / "out.onnx").code == 3


def test_an_input_that_may_be_replaced_is_no_constant(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    listed = helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 3])
    nodes = [const("c", C), helper.make_node("Mul", ["w", "c"], ["ws"]), helper.make_node("MatMul", ["x", "ws"], ["y"])]
    save(tmp_path / "m.onnx", nodes, {"w": weight(3, 3)}, [2, 3], extra_inputs=[listed])
    assert run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx").code == 3


def test_a_wrong_fold_is_found_and_nothing_is_written(
    tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = [const("c", C), helper.make_node("Mul", ["w", "c"], ["ws"]), helper.make_node("MatMul", ["x", "ws"], ["y"])]
    save(tmp_path / "m.onnx", nodes, {"w": weight(3, 3)}, [2, 3])
    from eqlr_tools.onnx_export import fold

    monkeypatch.setitem(fold._ARITHMETIC, "Mul", lambda a, b: a * b * 1.01)
    result = run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert result.code == 1
    assert "differs" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_options(tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        const("c", C),
        helper.make_node("Mul", ["first", "c"], ["f"]),
        helper.make_node("MatMul", ["x", "f"], ["a"]),
        helper.make_node("Mul", ["second", "c"], ["s"]),
        helper.make_node("MatMul", ["a", "s"], ["y"]),
    ]
    source, target = tmp_path / "m.onnx", tmp_path / "out.onnx"
    save(source, nodes, {"first": weight(3, 3), "second": weight(3, 3)}, [2, 3])
    dry = run_cli("bake", source, target, "--dry-run")
    assert dry.code == 0
    assert not target.exists()
    assert run_cli("bake", source, target, "--exclude", "first").code == 0
    assert operators(target).count("Mul") == 1
    assert run_cli("bake", source, target).code == 2
    assert run_cli("bake", source, target, "--force").code == 0
    assert operators(target) == ["MatMul", "MatMul"]
    assert run_cli("bake", source, source, "--force").code == 2
    assert run_cli("bake", target, tmp_path / "again.onnx").code == 3
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = run_cli("bake", source, tmp_path / "other.onnx")
    assert result.code == 2
    assert "eqlr-tools[run]" in result.stderr


def test_a_checkpoint_is_not_baked_into_onnx(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    torch.save({"w": torch.ones(3, 3)}, tmp_path / "m.pt")
    result = run_cli("bake", tmp_path / "m.pt", tmp_path / "out.onnx")
    assert result.code == 2
    assert "eqlr export" in result.stderr
