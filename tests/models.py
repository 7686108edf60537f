"""Small networks in real layouts, with random weights, for tests that need no oracle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch


def aladdin_state(seed: int = 0, channels: int = 16) -> dict[str, torch.Tensor]:
    """The layout of aladdinpersson's ProGAN generator: one plain layer, one layer under two names."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    state = {"initial.1.weight": normal(8, channels, 4, 4) * 0.05, "initial.1.bias": normal(channels)}
    for path, shape in {
        "initial.3": (channels, channels, 3, 3),
        "initial_rgb": (3, channels, 1, 1),
        "prog_blocks.0.conv1": (channels, channels, 3, 3),
        "prog_blocks.0.conv2": (channels, channels, 3, 3),
        "rgb_layers.1": (3, channels, 1, 1),
    }.items():
        state[f"{path}.bias"] = normal(shape[0])
        state[f"{path}.conv.weight"] = normal(*shape)
    state["rgb_layers.0.bias"] = state["initial_rgb.bias"]
    state["rgb_layers.0.conv.weight"] = state["initial_rgb.conv.weight"]
    return state


def progan_file(path: Path, seed: int = 0, **extra: Any) -> Path:
    """A training checkpoint around `aladdin_state`, with a namespace, a counter and an optimizer."""
    state = aladdin_state(seed)
    weight = torch.nn.Parameter(state["initial.3.conv.weight"].clone())
    optimizer = torch.optim.Adam([weight], lr=1e-3, betas=(0.0, 0.99))
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    args = argparse.Namespace(size=16, name="digits", betas=(0.0, 0.99))
    content = {"state_dict": state, "optimizer": optimizer.state_dict(), "epoch": 7, "args": args, **extra}
    torch.save(content, path)
    return path


def plain_model() -> torch.nn.Module:
    """Layers of every kind that `equalize` takes, and of every kind that it must leave alone."""
    torch.manual_seed(0)
    return torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(10, 6),
            "conv1": torch.nn.Conv1d(3, 5, 3),
            "conv2": torch.nn.Conv2d(3, 4, 3),
            "conv3": torch.nn.Conv3d(2, 3, 2),
            "up": torch.nn.ConvTranspose2d(6, 4, 4),
            "norm": torch.nn.BatchNorm2d(4),
            "fc": torch.nn.Linear(12, 7),
            "head": torch.nn.Linear(7, 2, bias=False),
        }
    )
