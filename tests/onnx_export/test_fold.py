"""`eqlr bake model.onnx out.onnx`: constant scales in front of weights become part of them."""

from __future__ import annotations

import json
import resource
import signal
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


@pytest.mark.parametrize("operator", LAYERS)
@pytest.mark.parametrize("form", ["x*c", "c*x", "x/d", "x*c*e"])
def test_a_scalar_in_front_of_the_input(
    tmp_path: Path, run_cli: Callable[..., Result], operator: str, form: str
) -> None:
    """aladdinpersson's and nashory's layers: the input is multiplied, not the weight."""
    shape, x = LAYERS[operator]
    w, b = weight(*shape), weight(4)
    constants = [const("c", C), const("d", np.float32([1 / C])), const("e", np.float32(3))]
    product = {
        "x*c": [helper.make_node("Mul", ["x", "c"], ["xc"])],
        "c*x": [helper.make_node("Mul", ["c", "x"], ["xc"])],
        "x/d": [helper.make_node("Div", ["x", "d"], ["xc"])],
        "x*c*e": [helper.make_node("Mul", ["x", "c"], ["m"]), helper.make_node("Mul", ["e", "m"], ["xc"])],
    }[form]
    used = [node for node in constants if any(node.output[0] in each.input for each in product)]
    inputs = ["xc", "w"] if operator == "MatMul" else ["xc", "w", "b"]
    nodes = [*used, *product, helper.make_node(operator, inputs, ["y"])]
    save(tmp_path / "m.onnx", nodes, {"w": w, "b": b} if "b" in inputs else {"w": w}, x)
    result = run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx", "-f", "json")
    assert result.code == 0, result.stderr
    factor = {"x/d": 1 / float(np.float32(1 / C)), "x*c*e": 3 * float(C)}.get(form, float(C))
    (step,) = json.loads(result.stdout)["steps"]
    assert (step["source"], step["target"], step["factor"]) == ("w", "w", pytest.approx(factor, rel=1e-12))
    assert operators(tmp_path / "out.onnx") == [operator]
    found = initial(tmp_path / "out.onnx")
    np.testing.assert_array_equal(found["w"], (w.astype(np.float64) * factor).astype(np.float32))
    if "b" in found:
        np.testing.assert_array_equal(found["b"], b)


def test_inputs_and_weights_that_are_shared(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    """One scaled input of two layers, one weight of a scaled and a plain input, a scaled input that is an output."""
    nodes = [
        const("c", C),
        helper.make_node("Mul", ["x", "c"], ["xc"]),
        helper.make_node("MatMul", ["xc", "v"], ["a"]),
        helper.make_node("MatMul", ["xc", "w"], ["b"]),
        helper.make_node("MatMul", ["a", "w"], ["d"]),
        helper.make_node("Mul", ["d", "c"], ["dc"]),
        helper.make_node("MatMul", ["dc", "u"], ["e"]),
        helper.make_node("Add", ["b", "e"], ["y"]),
    ]
    arrays = {"u": weight(3, 3), "v": weight(3, 3), "w": weight(3, 3)}
    dc = helper.make_tensor_value_info("dc", TensorProto.FLOAT, [None, None])
    save(tmp_path / "m.onnx", nodes, arrays, [2, 3], extra_outputs=[dc])
    result = run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert result.code == 0, result.stderr
    found = initial(tmp_path / "out.onnx")
    np.testing.assert_array_equal(found["w"], arrays["w"])
    for name, scaled in {"u": "u", "v": "v", "w": "w_scaled"}.items():
        np.testing.assert_array_equal(found[scaled], arrays[name] * C)
    assert operators(tmp_path / "out.onnx").count("Mul") == 1, "the output dc is still computed"


@pytest.mark.parametrize("side", ["weight", "input"])
def test_a_transposed_weight(side: str, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    """What torch writes for a linear layer of three axes: the Transpose stays, the product goes."""
    scaled = "w" if side == "weight" else "x"
    nodes = [
        const("c", C),
        helper.make_node("Mul", [scaled, "c"], ["m"]),
        helper.make_node("Transpose", ["m" if side == "weight" else "w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["m" if side == "input" else "x", "t"], ["y"]),
    ]
    w = weight(4, 3)
    save(tmp_path / "m.onnx", nodes, {"w": w}, [2, 5, 3])
    result = run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx")
    assert result.code == 0, result.stderr
    assert operators(tmp_path / "out.onnx") == ["Transpose", "MatMul"]
    np.testing.assert_array_equal(initial(tmp_path / "out.onnx")["w"], w * C)


def test_inputs_that_are_no_scalar_times_something(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    channels = np.linspace(0.1, 0.3, 3, dtype=np.float32).reshape(1, 3, 1, 1)
    cases = {
        "per channel": ([helper.make_node("Mul", ["x", "k"], ["m"])], {"k": channels}),
        "computed": ([helper.make_node("Mul", ["x", "x"], ["m"])], {}),
        "divided by": ([helper.make_node("Div", ["k", "x"], ["m"])], {"k": np.float32(2)}),
        "zero": ([helper.make_node("Mul", ["x", "k"], ["m"])], {"k": np.float32(0)}),
    }
    for nodes, constants in cases.values():
        arrays = {"w": weight(4, 3, 1, 1), **{name: np.asarray(value) for name, value in constants.items()}}
        save(tmp_path / "m.onnx", [*nodes, helper.make_node("Conv", ["m", "w"], ["y"])], arrays, [1, 3, 4, 4])
        assert run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx").code == 3


def test_a_full_disk(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    nodes = [const("c", C), helper.make_node("Mul", ["w", "c"], ["s"]), helper.make_node("MatMul", ["x", "s"], ["y"])]
    save(tmp_path / "m.onnx", nodes, {"w": weight(512, 512)}, [1, 512])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    try:
        result = run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert result.code == 2
    assert result.stderr.startswith(f"eqlr: {tmp_path / 'out.onnx'}: writing failed")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_beyond_what_one_message_holds(
    tmp_path: Path, run_cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above 2 GB the constants go to a file of their own, as those of an export do."""
    from eqlr_tools.onnx_export import baking

    monkeypatch.setattr(baking, "SINGLE_FILE_BYTES", 10_000)
    nodes = [const("c", C), helper.make_node("Mul", ["w", "c"], ["s"]), helper.make_node("MatMul", ["x", "s"], ["y"])]
    w = weight(64, 64)
    save(tmp_path / "m.onnx", nodes, {"w": w}, [1, 64], save_as_external_data=True, location="m.data", size_threshold=0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx").code == 0
    np.testing.assert_array_equal(initial(tmp_path / "out.onnx")["w"], w * C)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.data", "m.onnx", "out.onnx", "out.onnx.data"]
    assert run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx").code == 2
    assert run_cli("bake", tmp_path / "m.onnx", tmp_path / "out.onnx", "--force").code == 0
    (tmp_path / "m.data").rename(tmp_path / "new.onnx.data")
    model = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "new.onnx.data"
    onnx.save(model, tmp_path / "m.onnx")
    result = run_cli("bake", tmp_path / "m.onnx", tmp_path / "new.onnx", "--force")
    assert result.code == 2, "the new model's data would replace the source's"
    assert (tmp_path / "new.onnx.data").read_bytes() == before["m.data"]


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
