"""Audits for the tests of reports: the JSON of a real audit of tensors made up for the purpose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.ranges.audit import audit_networks
from eqlr_tools.reports.audit import audit_json
from eqlr_tools.rewriting.selection import Selection, recognise_all

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">"


def state(**layers: torch.Tensor) -> dict[str, torch.Tensor]:
    """A plain network with one linear layer for each tensor; `a__b` names the layer a.b."""
    return {f"{name.replace('__', '.')}.weight": tensor for name, tensor in layers.items()}


def normal(rows: int, columns: int, size: float = 1.0, seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).standard_normal((rows, columns)) * size
    return torch.from_numpy(values.astype(np.float32))


def audit_of(path: Path) -> dict[str, Any]:
    """The JSON of `eqlr audit PATH`."""
    recognitions = recognise_all(open_checkpoint(path), Selection())
    content = audit_json([(path, audit_networks(recognitions, jobs=1))])
    read: dict[str, Any] = json.loads(json.dumps(content))
    return read


def audit_of_state(tensors: dict[str, torch.Tensor], path: Path) -> dict[str, Any]:
    """The JSON of an audit of these tensors, saved to a file."""
    torch.save(tensors, path)
    return audit_of(path)
