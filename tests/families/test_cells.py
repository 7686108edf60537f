"""Each cell of `eqlr families`, tried: what it promises works, and what it denies is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from eqlr_tools.families.catalogue import FAMILIES
from eqlr_tools.families.family import Family
from eqlr_tools.families.registry import family_named
from eqlr_tools.reports.families import families_report
from tests.checkpoints.test_network_pickles import as_nvidia
from tests.conftest import Result
from tests.families.builders import BUILDERS, Built
from tests.families.edm2_network import edm2
from tests.families.test_own_families import FRIENDS
from tests.families.test_stated_layers import network, pickled
from tests.families.whole import Whole, save, stored_tree, whole_networks

__all__ = ["as_nvidia", "network"]

Run = Callable[..., Result]

ASKED = {"akanimax-progan": (), "rms-progan": ()}
"""Families that ask which one of two things a file is; naming them is the answer."""
BESIDE_PLAIN = {
    "stylegan1-plain": "genforce-stylegan",
    "stylegan2-plain": "rosinality-stylegan2",
    "stylegan3-plain": "mmgen-stylegan3",
    "progan-plain": "genforce-pggan",
    "bmsg-gan-plain": "akanimax-progan",
}
"""Where networks with canonical names go and come back from."""
NAMED = {family: ("--family", family) for family in ASKED}
WHOLE = whole_networks()
FIRST: dict[str, Whole] = {}
for each in WHOLE.values():
    FIRST.setdefault(each.family.id, each)
FALSE_FRIENDS = dict(reversed(FRIENDS.values()))
MODELS = {family: (build, answers) for family, build, answers in BUILDERS.values()}


def _imaginaire() -> Built:
    net = Built()
    for n, (o, i) in enumerate([(8, 6), (6, 8)]):
        path = f"down.{n}.layers.conv"
        net.scaled(f"{path}.weight_ori", (o, i, 3, 3), 1 / math.sqrt(9 * i))
        net.put(f"{path}.bias_ori", o)
        net.tensors[f"{path}.weight_scale"] = np.array(1 / math.sqrt(9 * i), np.float32)
        net.tensors[f"{path}.bias_scale"] = np.array(1.0, np.float32)
    return net


def _edm2() -> Built:
    net = Built()
    net.tensors.update({name: tensor.numpy() for name, tensor in edm2().state_dict().items()})
    return net


ALONE = {"imaginaire-scaledlr": _imaginaire, "nvidia-edm2": _edm2}


@pytest.fixture(scope="module")
def cells() -> dict[str, dict[str, Any]]:
    return {entry["id"]: entry for entry in families_report(FAMILIES).content["families"]}


@pytest.fixture(params=[family.id for family in FAMILIES])
def family(request: pytest.FixtureRequest) -> Family:
    return family_named(request.param)


@pytest.fixture
def model(family: Family, tmp_path: Path, run_cli: Run, request: pytest.FixtureRequest) -> Path:
    """A small network of the family: a whole one if it has names for one."""
    path = tmp_path / "model.safetensors"
    if family.id in BESIDE_PLAIN:
        near = BESIDE_PLAIN[family.id]
        source = save(stored_tree(FIRST[near]), tmp_path / "near.pt")
        assert run_cli("convert", source, path, "--to", family.id, *NAMED.get(near, ())).code == 0
        return path
    if family.id in FIRST:
        return save(stored_tree(FIRST[family.id]), tmp_path / "model.pt")
    if family.id == "nvidia-layers":
        request.getfixturevalue("as_nvidia")
        return pickled(request.getfixturevalue("network"), tmp_path / "model.pkl")
    if family.id == "torch-parametrize":
        plain = tmp_path / "plain.pt"
        torch.save(torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 4)).state_dict(), plain)
        assert run_cli("equalize", plain, path).code == 0
        return path
    if family.id in FALSE_FRIENDS:
        rng = np.random.default_rng(0)
        shapes = FALSE_FRIENDS[family.id]
        save_file({name: np.asarray(rng.standard_normal(s), np.float32) for name, s in shapes.items()}, path)
        return path
    build = ALONE[family.id] if family.id in ALONE else MODELS[family.id][0]
    save_file(build().tensors, path)
    return path


@pytest.fixture
def answers(family: Family) -> tuple[str, ...]:
    if family.id in ASKED:
        return ("--family", family.id)
    return tuple(MODELS[family.id][1]) if family.id in MODELS and family.id not in FIRST else ()


def test_read_and_written_plain(
    family: Family, model: Path, answers: tuple[str, ...], cells: dict[str, Any], tmp_path: Path, run_cli: Run
) -> None:
    (record,) = json.loads(run_cli("scan", model, "-f", "json").stdout)["checkpoints"]
    assert family.id in {network["layout"] for network in record["networks"]}
    told = json.loads(run_cli("explain", model, "-f", "json", *answers).stdout)
    layers = [layer for net in told["networks"] for layer in net["layers"] if net["layout"] == family.id]
    target = tmp_path / f"baked{'.safetensors' if model.suffix == '.pkl' else model.suffix}"
    result = run_cli("bake", model, target, *answers)
    if not cells[family.id]["baked"]:
        assert not any(layer["equalized"] for layer in layers)
        assert (result.code, target.exists()) == (3, False), result.stderr
        return
    assert any(layer["equalized"] and (layer["c"] or "row by row" in layer["formula"]) for layer in layers)
    assert result.code == 0, result.stderr
    assert run_cli("verify", model, target, *answers).code == 0
    (after,) = json.loads(run_cli("scan", target, "-f", "json").stdout)["checkpoints"]
    assert not any(network["equalized"] for network in after["networks"] if network["family"] == family.id)
    back = tmp_path / "back.safetensors"
    result = run_cli("equalize", target, back)
    if "keeps no row's size" in " ".join(result.stderr.split()):
        assert (result.code, family.id, back.exists()) == (2, "nvidia-edm2", False)
        return
    if result.code == 2:  # Names that torch's own convention cannot hold.
        assert "is no torch parameter called weight" in result.stderr
        result = run_cli("equalize", target, back, "--to", family.id)
    assert result.code == 0, result.stderr
    assert run_cli("verify", target, back, *answers).code == 0


def test_exported(family: Family, model: Path, answers: tuple[str, ...], cells: dict[str, Any], run_cli: Run) -> None:
    target = model.with_name("net.onnx")
    result = run_cli("export", model, target, *answers)
    wanted = 0 if cells[family.id]["exported"] else 2
    assert (result.code, target.exists()) == (wanted, wanted == 0), result.stderr


def _others(whole: Whole) -> Iterator[Whole]:
    """The same kind of network in families that are written."""
    for other in sorted(FAMILIES, key=lambda other: not other.id.endswith("-plain")):
        for naming in other.namings:
            if other.id != whole.family.id and naming.same_kind(whole.naming) and not naming.reads_only:
                yield Whole(other, naming)
                break


def _taken_over(run_cli: Run, answers: tuple[str, ...], whole: Whole, source: Path) -> bool:
    """True if some family takes it over; of those whose code computes something else, none can."""
    for other in _others(whole):
        target = source.with_name(f"{other.family.id}.pt")
        result = run_cli("convert", source, target, "--to", other.family.id, *answers)
        if result.code == 0:
            return _layouts(target, run_cli) == {other.family.id}
        assert (result.code, "cannot be written as" in result.stderr) == (2, True), result.stderr
    return False


def _layouts(path: Path, run_cli: Run) -> set[str | None]:
    (record,) = json.loads(run_cli("scan", path, "-f", "json").stdout)["checkpoints"]
    return {network["layout"] for network in record["networks"] if network["layout"]}


def test_converted(
    family: Family, model: Path, answers: tuple[str, ...], cells: dict[str, Any], tmp_path: Path, run_cli: Run
) -> None:
    """Into the layout that comes nearest to any, and back into the family's own; or one way, or none."""
    between, target = tmp_path / "between.pt", tmp_path / "target.pt"
    cell = cells[family.id]
    if cell["converted_to"]:
        assert cell["converted_from"]
        near = {"gfpgan-v1": "gfpgan-clean", "gfpgan-clean": "gfpgan-v1", **BESIDE_PLAIN}.get(family.id, "plain")
        result = run_cli("convert", model, between, "--to", near, *answers)
        assert result.code == 0, result.stderr
        result = run_cli("convert", between, target, "--to", family.id, *NAMED.get(near, ()))
        assert result.code == 0, result.stderr
        assert _layouts(target, run_cli) == {family.id}
        sides = (between, target) if near in ASKED else (target, between)  # --family speaks of the first.
        assert run_cli("verify", *sides, *NAMED.get(near, answers)).code == 0
        return
    plain = f"{family.architecture}-plain"
    source = save(stored_tree(FIRST[plain if plain in FIRST else "stylegan2-plain"]), between)
    result = run_cli("convert", source, target, "--to", family.id)
    assert (result.code, target.exists()) == (2, False), result.stdout
    kinds = [whole for whole in WHOLE.values() if whole.family.id == family.id]
    if cell["converted_from"]:
        sources = [model, *(save(stored_tree(whole), tmp_path / f"{n}.pt") for n, whole in enumerate(kinds[1:]))]
        assert any(map(partial(_taken_over, run_cli, answers), kinds, sources))
    else:
        assert not any(list(_others(whole)) for whole in kinds)
        result = run_cli("convert", model, target, "--to", "plain", *answers)
        assert result.code in (2, 3), result.stdout
