"""Every architecture's graphs are of a kind that TensorRT's parser takes, in every precision and with every noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import EqlrError, UsageError
from eqlr_tools.onnx_export.choices import Choices
from eqlr_tools.onnx_export.options import Image, Latent, Noise, Options, Precision
from eqlr_tools.onnx_export.subject import exported_architectures, subject_of
from eqlr_tools.rewriting.canonical import canonical_network
from eqlr_tools.rewriting.selection import Selection, recognise_all
from tests.onnx_export.tensorrt import refused_by_tensorrt

FORMS = [
    Options(),
    Options(precision=Precision.fp16, noise=Noise.random),
    Options(precision=Precision.fp16, noise=Noise.input, latent=Latent.w_plus, image=Image.uint8),
    Options(split=True, noise=Noise.none),
]


def exportable(folders: list[Path]) -> Iterator[tuple[Path, str, tuple[str, str]]]:
    """Files with the name of a network in it and its architecture, the first of each architecture and folder."""
    for folder in folders:
        seen = set()
        for path in sorted(each for each in folder.iterdir() if each.suffix not in (".json", ".md", ".png", ".py")):
            try:
                recognitions = recognise_all(open_checkpoint(path), Selection())
            except EqlrError:
                continue  # What an oracle was computed with, not a checkpoint of networks.
            for recognition in recognitions:
                canonical = canonical_network(recognition)
                kind = (canonical.naming.architecture, canonical.naming.role) if canonical else ("", "")
                if kind in exported_architectures() and kind not in seen:
                    seen.add(kind)
                    yield path, recognition.network.name, kind


def require_accepted(path: Path, name: str, forms: list[Options]) -> None:
    """Those of the forms that the network has, of which there must be one."""
    network = subject_of(open_checkpoint(path), Selection(networks=(name,)), Choices()).network
    emitted = 0
    for options in forms:
        try:
            graphs = network.graphs(options)
        except UsageError:
            continue
        for part, graph in graphs.items():
            emitted += 1
            reasons = refused_by_tensorrt(graph.model({}))
            assert reasons == [], f"{path.parent.name}, {name}, {part} with {options}: {reasons[:3]}"
    assert emitted


def test_samples(samples: Path) -> None:
    for path, name, _ in exportable([samples]):
        require_accepted(path, name, FORMS)


def test_every_architecture_that_is_exported(shared_dir: Path) -> None:
    """All forms of the first network of an architecture, the plain ones of others, whose layouts differ."""
    checked: set[tuple[str, str]] = set()
    for path, name, kind in exportable(sorted(each for each in (shared_dir / "oracles").iterdir() if each.is_dir())):
        require_accepted(path, name, [FORMS[0], FORMS[2]] if kind in checked else FORMS)
        checked.add(kind)
    own_tests = {kind for kind in exported_architectures() if kind[0] == "bmsg-gan"}  # tests/progan
    assert checked == exported_architectures() - own_tests, "one without an oracle asserts it in its own test"


@pytest.mark.parametrize("what", ["kernel", "groups", "operator", "type", "shape"])
def test_what_the_parser_refuses_is_seen(what: str) -> None:
    """The helper itself can say no."""
    info = helper.make_tensor_value_info
    x = info("x", TensorProto.DOUBLE if what == "type" else TensorProto.FLOAT, [1, 4, 8, 8])
    k, s = info("k", TensorProto.FLOAT, [4, 2, 1, 1]), info("s", TensorProto.INT64, [4])
    weight = numpy_helper.from_array(np.ones((4, 2, 1, 1), np.float32), "weight")
    node = {
        "kernel": helper.make_node("Conv", ["x", "k"], ["y"], group=2),
        "groups": helper.make_node("Conv", ["x", "weight"], ["y"], group=2),
        "operator": helper.make_node("Det", ["x"], ["y"]),
        "type": helper.make_node("Abs", ["x"], ["y"]),
        "shape": helper.make_node("Reshape", ["x", "s"], ["y"]),
    }[what]
    y = info("y", x.type.tensor_type.elem_type, None)
    graph = helper.make_graph([node], "g", [x, k, s], [y], [weight])
    assert refused_by_tensorrt(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
