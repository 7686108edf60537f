"""Whole networks of every naming, stored as its slots say, with an optimizer that has made steps where one is kept.

`drawn` draws canonical parameters, `stored` writes them by the inverse of what reading does, in numpy. What the slots
say is checked elsewhere, against files written from the facts; here it is taken for granted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eqlr_tools.families.family import Family, Overrides
from eqlr_tools.families.naming import Depth, Naming, Slot
from eqlr_tools.families.training import Training
from eqlr_tools.networks import progan, progan_discriminator, stylegan1, stylegan2
from eqlr_tools.rewriting.canonical import stored_scales
from eqlr_tools.rewriting.carry_optimizer import parameters_of_target
from eqlr_tools.rewriting.convert import _Shapes
from tests import stylegan1_files

Arrays = dict[str, np.ndarray]
RESOLUTION = 8
WIDTHS = {4: 6, 8: 5}
LR = 0.01
_ADAM = {"betas": (0.0, 0.99), "eps": 1e-8, "weight_decay": 0, "amsgrad": False}
RATE = 0.002


class _Draws:
    def __init__(self, seed: int) -> None:
        self.rng, self.p = np.random.default_rng(seed), Arrays()

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape)

    def layer(self, name: str, out: int, into: int, *kernel: int, mean: float = 0.0) -> None:
        self.p[f"{name}.weight"] = self.normal(out, into, *kernel) / math.sqrt(into * math.prod(kernel))
        self.p[f"{name}.bias"] = mean + 0.2 * self.normal(out)


def _stylegan2_generator(structure: str) -> Arrays:
    draw, into = _Draws(0), WIDTHS[4]
    for number in range(2):
        draw.layer(f"mapping.fc{number}", 7, 7)
    draw.p |= {"mapping.w_avg": 0.1 * draw.normal(7), "synthesis.const": draw.normal(into, 4, 4)}
    draw.p["fir"] = stylegan2.FIR
    for size, width in WIDTHS.items():
        for name in ("conv0", "conv1")[size == 4 :]:
            layer = f"synthesis.b{size}.{name}"
            draw.layer(layer, width, into, 3, 3)
            draw.layer(f"{layer}.style", into, 7, mean=1.0)
            draw.p |= {f"{layer}.noise_strength": np.array(0.3), f"{layer}.noise": draw.normal(size, size)}
            into = width
        if structure == "resnet" and size > 4:
            draw.p[f"synthesis.b{size}.skip.weight"] = 0.4 * draw.normal(width, WIDTHS[size // 2], 1, 1)
        if structure in ("", "skip") or size == RESOLUTION:
            draw.layer(f"synthesis.b{size}.torgb", 3, width, 1, 1)
            draw.layer(f"synthesis.b{size}.torgb.style", width, 7, mean=1.0)
    return draw.p


def _discriminator(skips: bool, everywhere: bool, more: int = 0) -> Arrays:
    """With from-RGB layers of every size or of the largest; `more` as wide where features of smaller images come in."""
    draw = _Draws(1)
    for size, width in reversed(WIDTHS.items()):
        if everywhere or size == RESOLUTION:
            draw.layer(f"b{size}.fromrgb", width, 3, 1, 1)
        if size > 4:
            draw.layer(f"b{size}.conv0", width, width, 3, 3)
            draw.layer(f"b{size}.conv1", WIDTHS[size // 2], width, 3, 3)
            if skips:
                draw.p[f"b{size}.skip.weight"] = 0.4 * draw.normal(WIDTHS[size // 2], width, 1, 1)
    draw.layer("b4.conv", 6, 7 + more, 3, 3)
    draw.layer("b4.fc", 6, 96)
    draw.layer("b4.out", 1, 6)
    return draw.p


def _progan_generator(names: set[str]) -> Arrays:
    draw, into = _Draws(2), WIDTHS[4]
    draw.layer("b4.input", 16 * into, 6 + 2 * ("b4.label.weight" in names))
    draw.p["b4.input.bias"] = 0.2 * draw.normal(into)
    for layer in ("b4.conv0", "b4.conv"):
        if f"{layer}.weight" in names:
            draw.layer(layer, into, into, 3, 3)
    if "b4.label.weight" in names:
        draw.p["b4.label.weight"] = draw.normal(3, 2)
    if "b4.input.bias_map" in names and "b4.input.bias" not in names:
        draw.p["b4.input.bias_map"] = np.repeat(draw.p.pop("b4.input.bias"), 16)
    for size, width in WIDTHS.items():
        if size > 4:
            draw.layer(f"b{size}.conv0", width, into, 3, 3)
            draw.layer(f"b{size}.conv1", width, width, 3, 3)
        draw.layer(f"b{size}.torgb", 3, width, 1, 1)
        into = width
    return draw.p


def _progan_discriminator(names: set[str], multiscale: bool) -> Arrays:
    p = _discriminator(False, True, WIDTHS[4] if multiscale else 0)
    if "b4.conv.weight" not in names:
        draw = _Draws(3)
        draw.layer("b4.unused", 6, 6, 3, 3)
        draw.layer("b4.fc", 6, 16 * 7)
        p = {name: value for name, value in p.items() if not name.startswith("b4.conv")} | draw.p
    return p


def depth_of(naming: Naming) -> Depth:
    return Depth(RESOLUTION, 2 if naming.role == "generator" else 0)


def drawn(naming: Naming) -> Arrays:
    """Canonical parameters of a network that the naming has names for."""
    names = {slot.canonical for slot in naming.slots(depth_of(naming))}
    generator, structure = naming.role == "generator", naming.structure
    if naming.architecture == "stylegan2":
        return (
            _stylegan2_generator(structure)
            if generator
            else _discriminator(structure == "", structure == "skip") | {"fir": stylegan2.FIR}
        )
    if naming.architecture == "stylegan1":
        p = (
            stylegan1_files.network(RESOLUTION, uniform_noise=True)
            if generator
            else stylegan1_files.discriminator(RESOLUTION)
        )
        blur = stylegan1.BLUR if "blur" in names else naming.implied["blur"]
        return {name: value for name, value in p.items() if name in names} | {"blur": blur}
    p = _progan_generator(names) if generator else _progan_discriminator(names, naming.architecture == "bmsg-gan")
    return {name: value for name, value in p.items() if name in names}


_FIXED = {"lod": np.zeros(()), "mean": np.full((2, 2), 0.25), "every_size": np.ones(())}


def stored(family: Family, naming: Naming, p: Mapping[str, np.ndarray]) -> tuple[Arrays, Arrays]:
    """The tensors of the network, and those that lie beside it, as the family's code would have saved them."""
    inside, outside, halves = Arrays(), Arrays(), dict[str, list[np.ndarray]]()
    for slot in naming.slots(depth_of(naming)):
        value = p.get(slot.canonical, _FIXED.get(slot.canonical))
        if value is None or (slot.read_only and slot.stored != "truncation.truncation"):
            assert slot.optional or slot.read_only, slot.canonical
            continue
        array = _arranged(slot, value)
        array = np.repeat(array, len(p[slot.repeats]), axis=0) if slot.repeats else array
        if slot.part[1] > 1:
            halves.setdefault(slot.stored, []).append(array)
            if len(halves[slot.stored]) < slot.part[1]:
                continue
            how = slot.arrangement(array.ndim)
            array = np.concatenate(halves[slot.stored], axis=how.left.index(how.right[0]))
        (outside if slot.outside else inside)[slot.stored] = array
    constants = _constants(family, naming, inside)
    inside = {name: (array / constants.get(name, 1.0)).astype(np.float32) for name, array in inside.items()}
    return inside | _forms(naming), {name: array.astype(np.float32) for name, array in outside.items()}


def _arranged(slot: Slot, value: np.ndarray) -> np.ndarray:
    array = np.asarray(value, np.float64)[: 1 if slot.spread else None] if value.ndim else np.asarray(value, np.float64)
    array = (array - slot.add) / slot.factor(value.shape)
    how = slot.arrangement(array.ndim).inverse
    sizes = how.sizes(array.shape)
    assert sizes is not None, slot
    return how.apply(array, sizes)


def _constants(family: Family, naming: Naming, tensors: Arrays) -> dict[str, float]:
    if not family.equalized:
        return {}
    if naming.constant is not None:
        return _stored_constants(naming, tensors)
    view = _Shapes({name: array.shape for name, array in tensors.items()}, LR)
    return stored_scales(family.layers(view, "", Overrides(lr_multiplier=LR)))


def _stored_constants(naming: Naming, tensors: Arrays) -> dict[str, float]:
    """The constants of families that keep them in their files, put beside their weights."""
    assert naming.constant is not None
    shapes = {name: array.shape for name, array in tensors.items() if array.ndim > 1}
    found = {name: naming.constant(name, shape) for name, shape in shapes.items()}
    kept = {name: constant for name, constant in found.items() if constant is not None}
    tensors |= {constant.stored: np.full(constant.shape, constant.value) for constant in kept.values()}
    return {name: float(np.float32(constant.value)) for name, constant in kept.items()}


def _forms(naming: Naming) -> Arrays:
    kinds: dict[str, Any] = {"generator": progan.Form, "discriminator": progan_discriminator.Form}
    values = asdict(kinds[naming.role]()) if naming.keeps_form else {}
    return {f"form.{name}": np.float32(value) for name, value in values.items()}


def with_optimizer(family: Family, naming: Naming, folder: Path) -> Path:
    """A file that holds the network, and an optimizer that has made steps if the project keeps one."""
    inside, outside = stored(family, naming, drawn(naming))
    path = folder / f"{family.id}.pt"
    tree: dict[str, Any] = {name: torch.from_numpy(np.array(array)) for name, array in outside.items()}
    training = naming.training if isinstance(naming.training, Training) else None
    place = (*training.root, *naming.place) if training else naming.ema_place or naming.place
    *parents, last = place
    prefix = last if last.endswith(".") else ""
    node = tree
    for key in parents if not prefix else parents[:-1]:
        node = node.setdefault(key, {})
    tensors = {prefix + name: torch.from_numpy(np.array(array)) for name, array in inside.items()}
    if training:
        order = [slots[0].stored for slots in parameters_of_target(naming, _written(naming, inside))]
        rest = [name for name in inside if name not in order]
        tensors = {prefix + name: tensors[prefix + name] for name in (*order, *rest)}
        _put(tree, training.state, _optimizer(training, [tensors[prefix + name] for name in order], order))
    node[parents[-1] if prefix else last] = tensors
    if (family.id, naming.architecture) == ("akanimax-progan", "progan"):
        node["conf"] = {"use_eql": True}  # without it, and with the same names, it would be a BMSG-GAN
    torch.save(tree, path)
    return path


def _written(naming: Naming, inside: Arrays) -> list[Slot]:
    return [slot for slot in naming.slots(depth_of(naming)) if slot.stored in inside]


def _put(tree: dict[str, Any], place: tuple[str | int, ...], state: Any) -> None:
    if isinstance(place[-1], int):
        tree[str(place[0])] = [state]
        return
    for key in place[:-1]:
        tree = tree.setdefault(str(key), {})
    tree[str(place[-1])] = state


def _optimizer(training: Training, tensors: list[torch.Tensor], names: list[str]) -> dict[str, Any]:
    """Adam as torch saves it, every parameter with moments of its own, and the mapping network slower where alone."""
    places = [number if training.one_by_one else training.group_of(name) for number, name in enumerate(names)]
    ranked = sorted(range(len(names)), key=lambda number: places[number])
    torch.manual_seed(len(names))
    state = {}
    for number, index in enumerate(ranked):
        moments = torch.randn_like(tensors[index]), torch.rand_like(tensors[index]) + 0.1
        state[number] = {"step": torch.tensor(2.0), "exp_avg": moments[0], "exp_avg_sq": moments[1]}
    groups = []
    for place in sorted(set(places)):
        settings = training.groups[place - 1].settings if training.groups and place else {}
        rate = RATE * (0.01 if training.groups and place else 1.0)
        members = [number for number, index in enumerate(ranked) if places[index] == place]
        groups.append({"lr": rate, **_ADAM, **settings, "params": members})
    return {"state": state, "param_groups": groups}
