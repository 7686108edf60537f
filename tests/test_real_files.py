"""Real trained checkpoints of other kinds: the right tensors, nothing executed, nothing called equalized.

Counts and sizes of weights are those of `real/README.md`, which were taken with each project's own libraries.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.checkpoints.trees import node_at
from tests.conftest import Result


@dataclass(frozen=True)
class Real:
    """What is known of a file: tensors in networks and outside, and the std of its weights (min, median, max)."""

    path: str
    container: str
    networks: dict[str, int]
    loose: int
    std: tuple[float, float, float]
    not_finite: int = 0
    optimizers: int = 0


_STEG = {"encoder": 23, "decoder": 23, "critic": 23}

REAL = [
    Real("abcgan/dr_gan.pt", "torch zip", {"gen": 6, "crit": 6}, 0, (0.0808, 4.3, 37.3)),
    Real("abcgan/bv_lidar_gan.pt", "torch zip", {"gen": 37, "crit": 37}, 0, (0.0387, 0.0835, 0.148), 380),
    Real("basic-pitch/nmp.onnx", "onnx", {"model": 102}, 0, (0.0044, 0.058, 52.4)),
    Real("chgnet/chgnet_0.3.0.pth.tar", "torch zip", {"state_dict": 136}, 381, (0.036, 2.94, 3.78), 0, 1),
    Real("chgnet/chgnet_0.2.0.pth.tar", "torch zip", {"state_dict": 99}, 188, (0.036, 0.44, 3.7), 0, 1),
    Real("fletcher-dcgan/generator.pt", "torch legacy", {"model": 26}, 0, (0.0516, 0.0603, 0.0745)),
    Real("fletcher-dcgan/discriminator.pt", "torch legacy", {"discriminator": 22}, 0, (0.0255, 0.0485, 0.0925)),
    Real(
        "metapredict/epoch-49-step-42600.ckpt",
        "torch zip",
        {"state_dict": 26, "callbacks.StochasticWeightAveraging.average_model_state": 26},
        28,
        (0.0405, 0.169, 0.46),
        1,
        1,
    ),
    # Two weights of twelve elements and one of eight count here; the README leaves such small ones out.
    Real(
        "metapredict/epoch019_val_loss1477.45.ckpt", "torch zip", {"state_dict": 12}, 17, (0.0885, 0.465, 0.752), 0, 1
    ),
    # The README counts and measures the 8 stale copies, too, that spectral norm leaves beside `weight_orig`. They are
    # in no state dict: torch computes them anew.
    Real("psa-gan-m4/PSA-GAN_generator.pt", "torch zip", {"model": 92}, 0, (0.0844, 0.101, 0.987)),
    Real("psa-gan-m4/2fade9_generator_model.pt", "torch zip", {"model": 92}, 0, (0.084, 0.0985, 0.991)),
    Real("resemblyzer/pretrained.pt", "torch legacy", {"model_state": 16}, 32, (0.166, 0.234, 1.38), 0, 1),
    Real("silero-vad/silero_vad.jit", "torchscript", {"model": 32}, 0, (0.095, 0.387, 0.985)),
    Real("silero-vad/silero_vad.onnx", "onnx", {"model": 341}, 0, (0.095, 0.387, 0.985)),
    Real("silero-vad/silero_vad_half.onnx", "onnx", {"model": 170}, 0, (0.0873, 0.301, 0.538)),
    Real("silero-vad/silero_vad_16k.safetensors", "safetensors", {"model": 15}, 0, (0.102, 0.367, 0.832)),
    Real("silero-vad/silero_vad_16k_op15.onnx", "onnx", {"model": 175}, 0, (0.095, 0.387, 0.985)),
    # The README's 195 count each of the 42 parameters again in its optimizer.
    Real("steganogan/basic.steg", "torch legacy", _STEG, 84, (0.0411, 0.0548, 0.142), 0, 2),
    Real("steganogan/dense.steg", "torch legacy", _STEG, 84, (0.0138, 0.0706, 0.116), 0, 2),
    Real("steganogan/residual.steg", "torch legacy", _STEG, 84, (0.0335, 0.0605, 0.115), 0, 2),
]

_WATCHED: list[str] | None = None
_DANGEROUS = ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "socket.connect", "compile")


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _WATCHED is not None and event in _DANGEROUS and not (event == "compile" and _by_import(arguments)):
        _WATCHED.append(f"{event} {arguments!r:.80}")


def _by_import(arguments: tuple[object, ...]) -> bool:
    """Compiling an own module that is imported late; the name is a file's on disk."""
    return isinstance(arguments[1], str) and Path(arguments[1]).is_file()


sys.addaudithook(_watch)


@pytest.fixture
def watched() -> Iterator[list[str]]:
    """What Python's own audit events report of code being looked up, compiled or started."""
    global _WATCHED
    _WATCHED = events = []
    yield events
    _WATCHED = None


@pytest.mark.parametrize("real", REAL, ids=lambda real: real.path)
def test_the_tensors_of_real_files(shared_dir: Path, watched: list[str], real: Real) -> None:
    checkpoint = open_checkpoint(shared_dir / "real" / real.path)
    assert checkpoint.container == real.container
    assert {network.name: len(network.tensors) for network in checkpoint.networks} == real.networks
    assert len(checkpoint.loose) == real.loose
    assert len(checkpoint.optimizers) == real.optimizers
    tensors = [tensor for network in checkpoint.networks for tensor in network.tensors.values()]
    floats = [t.values() for t in (*tensors, *checkpoint.loose.values()) if t.dtype.is_float]
    assert sum(int(np.count_nonzero(~np.isfinite(values))) for values in floats) == real.not_finite
    weights = [t.values().astype(np.float64) for t in tensors if t.dtype.is_float and len(t.shape) >= 2 and t.numel > 1]
    sizes = sorted(float(values.std()) for values in weights if np.isfinite(values).all())
    assert (sizes[0], sizes[len(sizes) // 2], sizes[-1]) == pytest.approx(real.std, rel=0.01)
    assert watched == []


@pytest.mark.parametrize("real", REAL, ids=lambda real: real.path)
def test_real_files_are_explained_and_audited(
    shared_dir: Path, run_cli: Callable[..., Result], watched: list[str], real: Real
) -> None:
    path = shared_dir / "real" / real.path
    explained = run_cli("explain", path)
    assert explained.code == 0, explained.stderr
    audited = run_cli("audit", path, "-f", "json")
    assert audited.code == 0, audited.stderr
    assert [event for event in watched if not event.startswith("compile")] == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nmp.tflite", "TensorFlow Lite"),
        ("saved_model.pb", "SavedModel"),
        ("variables.data-00000-of-00001", "TensorFlow checkpoint"),
        ("variables.index", "TensorFlow checkpoint"),
    ],
)
def test_what_is_refused_by_name(shared_dir: Path, run_cli: Callable[..., Result], name: str, said: str) -> None:
    for command in ("scan", "explain", "audit"):
        result = run_cli(command, shared_dir / "real" / "basic-pitch" / name)
        assert result.code == 2
        assert said in result.stderr


def test_a_folder_of_real_files_is_scanned_at_once(shared_dir: Path, run_cli: Callable[..., Result]) -> None:
    result = run_cli("scan", shared_dir / "real", "-f", "json")
    assert result.code == 0, result.stderr
    rows = json.loads(result.stdout)["checkpoints"]
    assert len(rows) == len(REAL)
    found = {(row["family"], row["equalized"], row["error"]) for row in rows}
    assert found == {("plain", 0, None)}


@pytest.mark.parametrize("name", ["basic", "dense"])
def test_pickled_optimizers_keep_all_their_parameters(shared_dir: Path, name: str) -> None:
    checkpoint = open_checkpoint(str(shared_dir / f"real/steganogan/{name}.steg"))
    assert len(checkpoint.optimizers) == 2
    for path in checkpoint.optimizers:
        optimizer = node_at(checkpoint.tree, path)
        numbers = [number for group in optimizer["param_groups"] for number in group["params"]]
        assert sorted(numbers) == sorted(optimizer["state"])
