"""Weights of numpy, Keras and Flax ports."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest

from eqlr_tools.checkpoints.allowance import Allowance
from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import EqlrError, ForbiddenGlobalError, UnreadableError

RNG = np.random.default_rng(0)
ARRAYS = {
    "params/conv/kernel": RNG.standard_normal((3, 3, 4, 8)).astype(np.float32),
    "params/conv/bias": np.arange(8, dtype=np.float16),
    "params/fortran": np.asfortranarray(RNG.standard_normal((5, 6))),
    "params/big_endian": np.arange(12, dtype=">f4").reshape(3, 4),
    "params/step": np.array(7),
    "params/mask": np.array([True, False]),
    "params/empty": np.zeros((0, 3), np.float32),
}


def assert_equal(tensors: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    assert list(tensors) == list(arrays)
    for name, array in arrays.items():
        assert tensors[name].shape == array.shape
        np.testing.assert_array_equal(tensors[name].values(), array, err_msg=name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_flat_or_nested_in_params(tmp_path: Path, save: Callable[..., None]) -> None:
    save(tmp_path / "w.npz", **ARRAYS)
    (network,) = open_checkpoint(tmp_path / "w.npz").networks
    assert network.name == "params"
    assert_equal({f"params/{name}": tensor for name, tensor in network.tensors.items()}, ARRAYS)
    flat = {name.replace("params/", "w_"): array for name, array in ARRAYS.items()}
    save(tmp_path / "flat.npz", **flat)
    (network,) = open_checkpoint(tmp_path / "flat.npz").networks
    assert network.name == "model"
    assert_equal(network.tensors, flat)


def test_npz_networks_are_told_apart_by_their_first_part(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"G/conv/w": np.ones((2, 2)), "D/conv/w": np.zeros((2, 2))})
    assert [network.name for network in open_checkpoint(tmp_path / "w.npz").networks] == ["G", "D"]


def test_npz_stays_in_the_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", w=np.ones((1000, 2000), np.float32))
    tracemalloc.start()
    (network,) = open_checkpoint(tmp_path / "w.npz").networks
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert network.tensors["w"].nbytes == 8_000_000
    assert peak < 1_000_000


def test_bfloat16_of_jax(tmp_path: Path) -> None:
    values = np.arange(6).astype(ml_dtypes.bfloat16).reshape(2, 3)
    np.savez(tmp_path / "w.npz", w=values)
    tensor = open_checkpoint(tmp_path / "w.npz").networks[0].tensors["w"]
    assert tensor.dtype.name == "BF16"
    np.testing.assert_array_equal(tensor.values(), values.astype(np.float32))


def test_a_dict_in_a_npy_is_read_without_executing_it(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", {"conv1": {"weights": np.ones((2, 3)), "biases": np.zeros(3)}}, allow_pickle=True)
    (network,) = open_checkpoint(tmp_path / "w.npy").networks
    assert network.name == "conv1"
    assert list(network.tensors) == ["weights", "biases"]
    np.save(tmp_path / "one.npy", np.arange(6.0).reshape(2, 3))
    (network,) = open_checkpoint(tmp_path / "one.npy").networks
    np.testing.assert_array_equal(network.tensors["tensor"].values(), np.arange(6.0).reshape(2, 3))


class Evil:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('executed')",))


def test_what_arrays_may_not_hold(tmp_path: Path) -> None:
    np.save(tmp_path / "evil.npy", {"a": Evil()}, allow_pickle=True)
    with pytest.raises(ForbiddenGlobalError, match="exec"):
        open_checkpoint(tmp_path / "evil.npy")
    np.savez(tmp_path / "list.npz", w=np.ones(3), odd=np.array([1, "x", None], dtype=object))
    with pytest.raises(UnreadableError, match="Python objects"):
        open_checkpoint(tmp_path / "list.npz")
    np.savez(tmp_path / "text.npz", w=np.ones(3), names=np.array(["a", "b"]))
    with pytest.raises(UnreadableError, match="no plain numbers"):
        open_checkpoint(tmp_path / "text.npz")


@pytest.mark.parametrize("cut", [4, 60, 200])
def test_truncated_npy(tmp_path: Path, cut: int) -> None:
    np.save(tmp_path / "w.npy", np.ones((30, 30)))
    data = (tmp_path / "w.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[: len(data) - cut] if cut > 100 else data[: cut + 6])
    with pytest.raises(UnreadableError):
        open_checkpoint(tmp_path / "cut.npy")


def write_h5(path: Any, **options: Any) -> dict[str, np.ndarray]:
    with h5py.File(path, "w", track_order=True) as file:
        file.attrs["keras_version"] = "2.4.0"
        file["names"] = np.array([b"a", b"b"])
        for name, array in ARRAYS.items():
            file.create_dataset(name, data=array, **(options if array.ndim > 1 and array.size else {}))
    return ARRAYS


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "chunks": True}], ids=["contiguous", "compressed"])
def test_hdf5(tmp_path: Path, options: dict[str, Any]) -> None:
    arrays = write_h5(tmp_path / "w.h5", **options)
    checkpoint = open_checkpoint(tmp_path / "w.h5")
    assert checkpoint.container == "hdf5"
    found = {f"params/{name}": t for net in checkpoint.networks for name, t in net.tensors.items()}
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name].values(), array, err_msg=name)
        parts = [block.copy() for block in found[name].blocks(64)]
        assert b"".join(part.tobytes() for part in parts) == array.astype(array.dtype.newbyteorder("<")).tobytes()


def test_keras_archives(tmp_path: Path) -> None:
    write_h5(tmp_path / "model.weights.h5")
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
    checkpoint = open_checkpoint(tmp_path / "m.keras")
    assert checkpoint.container == "keras"
    np.testing.assert_array_equal(checkpoint.networks[0].tensors["conv/kernel"].values(), ARRAYS["params/conv/kernel"])


def test_hdf5_links_do_not_lead_elsewhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(64))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["hidden"] = np.ones((2, 2))
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["own"] = np.ones((2, 2))
        file["stolen"] = h5py.ExternalLink("other.h5", "hidden")
    assert list(open_checkpoint(tmp_path / "link.h5").networks[0].tensors) == ["own"]
    with h5py.File(tmp_path / "external.h5", "w") as file:
        file.create_dataset("stolen", (8,), dtype="f8", external=[(str(secret), 0, 64)])
    with pytest.raises(UnreadableError, match="another file"):
        open_checkpoint(tmp_path / "external.h5")
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        layout = h5py.VirtualLayout((2, 2), dtype="f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "hidden", (2, 2))
        file.create_virtual_dataset("stolen", layout)
    with pytest.raises(UnreadableError, match="another file"):
        open_checkpoint(tmp_path / "virtual.h5")


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_h5(tmp_path / "w.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(EqlrError) as caught:
        open_checkpoint(tmp_path / "w.h5")
    assert caught.value.hint == "pip install -c constraints.txt 'eqlr-tools[hdf5]'"


def test_h5py_is_imported_for_hdf5_alone(tmp_path: Path) -> None:
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"w": np.ones((2, 2))}))
    code = (
        "import sys; from eqlr_tools.checkpoints.opening import open_checkpoint; "
        f"open_checkpoint({str(tmp_path / 'w.pkl')!r}); sys.exit('h5py' in sys.modules or 'onnx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.gguf", b"GGUF\x03\x00\x00\x00", "a GGUF file"),
        ("m.tflite", b"\x1c\x00\x00\x00TFL3", "TensorFlow Lite"),
        ("saved_model.pb", b"\x08\x01\x12\x05\x0a\x03abc", "SavedModel"),
        ("v.data-00000-of-00001", b"\x66\xfa\xf9\x3e\x59\xc8", "shard of a TensorFlow checkpoint"),
        ("v.index", bytes(40) + bytes.fromhex("57fb808b247547db"), "index of a TensorFlow checkpoint"),
        ("m.msgpack", b"\x81\xa6params", "msgpack"),
        ("m.pt.gz", b"\x1f\x8b\x08\x00", "gzip"),
        ("m.pt", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        ("m.pt", b"<!DOCTYPE html>", "web page"),
        ("m.pt", b"PK\x05\x06" + bytes(18), "empty zip"),
        ("m.json", b'{"a": 1}', "JSON"),
    ],
)
def test_what_is_refused_by_name(tmp_path: Path, run_cli: Callable, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    result = run_cli("scan", tmp_path / name)
    assert result.code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 2, "one sentence and what to try next"


def test_compressed_arrays_larger_than_what_is_inflated_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are unpacked when they are read, into a file without a name; their headers cost nothing."""
    monkeypatch.setattr(Allowance, "__init__", lambda self: _limits(self))
    arrays = {f"layer{i}.weight": np.random.default_rng(i).standard_normal((512, 1024), np.float32) for i in range(3)}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    tensors = open_checkpoint(tmp_path / "x.npz").networks[0].tensors
    assert all("_file" not in vars(tensor.storage.source._parent) for tensor in tensors.values())
    for name, values in arrays.items():
        assert np.array_equal(tensors[name].values(), values)


def _limits(allowance: Allowance) -> None:
    allowance.__dict__.update(instructions=10**6, copied_bytes=10**6, composite_keys=100, inflated_bytes=100)


@pytest.mark.parametrize("what", ["a flipped byte", "a lying size"])
def test_a_damaged_compressed_array(what: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((1024, 1024), np.float32)
    np.savez_compressed(tmp_path / "x.npz", w=values)
    data = bytearray((tmp_path / "x.npz").read_bytes())
    if what == "a flipped byte":
        data[len(data) // 2] ^= 0x10
    else:
        entry = data.rindex(b"PK\x01\x02")
        data[entry + 24 : entry + 28] = (values.nbytes + 128 + 16).to_bytes(4, "little")
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(UnreadableError):
        open_checkpoint(tmp_path / "x.npz").networks[0].tensors["w"].values()


def test_a_dataset_that_unfolds_to_a_terabyte(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("kernel", (1 << 20, 1 << 20), "f4", chunks=(1 << 12, 1 << 12), compression="gzip")
        file["bias"] = np.ones(4, np.float32)
    with pytest.raises(UnreadableError, match="unfolds"):
        open_checkpoint(tmp_path / "x.h5")
