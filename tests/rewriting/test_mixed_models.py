"""Models of which only some layers are equalized: a bake changes these, and nothing else by a single bit."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.conftest import Result
from tests.families.builders import BUILDERS, Built

Run = Callable[..., Result]

MIXED = (
    *("psp", "hyperstyle", "dualstylegan", "vtoonify", "gpen", "lia", "cips", "styleswin", "swapping autoencoder"),
    *("mobilestylegan", "mobilestylegan in training", "eg3d", "eg3d in mmagic", "mat", "separable discriminator"),
)
WRAPPINGS = ("state_dict", "g_ema")


def beside(net: Built) -> dict[str, torch.Tensor]:
    """What else stands in such files: an identity network, counters, masks, half precision, a shared one."""
    torch.manual_seed(0)
    shared = torch.randn(6, 6)
    first = torch.from_numpy(np.array(next(iter(net.tensors.values()))))
    return {
        "facenet.body.0.weight": torch.randn(8, 3, 3, 3) * 0.05,
        "facenet.stage.conv.weight": torch.randn(8, 8, 3, 3) * 0.05,
        "facenet.stage.conv.bias": torch.randn(8),
        "facenet.stage.conv1.0.weight": torch.randn(8, 8, 3, 3) * 0.05,
        "facenet.head.linear.weight": torch.randn(6, 8) * 0.1,
        "facenet.head.fc.weight": torch.randn(6, 8) * 0.1,
        "facenet.body.1.running_var": torch.rand(8),
        "facenet.body.1.num_batches_tracked": torch.tensor(41),
        "facenet.table.weight": torch.randn(10, 6),
        "facenet.tied.weight": shared,
        "facenet.tied_again.weight": shared,
        "facenet.mask": torch.arange(12).reshape(3, 4) % 2 == 0,
        "facenet.half": torch.randn(5, 5).half(),
        "facenet.nan": torch.tensor([float("nan"), -0.0, float("inf")]),
        "facenet.codes": torch.arange(-4, 4, dtype=torch.int8),
        "facenet.first": first,
    }


def file_of(net: Built, wrapping: str, path: Path) -> dict[str, Any]:
    state = {name: torch.from_numpy(np.array(array)) for name, array in net.tensors.items()} | beside(net)
    other = torch.nn.Parameter(torch.randn(4, 4))
    optimizer = torch.optim.Adam([other], lr=1e-3)
    other.grad = torch.ones_like(other)
    optimizer.step()
    content = {
        wrapping: state,
        "opts": argparse.Namespace(lr=0.01, name="run", sizes=[1, 2], nested={"a": None}),
        "latent_avg": torch.randn(4, 16),
        "epoch": 7,
        "note": "as it was",
        "disc_optim": optimizer.state_dict(),
    }
    torch.save(content, path)
    return content


def same(found: Any, wanted: Any) -> bool:
    """Equal to the bit, whatever it is."""
    if isinstance(wanted, torch.Tensor):
        return found.dtype == wanted.dtype and found.shape == wanted.shape and bits(found) == bits(wanted)
    if isinstance(wanted, dict):
        return list(found) == list(wanted) and all(same(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return bool(found == wanted)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def check(net: Built, found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert set(found) == {net.baked.get(name, name) for name in wanted if name not in net.dropped}
    for name, before in wanted.items():
        after = found[net.baked.get(name, name)]
        if name not in net.constants:
            assert same(after, before), name
            continue
        expected = before.double() * net.constants[name]
        assert after.dtype == before.dtype
        assert (after.double() - expected).abs().max() <= 1e-6 * expected.abs().max(), name


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_bake_changes_the_equalized_layers_alone(name: str, wrapping: str, tmp_path: Path, run_cli: Run) -> None:
    _, build, answers = BUILDERS[name]
    net, source, target = build(), tmp_path / "mixed.pt", tmp_path / "baked.pt"
    content = file_of(net, wrapping, source)
    result = run_cli("bake", source, target, *answers)
    assert result.code == 0, result.stderr
    after = torch.load(target, weights_only=True)
    check(net, after[wrapping], content[wrapping])
    for key, value in content.items():
        if key != wrapping:  # A namespace is written as the dict that it is, which torch loads without its class.
            assert same(after[key], vars(value) if isinstance(value, argparse.Namespace) else value), key
    state = after[wrapping]
    assert state["facenet.tied.weight"].data_ptr() == state["facenet.tied_again.weight"].data_ptr()
    assert run_cli("verify", source, target, *answers).code == 0


@pytest.mark.parametrize("name", MIXED)
def test_safetensors_there_and_back(name: str, tmp_path: Path, run_cli: Run) -> None:
    """Baked, equalized with stored constants, and baked again."""
    _, build, answers = BUILDERS[name]
    net, source = build(), tmp_path / "mixed.safetensors"
    extra = {key: tensor.numpy() for key, tensor in beside(net).items() if key != "facenet.tied_again.weight"}
    arrays = {**net.tensors, **extra}
    save_file(arrays, source, metadata={"run": "7"})
    baked, back, again = (tmp_path / f"{stem}.safetensors" for stem in ("baked", "back", "again"))
    result = run_cli("bake", source, baked, *answers)
    assert result.code == 0, result.stderr
    as_tensors = {key: torch.from_numpy(np.array(array)) for key, array in arrays.items()}
    check(net, {k: torch.from_numpy(v) for k, v in load_file(baked).items()}, as_tensors)
    result = run_cli("equalize", baked, back, "--exclude", "facenet.*")
    if result.code == 2 and "is no torch parameter called weight" in result.stderr:
        return
    assert result.code == 0, result.stderr
    assert run_cli("verify", baked, back).code == 0
    kept = load_file(back)
    for key, array in extra.items():
        assert same(torch.from_numpy(kept[key]), torch.from_numpy(np.array(array))), key
    assert run_cli("bake", back, again).code == 0
    assert run_cli("verify", baked, again).code == 0


@pytest.mark.parametrize("name", MIXED)
def test_a_conversion_is_refused_by_name_or_takes_the_generator(name: str, tmp_path: Path, run_cli: Run) -> None:
    _, build, answers = BUILDERS[name]
    source, target = tmp_path / "mixed.pt", tmp_path / "plain.pt"
    file_of(build(), "state_dict", source)
    result = run_cli("convert", source, target, "--to", "plain", *answers)
    assert result.code in (2, 3), result.stdout
    assert str(source) in result.stderr
    assert not target.exists()
