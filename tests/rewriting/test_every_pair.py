"""Every naming as a source, every family of its architecture as a target: converted, computed with, and taken back, or
refused with a sentence. Slow for a test, since it makes, reads and verifies some thousand files.

What goes along is compared as canonical parameters, read by the target's own rules, and by the images and scores that
these make in the code of the source; in the target's own code too where nothing says that it computes otherwise.
Optimizers are compared as what they are about: the gradient with respect to the canonical parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.checkpoints.optimizers import algorithm_of, optimizers_of
from eqlr_tools.checkpoints.parameter_order import assign
from eqlr_tools.errors import InexpressibleError
from eqlr_tools.families.catalogue import FAMILIES
from eqlr_tools.families.family import Family
from eqlr_tools.families.naming import Naming
from eqlr_tools.families.training import Training
from eqlr_tools.networks import doubling, progan, progan_discriminator, stylegan1, stylegan2
from eqlr_tools.rewriting.canonical import CanonicalNetwork, canonical_networks, relaid_like
from eqlr_tools.rewriting.carry_optimizer import is_parameter
from eqlr_tools.rewriting.convert import plan_convert
from eqlr_tools.rewriting.defaults import GROWTH
from eqlr_tools.rewriting.forms import FORMS
from eqlr_tools.rewriting.limits import ACCEPTABLE
from eqlr_tools.rewriting.plan import Plan
from eqlr_tools.rewriting.run import run
from eqlr_tools.rewriting.selection import Selection, recognise_all
from tests.canonical_files import RESOLUTION, depth_of, with_optimizer

ARCHITECTURES = ("stylegan1", "stylegan2", "progan", "bmsg-gan")
OTHERWISE = {"labml-stylegan2", "lucidrains-stylegan2"}
"""Known for export alone: their networks have other parameters."""
ELSEWHERE = {
    ("psp-encoder", "generator"),
    ("nvidia-stylegan-tf", "discriminator"),
    ("nvidia-stylegan3", "discriminator"),
    ("stylegan3-plain", "discriminator"),
    ("rms-progan-modules", "generator"),
    ("rms-progan-modules", "discriminator"),
    ("hammer-pggan", "generator"),
}
"""Recognised by more than their tensors: an encoder or a generator beside it, the function that a pickle names, the
scales that its modules state; or read as another family's, which has the same."""
OTHER_OUTPUTS = re.compile(r"must be|is .+ in its code and .+ there|here and .+ there|by the target's code|per layer")
"""Notes on what the target's code computes otherwise."""


@dataclass(frozen=True)
class Source:
    family: Family
    naming: Naming

    @property
    def targets(self) -> list[Family]:
        kind = (self.naming.architecture, self.naming.role)
        fitting = (f for f in FAMILIES if any((n.architecture, n.role) == kind for n in f.namings))
        # Which hold StyleGAN2's discriminators, and genforce's generator, as they are.
        shared = ("stylegan3-plain", "nvidia-stylegan3", *(["hammer-pggan"] if kind[1] == "generator" else []))
        return [family for family in fitting if family.id not in (self.family.id, *shared)]


def sources() -> Iterator[Any]:
    for family in FAMILIES:
        kinds: dict[Any, int] = {}
        layouts = set()
        for naming in family.namings:
            left_out = family.id in OTHERWISE or (family.id, naming.role) in ELSEWHERE
            if naming.architecture not in ARCHITECTURES or naming.role == "mapping" or left_out:
                continue
            if family.id == "adriansahlman-stylegan2" and naming.place == ("G_synthesis",):
                continue  # without its mapping network, which is a file's second
            layout = (naming.architecture, naming.role, *(slot.stored for slot in naming.slots(depth_of(naming))))
            if layout in layouts:
                continue  # those that differ from larger sizes on
            layouts.add(layout)
            number = kinds[naming.role] = kinds.get(naming.role, 0) + 1
            yield pytest.param(Source(family, naming), id=f"{family.id}-{naming.role}-{number}")


@pytest.mark.parametrize("source", list(sources()))
def test_every_pair(source: Source, tmp_path: Path) -> None:
    path = with_optimizer(source.family, source.naming, tmp_path)
    before = seen(path, source.family)
    assert before.naming == source.naming or same_tensors(before.naming, source.naming)
    for family in source.targets:
        there, back = tmp_path / "there.pt", tmp_path / "back.pt"
        plan, given_up = converted(path, source.family, family, there)
        if plan is None:
            continue
        after = seen(there, None)
        compare(before, after, plan, given_up=given_up)
        same_moments(path, before, there, after, plan)
        if not family.equalized and not source.naming.reads_only:
            assert converted(there, family, source.family, back)[0]
            same_stored(path, back, source)


def same_stored(path: Path, back: Path, source: Source) -> None:
    """What comes back from plain names is as it was, but for a rounding or two, under the names of the first layout."""
    (before,), (after,) = (open_checkpoint(file).networks for file in (path, back))
    together = before.tensors.keys() & after.tensors.keys()
    first = next(naming for naming in source.family.namings if naming.same_kind(source.naming))
    assert together or first != source.naming
    for name in together:
        ours, theirs = before.tensors[name].values(), after.tensors[name].values()
        if ours.shape == theirs.shape:  # fused or not is the target's choice
            np.testing.assert_allclose(theirs, ours, rtol=2.5e-7, atol=1.2e-7, err_msg=name)


def same_tensors(one: Naming, other: Naming) -> bool:
    """True for layouts that differ from some size on only."""
    return (one.architecture, one.role, one.form) == (other.architecture, other.role, other.form)


def recognised_as(family: Family) -> str | None:
    """The answer to what only the user can know; nothing else needs to be told."""
    return family.id if family.id in ("akanimax-progan", "rms-progan", "aladdin-stylegan", "aladdin-progan") else None


def seen(path: Path, family: Family | None) -> CanonicalNetwork:
    """The network in a file of this family; of one that eqlr wrote nothing has to be told."""
    (recognition,) = recognise_all(open_checkpoint(path), Selection(family=recognised_as(family) if family else None))
    return canonical_networks(recognition)[0]


def converted(path: Path, family: Family, to: Family, target: Path) -> tuple[Plan | None, bool]:
    """The plan that was carried out, and whether something had to be given up; None if it was refused for a reason."""
    selection = Selection(family=recognised_as(family))
    for accept in ((), ACCEPTABLE):
        try:
            plan = plan_convert(open_checkpoint(path), target, selection, to=to.id, accept=accept)
        except InexpressibleError as error:
            reason, hint = str(error), str(error.hint)
            if "--accept" not in hint:
                break
            continue
        run(plan, selection, force=True)
        return plan, bool(accept)
    assert re.search(rf"cannot be written as {to.id}: \w.+", reason), reason
    return None, False


def compare(before: CanonicalNetwork, after: CanonicalNetwork, plan: Plan, *, given_up: bool) -> None:
    """Parameters that both have are the same, and so are outputs."""
    folded = "synthesis.b4.conv0.bias" in before.parts and "synthesis.b4.conv0.bias" not in after.parts
    for name in before.parts.keys() & after.parts.keys():
        fresh = name.startswith("form.") or name.endswith(GROWTH) or name.rpartition(".")[2] in ("noise", "w_avg")
        if not (fresh or (folded and name == "synthesis.const")):
            np.testing.assert_allclose(after.values(name), before.values(name), rtol=5e-7, atol=2e-7, err_msg=name)
    expected = output(before, before)
    np.testing.assert_allclose(output(after, before), expected, atol=1e-5 * abs(expected).max())
    if not given_up and not any(OTHER_OUTPUTS.search(note) for note in plan.notes):
        np.testing.assert_allclose(output(after, after), expected, atol=1e-5 * abs(expected).max())


def output(network: CanonicalNetwork, code: CanonicalNetwork) -> np.ndarray:
    """What a network computes in another's code, with noise of its own strength and the same for both."""
    p = {name: network.values(name) for name in network.parts if not name.startswith("form.")}
    own = {name: code.values(name) for name in code.parts if name.startswith("form.")}
    naming, random = network.naming, np.random.default_rng(0)
    sizes = [1 << n for n in range(2, RESOLUTION.bit_length())]
    noise = {f"synthesis.b{r}.conv{n}": random.standard_normal((1, 1, r, r)) for r in sizes for n in (0, 1)}
    z = random.standard_normal((3, 7 if naming.architecture == "stylegan2" else 6))
    image = random.standard_normal((4, 3, RESOLUTION, RESOLUTION))
    if naming.architecture == "stylegan2":
        if naming.role == "discriminator":
            return stylegan2.discriminate(p, image)
        form = doubling.Form(**code.naming.form) if code.naming.form else doubling.ORIGINAL
        return stylegan2.synthesise(p, stylegan2.latents(p, z), noise=noise, form=form)
    if naming.architecture == "stylegan1":
        p["blur"] = code.values("blur")
        if naming.role == "discriminator":
            return stylegan1.discriminate(p, image, stylegan1.discriminator_form(code.naming.form, own))
        return stylegan1.generate(p, z, stylegan1.generator_form(code.naming.form, own), noise=noise)
    of_code = progan.formed(FORMS[naming.architecture, naming.role], code.form)
    if naming.role == "generator":
        return progan.generate(p, z, np.eye(3), form=of_code)
    if naming.architecture == "bmsg-gan":
        return progan_discriminator.discriminate_all(p, {8: image, 4: image[:, :, ::2, ::2]}, form=of_code)
    return progan_discriminator.discriminate(p, image, form=of_code)


def same_moments(path: Path, before: CanonicalNetwork, target: Path, after: CanonicalNetwork, plan: Plan) -> None:
    """Both optimizers know the same of the gradient of each parameter, and move it alike but for what was told."""
    said = " ".join(f"{drop.tensor}: {drop.reason}" for drop in plan.dropped)
    if not isinstance(before.naming.training, Training):
        return
    if isinstance(after.naming.training, str):
        assert after.naming.training in said
        return
    ours, theirs = gradients(path, before), gradients(target, after)
    told = " ".join(plan.notes)
    ratios = {rate.parameter: rate.step_ratio for rate in plan.rates}
    assert theirs, said
    for name, (first, second, rate) in ours.items():
        if name not in theirs:
            assert "no counterpart" in told or "without a state" in told, name
            continue
        np.testing.assert_allclose(theirs[name][0], first, rtol=2e-6, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(theirs[name][1], second, rtol=2e-6, atol=1e-14, err_msg=name)
        stored = after.parts[name].stored
        assert theirs[name][2] == pytest.approx(rate * ratios.get(stored, 1.0), rel=1e-4), name


def gradients(path: Path, network: CanonicalNetwork) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """By canonical parameter: Adam's two moments of its gradient, and the size of a step of it."""
    checkpoint = open_checkpoint(path)
    (optimizer,) = optimizers_of(checkpoint)
    algorithm = algorithm_of(optimizer)
    assert not isinstance(algorithm, str)
    parameters = {network.recognition.network.name: {p.stored for p in network.parts.values() if is_parameter(p.slot)}}
    assignment = assign(checkpoint, optimizer, algorithm, lambda net, name: name, parameters)
    assert assignment is not None
    keys = {names[0]: key for key, names in assignment.names.items()}
    rates = {key: group["lr"] for group in optimizer.groups for key in optimizer.keys(group)}
    found = {}
    for name, part in network.parts.items():
        key = keys.get(part.stored)
        state = optimizer.state.get(key, {})
        if state and is_parameter(part.slot) and not part.slot.spread:
            canonical = type(part.slot)(name, name)
            first, second = (
                relaid_like(part, canonical, state[moment]).values().astype(np.float64)
                for moment in ("exp_avg", "exp_avg_sq")
            )
            found[name] = first / part.scale, second / part.scale**2, rates[key] * part.scale
    return found


ALIKE = (
    {"nvidia-stylegan2-ada", "rosinality-stylegan2", "basicsr-stylegan2", "mmgen-stylegan2", "genforce-stylegan2"}
    | {"hammer-stylegan2", "stylegan2-torch"},
    {"genforce-stylegan", "hammer-stylegan", "interfacegan-stylegan", "huangzh13-stylegan"},
    {"genforce-pggan", "mmgen-pggan", "interfacegan-pggan", "fb-gan-zoo"},
)


@pytest.mark.parametrize("source", [case for case in sources() if "generator-1" in str(case.id)])
def test_projects_that_compute_alike_are_not_refused(source: Source, tmp_path: Path) -> None:
    path = with_optimizer(source.family, source.naming, tmp_path)
    plain = {f"{source.naming.architecture}-plain"} - {source.family.id}
    if source.family.id == "adriansahlman-stylegan2":
        return  # its enlarged images lie elsewhere, which not even plain names can say
    alike = next((group for group in ALIKE if source.family.id in group), set())
    for family in (family for family in source.targets if family.id in alike | plain):
        accept = ("noise", "smaller_sizes", "w_avg")
        selection = Selection(family=recognised_as(source.family))
        plan_convert(open_checkpoint(path), tmp_path / "there.pt", selection, to=family.id, accept=accept)
