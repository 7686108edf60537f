"""What was written is read back whole: one changed byte anywhere among the weights, and there is no target."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import VerificationError
from eqlr_tools.rewriting import run as executor
from eqlr_tools.rewriting.bake import plan_bake
from eqlr_tools.rewriting.scale import Scale
from eqlr_tools.rewriting.selection import Selection

LAYERS, ROWS, COLUMNS = 3, 2100, 1024
"""Layers of more than one span each, all of them more than what is compared at once."""


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = {}
    for index in range(LAYERS):
        weight = torch.randn(ROWS, COLUMNS).to(getattr(torch, request.param))
        state[f"layer{index}.parametrizations.weight.original"] = weight
        state[f"layer{index}.parametrizations.weight.0.scale"] = torch.tensor(COLUMNS**-0.5)
    path = tmp_path_factory.mktemp("source") / "model.pt"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_changed_byte_is_found(
    source: Path, suffix: str, share: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = executor._write

    def write_and_change(plan: Any, file: Any, progress: Any) -> Any:
        pieces = write(plan, file, progress)
        size = os.fstat(file.fileno()).st_size
        place = int(size * share) // 4 * 4 + 3  # Sign and exponent of a number of either type.
        before = os.pread(file.fileno(), 1, place)
        os.pwrite(file.fileno(), bytes([before[0] ^ 0x40]), place)
        return pieces

    monkeypatch.setattr(executor, "_write", write_and_change)
    target = tmp_path / f"plain{suffix}"
    with pytest.raises(VerificationError, match="1 of 3 tensors differ"):
        executor.run(plan_bake(open_checkpoint(source), target, Selection()), Selection())
    assert list(tmp_path.iterdir()) == []


def test_a_copy_has_no_tolerance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bit of a bias, which no bake may change."""
    source, target = tmp_path / "model.pt", tmp_path / "plain.safetensors"
    state = {
        "layer.parametrizations.weight.original": torch.randn(8, 8),
        "layer.parametrizations.weight.0.scale": torch.tensor(8**-0.5),
        "layer.bias": torch.full((8,), 1.7),
    }
    torch.save(state, source)
    write = executor._write

    def write_and_change(plan: Any, file: Any, progress: Any) -> Any:
        pieces = write(plan, file, progress)
        content = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
        place = content.index(state["layer.bias"].numpy().tobytes())
        os.pwrite(file.fileno(), bytes([content[place] ^ 1]), place)
        return pieces

    monkeypatch.setattr(executor, "_write", write_and_change)
    with pytest.raises(VerificationError, match=r"layer\.bias"):
        executor.run(plan_bake(open_checkpoint(source), target, Selection()), Selection())
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_every_element_is_compared(source: Path, suffix: str, tmp_path: Path) -> None:
    """Exact products, and as many comparisons and elements as the file has."""
    target = tmp_path / f"plain{suffix}"
    result = executor.run(plan_bake(open_checkpoint(source), target, Selection()), Selection()).verification
    assert [comparison.elements for comparison in result.comparisons] == [ROWS * COLUMNS] * LAYERS
    assert result.passed
    assert result.max_ulp == 0


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_another_constant_is_found(source: Path, suffix: str, tmp_path: Path) -> None:
    """What was written reads back, but it is not what recognition says that the layers apply."""
    plan = plan_bake(open_checkpoint(source), tmp_path / f"plain{suffix}", Selection())
    name = "layer1.weight"
    output = plan.tree[name]
    assert output.transform is not None
    tree = {**plan.tree, name: replace(output, transform=Scale(multiply=output.transform.factor * (1 + 2**-6)))}
    with pytest.raises(VerificationError, match=r"1 of 3 tensors differ, first .*layer1\.weight"):
        executor.run(replace(plan, tree=tree), Selection())
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_leads_elsewhere_is_found(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte is as it was written, but two names of the header are exchanged."""
    write = executor._write

    def write_and_exchange(plan: Any, file: Any, progress: Any) -> Any:
        pieces = write(plan, file, progress)
        header = os.pread(file.fileno(), int.from_bytes(os.pread(file.fileno(), 8, 0), "little"), 8)
        exchanged = header.replace(b'"layer0.', b'"layerX.').replace(b'"layer2.', b'"layer0.')
        os.pwrite(file.fileno(), exchanged.replace(b'"layerX.', b'"layer2.'), 8)
        return pieces

    monkeypatch.setattr(executor, "_write", write_and_exchange)
    with pytest.raises(VerificationError, match="2 of 3 tensors differ"):
        executor.run(plan_bake(open_checkpoint(source), tmp_path / "plain.safetensors", Selection()), Selection())
    assert list(tmp_path.iterdir()) == []
