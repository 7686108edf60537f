"""Optimizer objects inside a pickle become the state dicts that they would have written, each its own."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from eqlr_tools.checkpoints.opening import open_checkpoint


def test_each_of_many_optimizers_has_its_own_groups(tmp_path: Path) -> None:
    sizes = range(1, 9)
    optimizers = {}
    for size in sizes:
        module = nn.Sequential(*(nn.Linear(2, 2) for _ in range(size)))
        optimizers[f"optimizer_{size}"] = torch.optim.Adam(module.parameters(), lr=size / 100)
        module(torch.ones(2)).sum().backward()
        optimizers[f"optimizer_{size}"].step()
    torch.save(optimizers, tmp_path / "objects.pt")
    tree = open_checkpoint(str(tmp_path / "objects.pt")).tree
    for size in sizes:
        found = tree[f"optimizer_{size}"]
        assert list(found["state"]) == found["param_groups"][0]["params"] == list(range(2 * size))
        assert found["param_groups"][0]["lr"] == size / 100
