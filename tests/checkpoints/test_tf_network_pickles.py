"""NVIDIA's TensorFlow network pickles, of the structure that ProGAN, StyleGAN and StyleGAN2 write."""

from __future__ import annotations

import pickle
import struct
import sys
import tracemalloc
import types
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import UnreadableError

TRIPWIRE = 'raise RuntimeError("embedded source must never be executed")\n'


class Network:
    """Pickled under the name of NVIDIA's class; only `__getstate__` matters."""

    def __init__(self, name: str, variables: dict[str, Any], components: dict[str, Any] | None = None, **kwargs: Any):
        self.state = {
            "version": 2 if components is None else 4,
            "name": name,
            "static_kwargs": kwargs,
            "build_module_src": TRIPWIRE,
            "build_func_name": "G_paper",
            "variables": list(variables.items()),
        }
        if components is not None:
            self.state["components"] = components

    def __getstate__(self) -> dict[str, Any]:
        return self.state


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2's `str`."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_string(self, value: str | bytes) -> None:
        data = value if isinstance(value, bytes) else value.encode("latin-1")
        head = b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data))
        self.write(head + data)
        self.memoize(value)

    dispatch[str] = save_string
    dispatch[bytes] = save_string


@pytest.fixture(params=["tfutil", "dnnlib.tflib.network"])
def network_class(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    parts = request.param.split(".")
    for count in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:count]), types.ModuleType(parts[count - 1]))
    monkeypatch.setattr(sys.modules[request.param], "Network", Network, raising=False)
    monkeypatch.setattr(Network, "__module__", request.param)
    return request.param


def dump(data: Any, protocol: int) -> bytes:
    if protocol >= 2:
        return pickle.dumps(data, protocol)
    buffer = BytesIO()
    Python2Pickler(buffer, 2).dump(data)
    return buffer.getvalue()


PYTHON_2 = -2


@pytest.mark.parametrize("protocol", [PYTHON_2, 2, 3, 4])
def test_progan_is_a_tuple_of_networks(tmp_path: Path, protocol: int, network_class: str) -> None:
    rng = np.random.default_rng(0)
    variables = {
        "lod": np.float32(0.7),
        "4x4/Dense/weight": rng.standard_normal((512, 64)).astype(np.float32),
        "4x4/Dense/bias": rng.standard_normal(16).astype(np.float32),
        "8x8/Conv0_up/weight": rng.standard_normal((3, 3, 8, 16)).astype(np.float32),
    }
    arguments = {"num_channels": 3, "resolution": 8, "fused_scale": True}
    networks = tuple(Network(name, variables, **arguments) for name in ("G", "D", "Gs"))
    (tmp_path / "net.pkl").write_bytes(dump(networks, protocol))
    checkpoint = open_checkpoint(tmp_path / "net.pkl")
    assert [network.name for network in checkpoint.networks] == ["G", "D", "Gs"]
    found = checkpoint.networks[2]
    assert list(found.tensors) == list(variables)
    for name, values in variables.items():
        np.testing.assert_array_equal(found.tensors[name].values(), values)
    assert found.module_attributes[""] == {
        "num_channels": 3,
        "resolution": 8,
        "fused_scale": True,
        "name": "Gs",
        "version": 2,
        "build_func_name": "G_paper",
        "__class__": f"{network_class}.Network",
    }


@pytest.mark.parametrize("protocol", [PYTHON_2, 2, 4])
def test_components_stand_under_their_own_names(tmp_path: Path, protocol: int, network_class: str) -> None:
    mapping = Network("G_mapping", {"Dense0/weight": np.ones((4, 4), np.float32)}, {}, mapping_lrmul=0.01)
    synthesis = Network(
        "G_synthesis", {"4x4/Const/const": np.zeros((1, 4, 4, 4), np.float32), "noise0": np.ones(3)}, {}
    )
    generator = Network(
        "Gs", {"dlatent_avg": np.zeros(4)}, {"synthesis": synthesis, "mapping": mapping}, truncation_psi=1
    )
    (tmp_path / "net.pkl").write_bytes(dump(generator, protocol))
    (found,) = open_checkpoint(tmp_path / "net.pkl").networks
    assert found.name == "Gs"
    assert list(found.tensors) == [
        "dlatent_avg",
        "G_synthesis/4x4/Const/const",
        "G_synthesis/noise0",
        "G_mapping/Dense0/weight",
    ]
    assert found.module_attributes["G_mapping"]["mapping_lrmul"] == 0.01
    assert found.module_attributes[""]["truncation_psi"] == 1


@pytest.mark.parametrize("protocol", [PYTHON_2, 3, 4])
def test_variables_stay_in_the_file(tmp_path: Path, protocol: int, network_class: str) -> None:
    network = Network("Gs", {"weight": np.ones((3, 3, 512, 512), np.float32)}, {})
    (tmp_path / "net.pkl").write_bytes(dump(network, protocol))
    tracemalloc.start()
    (found,) = open_checkpoint(tmp_path / "net.pkl").networks
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.tensors["weight"].nbytes == 9_437_184
    assert peak < 1_000_000


def test_latin_1_bytes_of_python_2_survive(tmp_path: Path, network_class: str) -> None:
    """Weights whose bytes are no UTF-8, below and above the size from which they stay in the file."""
    small = np.frombuffer(bytes(range(256)), dtype="<u4")
    large = np.tile(small, 100)
    network = Network("G", {"small": small, "large": large})
    (tmp_path / "net.pkl").write_bytes(dump(network, PYTHON_2))
    (found,) = open_checkpoint(tmp_path / "net.pkl").networks
    np.testing.assert_array_equal(found.tensors["small"].values(), small)
    np.testing.assert_array_equal(found.tensors["large"].values(), large)


def test_a_network_that_contains_itself_is_refused(tmp_path: Path, network_class: str) -> None:
    network = Network("G", {"w": np.ones((2, 2))}, {})
    network.state["components"]["self"] = network
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(network))
    with pytest.raises(UnreadableError, match="components"):
        open_checkpoint(tmp_path / "net.pkl")


def test_theano_networks_are_refused_by_name(tmp_path: Path, run_cli: Callable) -> None:
    body = b"\x80\x02cnetwork\nNetwork\n)\x81}U\x0cparam_values]sb."
    (tmp_path / "theano.pkl").write_bytes(body)
    result = run_cli("scan", tmp_path / "theano.pkl")
    assert result.code == 2
    assert "Theano" in result.stderr
