"""When the size of the weights speaks against a family, and when drift must not: the guard against baking twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.families.registry import Recognition, recognise
from tests.conftest import Result
from tests.families.builders import Built, nashory, rosinality_generator, unnamed_hook


def recognised(net: Built, folder: Path) -> Recognition:
    save_file(net.tensors, folder / "net.safetensors")
    checkpoint = open_checkpoint(folder / "net.safetensors")
    return recognise(checkpoint, checkpoint.networks[0])


@pytest.mark.parametrize("seed", range(20))
def test_trained_drift_is_no_sign_of_a_bake(seed: int, tmp_path: Path) -> None:
    """Sizes as measured in a trained equalized file: median 2, from a twentieth to three, one layer all but zero."""
    rng = np.random.default_rng(seed)
    net = rosinality_generator(w=32)
    for name in net.constants:
        if net.tensors[name].ndim >= 2:
            net.tensors[name] = net.tensors[name] * np.float32(np.exp2(rng.uniform(-1.5, 1.5)))
    net.tensors["to_rgbs.0.conv.weight"] = net.tensors["to_rgbs.0.conv.weight"] * np.float32(0.0005)
    recognition = recognised(net, tmp_path)
    assert recognition.family == "rosinality-stylegan2"
    assert recognition.equalized


@pytest.mark.parametrize("drift", [0.5, 1.0, 2.0])
def test_effective_weights_are_doubted(drift: float, tmp_path: Path) -> None:
    net = rosinality_generator(w=32)
    for name, constant in net.constants.items():
        net.tensors[name] = net.tensors[name] * np.float32(constant * drift)
    recognition = recognised(net, tmp_path)
    assert recognition.family == "plain"
    assert "look baked already" in recognition.doubt


@pytest.mark.parametrize("lr", [1.0, 0.1, 0.01])
def test_the_multiplier_is_read_to_the_nearest_power_of_ten_and_said_to_be_inferred(lr: float, tmp_path: Path) -> None:
    recognition = recognised(rosinality_generator(lr=lr), tmp_path)
    mapping = [layer for layer in recognition.equalized if layer.name.startswith("style.")]
    assert {layer.lr_multiplier for layer in mapping} == {lr}
    assert {layer.origin for layer in mapping} == {"inferred"}
    assert all("inferred" in layer.formula for layer in mapping)
    assert {layer.origin for layer in recognition.equalized if layer not in mapping} == {"family"}


@pytest.mark.parametrize("command", ["scan", "explain", "audit", "bake"])
def test_every_command_says_what_was_inferred_and_what_was_given(
    command: str, tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    path = tmp_path / "net.safetensors"
    save_file(rosinality_generator().tensors, path)
    target = [tmp_path / "out.safetensors"] if command == "bake" else []
    sentence = "learning-rate multiplier 0.01 inferred from the size of the weights"
    result = run_cli(command, path, *target)
    assert sentence in " ".join((result.stdout + result.stderr).split())
    if command != "scan":
        result = run_cli(command, path, *target, "--lr-multiplier", "0.02", *(["--force"] if target else []))
        assert result.code == 0, result.stderr
        assert "inferred" not in result.stdout + result.stderr


def test_one_file_or_many_a_scan_asks_the_question(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    save_file(nashory().tensors, tmp_path / "rms.safetensors")
    save_file(unnamed_hook().tensors, tmp_path / "hook.safetensors")
    for arguments in ([tmp_path / "rms.safetensors"], [tmp_path], [tmp_path, "--jobs", "2"], [tmp_path, "-f", "csv"]):
        said = " ".join(run_cli("scan", *arguments).stdout.split())
        assert "which the file does not hold" in said
        assert "answer with --family rms-progan or --gain X" in said


def test_what_is_told_of_many_networks_is_told_once(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    for index in range(5):
        save_file(rosinality_generator().tensors, tmp_path / f"{index}.safetensors")
    said = run_cli("scan", tmp_path).stdout
    assert said.count("inferred from the size of the weights") == 1
    assert "5 networks: learning-rate multiplier 0.01" in said
