"""The tensors of ONNX models are read without onnx: every type, every place that data can be in."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import UnreadableError


def model_of(initializers: list[TensorProto], nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph(nodes or [helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def tensors_of(path: Path) -> dict:
    return open_checkpoint(path).networks[0].tensors


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
def test_every_type_in_raw_and_typed_data(tmp_path: Path, raw: bool) -> None:
    values = np.arange(-3, 9).reshape(3, 4)
    types = [np.float32, np.float64, np.float16, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32]
    types += [np.uint64, np.bool_, np.complex64, np.complex128, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]
    arrays = {f"w_{np.dtype(kind).name}": np.abs(values).astype(kind) for kind in types}
    arrays |= {"w_negative": values.astype(np.int8), "w_scalar": np.float32(2).reshape(()), "w_none": np.zeros((0, 2))}
    initializers = []
    for name, array in arrays.items():
        code = helper.np_dtype_to_tensor_dtype(array.dtype)
        data = array.tobytes() if raw else array.reshape(-1)
        initializers.append(helper.make_tensor(name, code, array.shape, data, raw=raw))
    onnx.save(model_of(initializers), tmp_path / "m.onnx")
    found = tensors_of(tmp_path / "m.onnx")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert found[name].bits().tobytes() == array.tobytes(), name


def test_constants_subgraphs_and_what_consumes_them(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "odd_name")
    inner = helper.make_graph(
        [
            helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.full((2, 2), 2.0, np.float32))),
            helper.make_node("Transpose", ["k"], ["kt"]),
            helper.make_node("MatMul", ["x", "kt"], ["out"]),
        ],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(3, np.float32), "inner_bias")],
    )
    nodes = [
        helper.make_node("Mul", ["odd_name", "c"], ["scaled"]),
        helper.make_node("Conv", ["x", "scaled"], ["z"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner),
    ]
    constant = numpy_helper.from_array(np.float32(0.5).reshape(()), "c")
    onnx.save(model_of([weight, constant], nodes), tmp_path / "m.onnx")
    (network,) = open_checkpoint(tmp_path / "m.onnx").networks
    assert list(network.tensors) == ["k", "inner_bias", "k#2", "inner_bias#2", "odd_name", "c"]
    assert network.module_attributes["odd_name"] == {"op_type": "Conv", "input": 1}
    assert network.module_attributes["k"] == {"op_type": "MatMul", "input": 1}
    assert "inner_bias" not in network.module_attributes


def test_external_data_stays_outside(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((1000, 2000)).astype(np.float32)
    model = model_of([numpy_helper.from_array(values, "w"), numpy_helper.from_array(values[:3] + 1, "v")])
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin")
    tracemalloc.start()
    checkpoint = open_checkpoint(tmp_path / "m.onnx")
    found = checkpoint.networks[0].tensors
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000
    assert checkpoint.files == (tmp_path / "m.onnx", tmp_path / "weights.bin")
    np.testing.assert_array_equal(found["w"].values(), values)
    np.testing.assert_array_equal(found["v"].values(), values[:3] + 1)


def external(location: str, offset: str = "0", length: str = "16") -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": offset, "length": length}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.mark.parametrize(
    ("location", "offset", "length"),
    [
        ("../secret.bin", "0", "16"),
        ("sub/../../secret.bin", "0", "16"),
        ("ABSOLUTE", "0", "16"),
        ("link.bin", "0", "16"),
        ("", "0", "16"),
        ("here.bin", "-8", "16"),
        ("here.bin", "8", "16"),
        ("here.bin", "0", "8"),
        ("here.bin", "x", "16"),
        ("missing.bin", "0", "16"),
    ],
)
def test_external_data_may_not_lead_elsewhere(tmp_path: Path, location: str, offset: str, length: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "here.bin").write_bytes(bytes(16))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    location = str(tmp_path / "secret.bin") if location == "ABSOLUTE" else location
    (folder / "m.onnx").write_bytes(model_of([external(location, offset, length)]).SerializeToString())
    with pytest.raises(UnreadableError):
        open_checkpoint(folder / "m.onnx")


def test_raw_data_stays_in_the_file(tmp_path: Path) -> None:
    onnx.save(model_of([numpy_helper.from_array(np.ones((1000, 2000), np.float32), "w")]), tmp_path / "m.onnx")
    tracemalloc.start()
    assert tensors_of(tmp_path / "m.onnx")["w"].nbytes == 8_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000


def test_truncated_and_lying_models(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones((50, 50), np.float32), "w")
    data = model_of([weight]).SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(data[:5000])
    with pytest.raises(UnreadableError):
        open_checkpoint(tmp_path / "cut.onnx")
    weight.dims[0] = 51
    (tmp_path / "lie.onnx").write_bytes(model_of([weight]).SerializeToString())
    with pytest.raises(UnreadableError, match="10,000 bytes"):
        open_checkpoint(tmp_path / "lie.onnx")
    weight.dims[0] = -50
    (tmp_path / "negative.onnx").write_bytes(model_of([weight]).SerializeToString())
    with pytest.raises(UnreadableError, match="negative"):
        open_checkpoint(tmp_path / "negative.onnx")


def test_nesting_has_an_end(tmp_path: Path) -> None:
    graph = b"\x12\x01g"
    for _ in range(100):
        attribute = b"\x32" + _varint(len(graph)) + graph
        node = b"\x2a" + _varint(len(attribute)) + attribute
        graph = b"\x0a" + _varint(len(node)) + node
    (tmp_path / "deep.onnx").write_bytes(b"\x08\x08\x3a" + _varint(len(graph)) + graph + b"\x42\x02\x10\x11")
    with pytest.raises(UnreadableError, match="nested"):
        open_checkpoint(tmp_path / "deep.onnx")


def _varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])
