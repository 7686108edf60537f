"""The order of a rewritten state dict is torch's own, by which it numbers an optimizer's parameters."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from eqlr_tools import nn as equalized_nn
from eqlr_tools.rewriting.order import in_module_order

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


def test_state_of_a_parameter_in_no_group_is_carried_over(run_cli: Run, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 4))
    optimizer = torch.optim.Adam(module.parameters())
    module[0](torch.ones(3)).sum().backward()
    optimizer.step()
    saved = optimizer.state_dict()
    saved["state"][7] = {"step": torch.tensor(1.0), "exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}
    torch.save({"net": module.state_dict(), "optimizer": saved}, tmp_path / "plain.pt")
    result = run_cli("equalize", tmp_path / "plain.pt", tmp_path / "equalized.pt")
    assert (result.code, "no group" in result.stdout) == (0, True)
    state = torch.load(tmp_path / "equalized.pt", weights_only=True)["optimizer"]["state"]
    assert sorted(state) == [0, 1, 7]
    assert state[7]["exp_avg"].tolist() == [1.0, 1.0]
    assert state[0]["exp_avg"].shape == (4,)  # A parametrized weight comes behind its bias.


def test_many_layers_take_time_in_proportion() -> None:
    """Ten thousand layers took a minute when each was looked for among all."""
    keys = [f"l{number}.{leaf}" for number in range(20_000) for leaf in ("bias", "weight")]
    begin = time.process_time()
    order = in_module_order(keys, set(keys[1::2]))
    stored = [key.replace("weight", "parametrizations.weight.original") for key in order]
    assert order[:2] == ["l0.weight", "l0.bias"]
    assert in_module_order(stored, set(stored[::2]))[:2] == ["l0.bias", "l0.parametrizations.weight.original"]
    assert time.process_time() - begin < 5
