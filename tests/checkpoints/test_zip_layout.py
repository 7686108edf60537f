"""Archives beyond 32 bits, made small: the limit from which ZIP64 is written is lowered, real readers read them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from eqlr_tools.checkpoints import zip_layout
from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.checkpoints.outputs import Output, constant_tensor
from eqlr_tools.checkpoints.torch_writer import write_torch_zip


@pytest.mark.parametrize("limit", [100, 1000, 5000])
def test_zip64_is_read_by_everyone(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes, positions and the directory itself beyond the limit, in different mixtures."""
    monkeypatch.setattr(zip_layout, "_LARGE", limit)
    arrays = {f"layer{i}.weight": np.random.default_rng(i).normal(size=(n, 8)) for i, n in enumerate((1, 30, 200, 2))}
    tree = {name: Output(constant_tensor(values, "F32")) for name, values in arrays.items()}
    path = tmp_path / "x.pt"
    with open(path, "x+b", buffering=0) as file:
        write_torch_zip(file, tree, {"tool": "test"}, lambda _: None)
    assert b"PK\x06\x06" in path.read_bytes()[-200:], "the directory's end has its ZIP64 form"
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    tensors = open_checkpoint(path).networks[0].tensors
    loaded = torch.load(path, weights_only=True)
    for name, values in arrays.items():
        expected = values.astype(np.float32)
        assert tensors[name].bits().tobytes() == expected.tobytes()
        assert np.array_equal(loaded[name].numpy(), expected)
