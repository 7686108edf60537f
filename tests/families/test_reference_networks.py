"""Every family against a second opinion: the constants of `builders.py` and `ports.py`, written from the facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.families.catalogue import FAMILIES
from eqlr_tools.families.registry import recognise
from tests.conftest import Result
from tests.families.builders import BUILDERS, Built
from tests.families.ports import PORTS

COVERED_ELSEWHERE = {
    "nvidia-layers",  # test_stated_layers.py
    "rms-progan-modules",  # test_rms_modules.py: scales of pickled modules
    "nvidia-edm2",  # test_edm2.py: a constant for each row
    "torch-parametrize",
    "basicsr-stylegan2",
    "gfpgan-v1",
    "aladdin-progan",
    "aladdin-stylegan",
    "labml-stylegan2",
    "imaginaire-scaledlr",
}
NETWORKS = {**BUILDERS, **PORTS}
EACH = pytest.mark.parametrize("name", NETWORKS)


def save(net: Built, folder: Path, prefix: str = "") -> Path:
    path = folder / "net.safetensors"
    save_file({prefix + name: array for name, array in net.tensors.items()}, path)
    return path


def expected(net: Built) -> dict[str, np.ndarray]:
    """The baked file that the constants ask for."""
    kept = {name: array for name, array in net.tensors.items() if name not in net.dropped}
    return {
        net.baked.get(name, name): np.asarray(array.astype(np.float64) * net.constants.get(name, 1.0))
        for name, array in kept.items()
    }


def check_baked(net: Built, target: Path, prefix: str = "") -> None:
    network = open_checkpoint(target).networks[0]
    baked = {network.key(name).removeprefix(prefix): tensor for name, tensor in network.tensors.items()}
    wanted = expected(net)
    assert set(baked) == set(wanted)
    for name, array in wanted.items():
        found = baked[name].values().astype(np.float64)
        assert np.abs(found - array).max() <= 1e-6 * np.abs(array).max(), name


@EACH
def test_bakes_to_the_constants_of_the_original_code(name: str, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    family, build, answers = NETWORKS[name]
    net = build()
    source, target = save(net, tmp_path), tmp_path / "baked.safetensors"
    result = run_cli("bake", source, target, *answers)
    assert result.code == 0, result.stderr
    check_baked(net, target)
    checkpoint = open_checkpoint(source)
    said = {v.family for v in recognise(checkpoint, checkpoint.networks[0], family=family).verdicts if v.matched}
    assert family in said


@EACH
def test_a_prefix_of_data_parallel_changes_nothing(name: str, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    _, build, answers = NETWORKS[name]
    if "/" in next(iter(build().constants)):
        return  # TensorFlow and JAX names have no DataParallel in front
    net = build()
    target = tmp_path / "baked.safetensors"
    assert run_cli("bake", save(net, tmp_path, "module."), target, *answers).code == 0
    check_baked(net, target, "module.")


@EACH
def test_an_open_question_ends_in_exit_2_with_its_answer(
    name: str, tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    family, build, answers = NETWORKS[name]
    source = save(build(), tmp_path)
    result = run_cli("bake", source, tmp_path / "out.safetensors")
    if not answers:
        assert result.code == 0
        return
    assert result.code == 2
    assert family in result.stderr
    assert answers[0] in result.stderr
    assert not (tmp_path / "out.safetensors").exists()
    assert run_cli("audit", source).code == 2
    told = run_cli("explain", source)
    assert told.code == 0
    assert answers[0] in told.stdout


@EACH
def test_baking_twice_changes_nothing_unasked(name: str, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    """Also where the record of the bake is lost: the weights' size or the names give it away."""
    _, build, _ = NETWORKS[name]
    net = build()
    folder = tmp_path / "again"
    folder.mkdir()
    baked = {key: np.asarray(array, dtype=np.float32) for key, array in expected(net).items()}
    path = folder / "net.safetensors"
    save_file(baked, path)
    assert run_cli("bake", path, folder / "out.safetensors").code in (2, 3)
    recognition = recognise(open_checkpoint(path), open_checkpoint(path).networks[0])
    assert not recognition.equalized or recognition.question


@EACH
def test_no_option_bakes_twice_what_eqlr_baked(name: str, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    """The option that answered the question, or named the family, is given to the second bake out of habit."""
    family, build, answers = NETWORKS[name]
    baked, out = tmp_path / "baked.safetensors", tmp_path / "out.safetensors"
    assert run_cli("bake", save(build(), tmp_path), baked, *answers).code == 0
    for options in (answers, ("--family", family), ("--gain", "1"), ("--family", family, "--gain", "1")):
        assert run_cli("bake", baked, out, *options).code in (2, 3), options
        assert not out.exists()


def test_every_family_has_a_reference() -> None:
    tested = {family for family, _, _ in NETWORKS.values()} | COVERED_ELSEWHERE
    assert {family.id for family in FAMILIES if family.equalized} <= tested
