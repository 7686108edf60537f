"""The order of a rewritten state dict is torch's own, by which it numbers an optimizer's parameters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eqlr_tools import nn as equalized_nn

Run = Callable[..., Any]


class _Modulated(nn.Conv2d):
    """A convolution with a layer inside, as StyleGAN2 has it."""

    def __init__(self) -> None:
        super().__init__(3, 4, 3)
        self.modulation = nn.Linear(5, 3)


def _networks() -> dict[str, nn.Module]:
    return {
        "nested": nn.Sequential(OrderedDict(a=nn.Linear(2, 3), conv=_Modulated(), last=nn.Linear(4, 2, bias=False))),
        "single": nn.Linear(4, 3),
        "outermost": _Modulated(),
    }


@pytest.mark.parametrize("name", list(_networks()))
def test_keys_and_moments_stand_where_torch_puts_them(run_cli: Run, tmp_path: Path, name: str) -> None:
    module = _networks()[name]
    optimizer = torch.optim.Adam(module.parameters())
    sum(parameter.square().sum() for parameter in module.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    torch.save({"net": module.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "plain.pt")
    assert run_cli("equalize", tmp_path / "plain.pt", tmp_path / "equalized.pt").code == 0
    assert run_cli("bake", tmp_path / "equalized.pt", tmp_path / "baked.pt").code == 0
    for file, expected in (("equalized.pt", equalized_nn.equalize(_networks()[name])), ("baked.pt", module)):
        found = torch.load(tmp_path / file, weights_only=True)
        assert list(found["net"]) == list(expected.state_dict())
        shapes = [moments["exp_avg"].shape for _, moments in sorted(found["optimizer"]["state"].items())]
        assert shapes == [parameter.shape for parameter in expected.parameters()]
