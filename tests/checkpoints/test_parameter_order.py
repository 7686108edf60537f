"""Numbers of an optimizer to parameters of a network: what is certain, what is not, and that it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.checkpoints.optimizers import algorithm_of, optimizers_of
from eqlr_tools.checkpoints.parameter_order import align, assign
from eqlr_tools.errors import AmbiguousError
from tests.conftest import Result


def brute_force(groups: list[list[Any]], tensors: list[Any]) -> list[list[set[int]]] | None:
    """All readings by trying every choice for every tensor."""
    found: list[list[set[int]]] = [[set() for _ in group] for group in groups]
    hits = 0

    def go(place: int, taken: tuple[tuple[int, ...], ...]) -> None:
        nonlocal hits
        if place == len(tensors):
            if all(len(mine) == len(group) for mine, group in zip(taken, groups, strict=True)):
                hits += 1
                for group, mine in enumerate(taken):
                    for index, tensor in enumerate(mine):
                        found[group][index].add(tensor)
            return
        go(place + 1, taken)
        for group, mine in enumerate(taken):
            if len(mine) < len(groups[group]) and groups[group][len(mine)] in (None, tensors[place]):
                go(place + 1, (*taken[:group], (*mine, place), *taken[group + 1 :]))

    go(0, ((),) * len(groups))
    return found if hits else None


shapes = st.sampled_from([(1,), (2,), (2, 3)])


@given(
    st.lists(shapes, min_size=1, max_size=6),
    st.lists(st.lists(st.one_of(st.none(), shapes), min_size=1, max_size=3), min_size=1, max_size=2),
)
def test_align_finds_every_reading(tensors: list[Any], groups: list[list[Any]]) -> None:
    assert align(groups, tensors) == brute_force(groups, tensors)


def saved(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: bool = True) -> Path:
    if step:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
    return path


def names(path: Path, meaning: Callable[[Any, str], Any] = lambda network, name: name) -> dict[Any, str]:
    checkpoint = open_checkpoint(path)
    (optimizer,) = optimizers_of(checkpoint)
    algorithm = algorithm_of(optimizer)
    assert not isinstance(algorithm, str)
    found = assign(checkpoint, optimizer, algorithm, meaning)
    assert found is not None
    return {key: options[0] for key, options in found.names.items()}


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 4))


def test_buffers_do_not_count(tmp_path: Path) -> None:
    net = model()
    found = names(saved(tmp_path / "a.pt", net, torch.optim.Adam(net.parameters())))
    assert list(found.values()) == [name for name, _ in net.named_parameters()]


@pytest.mark.parametrize(
    "split",
    [
        lambda name, parameter: name.startswith("2."),
        lambda name, parameter: name.endswith("bias"),
        lambda name, parameter: parameter.ndim < 2,
        lambda name, parameter: name.startswith(("2.", "3.")),
    ],
)
def test_two_groups_that_people_make(split: Callable[[str, Any], bool], tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 6), nn.Linear(6, 4), nn.Linear(4, 4))
    inside = [(name, p) for name, p in net.named_parameters() if split(name, p)]
    outside = [(name, p) for name, p in net.named_parameters() if not split(name, p)]
    groups = [{"params": [p for _, p in outside]}, {"params": [p for _, p in inside], "lr": 1e-5}]
    found = names(saved(tmp_path / "a.pt", net, torch.optim.Adam(groups)))
    assert list(found.values()) == [name for name, _ in (*outside, *inside)]


def test_names_in_the_file_decide(tmp_path: Path) -> None:
    net = model()
    groups = [{"params": list(reversed(list(net.named_parameters())))}]
    found = names(saved(tmp_path / "a.pt", net, torch.optim.Adam(groups)))
    assert list(found.values()) == [name for name, _ in net.named_parameters()][::-1]


def test_a_part_that_could_be_another_is_ambiguous(tmp_path: Path) -> None:
    net = model()
    path = saved(tmp_path / "a.pt", net, torch.optim.Adam(net[3].parameters()))
    with pytest.raises(AmbiguousError, match="can be"):
        names(path)
    assert names(path, lambda network, name: "all alike")


def test_frozen_layers_are_found_by_shape(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 7))
    found = names(saved(tmp_path / "a.pt", net, torch.optim.SGD(net[1].parameters(), lr=0.1, momentum=0.9)))
    assert list(found.values()) == ["1.weight", "1.bias"]


def test_each_optimizer_finds_its_network(tmp_path: Path) -> None:
    """The averaged copy has the generator's shapes, but nothing trains it."""
    g, d = nn.Sequential(nn.Linear(4, 4)), nn.Sequential(nn.Linear(4, 4))
    optimizers = {name: torch.optim.Adam(net.parameters()) for name, net in (("g_optim", g), ("d_optim", d))}
    content = {"g_ema": g.state_dict(), "d": d.state_dict(), "g": g.state_dict()}
    torch.save(content | {name: o.state_dict() for name, o in optimizers.items()}, tmp_path / "a.pt")
    checkpoint = open_checkpoint(tmp_path / "a.pt")
    for optimizer in optimizers_of(checkpoint):
        algorithm = algorithm_of(optimizer)
        assert not isinstance(algorithm, str)
        found = assign(checkpoint, optimizer, algorithm, lambda network, name: (network.name, name))
        assert found is not None
        assert found.network.name == optimizer.name[0]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda p: torch.optim.Adadelta(p), "Adadelta"),
        (lambda p: torch.optim.Rprop(p), "Rprop"),
        (lambda p: torch.optim.ASGD(p), "ASGD"),
        (lambda p: torch.optim.Adafactor(p), "Adafactor"),
    ],
)
def test_no_map_is_said_and_refused(
    make: Callable[[Any], torch.optim.Optimizer], reason: str, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    path = saved(tmp_path / "a.pt", net, make(net.parameters()))
    result = run_cli("equalize", path, tmp_path / "b.pt")
    assert result.code == 2
    assert reason in result.stderr
    assert "--drop-optimizer" in result.stderr
    assert not (tmp_path / "b.pt").exists()
    result = run_cli("equalize", path, tmp_path / "b.pt", "--drop-optimizer")
    assert result.code == 0
    assert list(torch.load(tmp_path / "b.pt", weights_only=True)) == ["model"]
