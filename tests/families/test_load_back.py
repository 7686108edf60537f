"""A baked file loads strictly into the project's own network with its equalization switched off, and computes the same.

Every network here is written once more from the facts (`switched/`), with the switch and the original names.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.families.family import Family
from eqlr_tools.families.registry import FAMILIES, recognise
from tests.conftest import ROOT, Result
from tests.families.switched import bilinear, hooked, progan, stylegan1, stylegan2

Run = Callable[..., Result]
State = dict[str, Tensor]
PAGE = ROOT / "docs" / "loading-back.md"


def recipe() -> Callable[[Any], Any]:
    """The function in the documentation that takes the hooks off mmgeneration's networks."""
    names: dict[str, Any] = {}
    code = re.search(r"```python\n(def without_equalized_lr.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    exec(code[1], names)
    return names["without_equalized_lr"]


@dataclass(frozen=True)
class Case:
    """A network with and without its constants, how the project's files nest it, and what it is given.

    `after` is what a user does with the loaded network, `before` what is done to it before loading.
    """

    make: Callable[[bool], nn.Module]
    nested: Callable[[State], Any] = lambda state: state
    inner: Callable[[Any], State] = lambda file: file
    image: bool = False
    options: tuple[str, ...] = ("--to", "original")
    before: Callable[[nn.Module], Any] = lambda network: network
    after: Callable[[nn.Module], Any] = lambda network: network

    def given(self) -> Tensor:
        return torch.randn(4, 3, 8, 8) if self.image else torch.randn(4, progan.Z)


def under(*keys: str, beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The two directions of a state dict that stands below these keys."""

    def nested(state: State) -> Any:
        file: Any = state
        for key in reversed(keys):
            file = {**(beside or {}), key: file} if key == keys[0] else {key: file}
        return file

    def inner(file: Any) -> State:
        for key in keys:
            file = file[key]
        return file

    return {"nested": nested, "inner": inner}


def prefixed(prefix: str) -> dict[str, Any]:
    """As mmcv writes: all networks in one state dict, and a schedule beside it."""

    def nested(state: State) -> Any:
        return {"meta": {"iter": 9}, "state_dict": {prefix + name: tensor for name, tensor in state.items()}}

    def inner(file: Any) -> State:
        assert file["meta"] == {"iter": 9}
        return {name.removeprefix(prefix): tensor for name, tensor in file["state_dict"].items()}

    return {"nested": nested, "inner": inner}


def akanimax(role: str) -> dict[str, Any]:
    two = under(role, "state_dict")

    def nested(state: State) -> Any:
        return {role: {"conf": {"use_eql": True}, "state_dict": state}}

    def inner(file: Any) -> State:
        assert file[role]["conf"] == {"use_eql": False}, "its loader constructs the network from this"
        return two["inner"](file)

    return {"nested": nested, "inner": inner}


def zoo(name: str) -> dict[str, Any]:
    def nested(state: State) -> Any:
        return {"config": {"equalizedlR": True, "depthScale0": 12}, name: state}

    def inner(file: Any) -> State:
        assert file["config"] == {"equalizedlR": False, "depthScale0": 12}
        return file[name]

    return {"nested": nested, "inner": inner}


TOLD = ("--to", "original", "--family", "akanimax-progan")


def hooks_off(network: nn.Module) -> nn.Module:
    return recipe()(network)


CASES = {
    "akanimax 3": Case(progan.Akanimax, **akanimax("shadow_generator")),
    "akanimax 3, classes": Case(progan.AkanimaxCritic, image=True, **akanimax("discriminator")),
    "akanimax 2": Case(lambda on: progan.Akanimax(on, older=True), options=TOLD),
    "bmsg": Case(lambda on: nn.DataParallel(progan.Akanimax(on)), options=TOLD),
    "bmsg, discriminator": Case(progan.BmsgCritic, image=True, options=TOLD),
    "gan zoo": Case(progan.Zoo, **zoo("avgG")),
    "gan zoo, discriminator": Case(progan.ZooCritic, image=True, **zoo("netD")),
    "genforce pggan": Case(lambda on: progan.GenforcePggan(on, fused=False), **under("generator_smooth")),
    "genforce pggan, fused": Case(lambda on: progan.GenforcePggan(on, fused=True), **under("models", "generator")),
    "genforce pggan, discriminator": Case(progan.GenforcePgganCritic, image=True, **under("discriminator")),
    "genforce stylegan": Case(stylegan1.Genforce, **under("generator_smooth")),
    "genforce stylegan, discriminator": Case(stylegan1.GenforceCritic, image=True, **under("discriminator")),
    "genforce stylegan2-ada": Case(stylegan2.Genforce, **under("generator_smooth")),
    "genforce stylegan2-ada, discriminator": Case(stylegan2.GenforceCritic, image=True, **under("discriminator")),
    "hammer": Case(stylegan2.Hammer, **under("models", "generator_smooth")),
    "hammer, discriminator": Case(stylegan2.HammerCritic, image=True, **under("models", "discriminator")),
    "huangzh13": Case(stylegan1.Huangzh13),
    "huangzh13, discriminator": Case(stylegan1.Huangzh13Critic, image=True),
    "lernapparat": Case(stylegan1.Lernapparat),
    "pulse, synthesis": Case(stylegan1.PulseSynthesis),
    "mmgen pggan": Case(lambda on: hooked.Pggan(on, fused=True), **prefixed("generator_ema.")),
    "mmgen pggan, not fused": Case(lambda on: hooked.Pggan(on, fused=False), **prefixed("generator.")),
    "mmgen pggan, discriminator": Case(hooked.PgganCritic, image=True, **prefixed("discriminator.")),
    "mmgen stylegan": Case(hooked.Styled, before=hooks_off, **prefixed("generator_ema.")),
    "mmgen stylegan, discriminator": Case(
        hooked.StyledCritic, image=True, before=hooks_off, **prefixed("discriminator.")
    ),
    "mmgen stylegan2": Case(hooked.Styled2, before=hooks_off, **prefixed("generator_ema.")),
    "mmgen stylegan2, discriminator": Case(
        hooked.Styled2Critic, image=True, before=hooks_off, **prefixed("discriminator.")
    ),
    "nvidia stylegan2-ada": Case(stylegan2.Nvidia, after=stylegan2.ungained, **under("G_ema")),
    "nvidia stylegan2-ada, discriminator": Case(
        stylegan2.NvidiaCritic, image=True, after=stylegan2.ungained, **under("D")
    ),
    "nvidia stylegan3": Case(stylegan2.AliasFree, after=stylegan2.ungained, **under("G_ema")),
    "imaginaire": Case(stylegan2.Imaginaire, **under("net_G")),
    "basicsr": Case(bilinear.Generator, options=("--to", "clean"), **under("params_ema")),
}


def agree(found: Tensor, expected: Tensor, rtol: float = 1e-5) -> bool:
    return bool((found - expected).abs().max() <= rtol * expected.abs().max())


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_the_original_code_computes_the_same_switched_off(name: str, run_cli: Run, tmp_path: Path) -> None:
    case = CASES[name]
    torch.manual_seed(len(name))
    on = case.make(True).eval()
    torch.save(case.nested(on.state_dict()), tmp_path / "on.pth")
    result = run_cli("bake", tmp_path / "on.pth", tmp_path / "off.pth", *case.options)
    assert result.code == 0, result.stderr
    off = case.before(case.make(False).eval())
    written = torch.load(tmp_path / "off.pth", weights_only=True)
    off.load_state_dict(case.inner(written), strict=True)
    off = case.after(off)
    given = case.given()
    expected = on(copy.deepcopy(given))
    assert agree(off(given), expected)
    plain = case.before(case.make(False).eval())
    shapes = {name: tensor.shape for name, tensor in plain.state_dict().items()}
    stored = {name: t for name, t in on.state_dict().items() if shapes.get(name) == t.shape}
    plain.load_state_dict(stored, strict=False)
    assert not agree(case.after(plain)(given), expected, 1e-2), "what is stored would not do"


@pytest.mark.parametrize("make", [progan.NvidiaProgan, progan.NvidiaStyled])
@torch.no_grad()
def test_tensorflows_variables_take_the_tensors_of_their_names(make: Any, run_cli: Run, tmp_path: Path) -> None:
    torch.manual_seed(3)
    on, off = make(True), make(False)
    save_file(on.variables(), tmp_path / "on.safetensors")
    result = run_cli("bake", tmp_path / "on.safetensors", tmp_path / "off.pt", "--to", "original")
    assert result.code == 0, result.stderr
    off.set_vars(torch.load(tmp_path / "off.pt", weights_only=True))
    z = torch.randn(4, progan.Z)
    assert agree(off(z), on(z))


def test_the_loaders_own_arguments_are_told(run_cli: Run, tmp_path: Path) -> None:
    """adriansahlman's loader constructs each network from the `kwargs` beside its state dict."""
    torch.manual_seed(7)
    on = {"G_mapping": stylegan2.AdriansahlmanMapping(True), "G_synthesis": stylegan2.AdriansahlmanSynthesis(True)}
    file = {name: {"name": "x", "kwargs": {"latent_size": 10}, "state_dict": n.state_dict()} for name, n in on.items()}
    source, target, plain = (tmp_path / name for name in ("on.pth", "off.pth", "plain.pth"))
    torch.save({"name": "Generator", "kwargs": {}, "state_dict": {"dlatent_avg": torch.zeros(10)}, **file}, source)
    assert run_cli("bake", source, target, "--to", "original").code == 0
    written = torch.load(target, weights_only=True)
    off = {}
    for name, network in on.items():
        assert written[name]["kwargs"] == {"latent_size": 10, "weight_scale": False}
        off[name] = type(network)(written[name]["kwargs"]["weight_scale"])
        off[name].load_state_dict(written[name]["state_dict"], strict=True)
    z = torch.randn(4, 10)
    with torch.no_grad():
        found, expected = (nets["G_synthesis"](nets["G_mapping"](z)) for nets in (off, on))
    assert agree(found, expected)
    # Without its multiplier the mapping is not what that code wants, so it is not told to take it.
    assert run_cli("bake", source, plain).code == 0
    assert torch.load(plain, weights_only=True)["G_mapping"]["kwargs"] == {"latent_size": 10}


def test_the_zoos_stylegan_has_no_switch_and_its_discriminator_has(run_cli: Run, tmp_path: Path) -> None:
    torch.manual_seed(4)
    critic = progan.ZooCritic(True)
    file = {
        "config": {"equalizedlR": True},
        "netG": progan.ZooStyled().state_dict(),
        "netD": critic.state_dict(),
    }
    source, target = tmp_path / "on.pt", tmp_path / "off.pt"
    torch.save(file, source)
    result = run_cli("bake", source, target, "--to", "original")
    assert result.code == 2
    assert "network netG" in result.stderr
    assert "whatever equalizedlR says" in " ".join(result.stderr.split())
    assert run_cli("bake", source, target, "--to", "original", "--network", "netD").code == 0
    written = torch.load(target, weights_only=True)
    assert written["config"]["equalizedlR"] is False, "the generator does not ask for it"
    off = progan.ZooCritic(False)
    off.load_state_dict(written["netD"], strict=True)
    image = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert agree(off(image), critic(image))
    assert all(torch.equal(tensor, written["netG"][name]) for name, tensor in file["netG"].items())
    # A plain generator is of no use to that code, whatever its configuration: there is nothing to switch off for it.
    assert run_cli("bake", source, tmp_path / "g.pt", "--network", "netG").code == 0
    assert torch.load(tmp_path / "g.pt", weights_only=True)["config"]["equalizedlR"] is True


def test_layers_that_no_switch_reaches_are_named_and_can_be_baked_afterwards(run_cli: Run, tmp_path: Path) -> None:
    torch.manual_seed(5)
    network = hooked.StyledCritic()
    source, part, whole = (tmp_path / name for name in ("on.pth", "part.pth", "whole.pth"))
    torch.save({"state_dict": network.state_dict()}, source)
    said = " ".join(run_cli("explain", source).stdout.split())
    assert "convs.0.2.conv.weight_orig stays equalized with bake --to original" in said
    result = run_cli("bake", source, part, "--to", "original")
    assert result.code == 0
    assert "fused resampling hook" in " ".join(result.stdout.split())
    left = torch.load(part, weights_only=True)["state_dict"]
    assert {name for name in left if name.endswith("_orig")} == {"convs.0.2.conv.weight_orig"}
    assert run_cli("verify", source, part).code == 0
    assert run_cli("bake", part, whole).code == 0
    assert not any(name.endswith("_orig") for name in torch.load(whole, weights_only=True)["state_dict"])
    assert run_cli("verify", source, whole).code == 0


def test_a_code_without_a_switch_may_have_a_class_without_constants(run_cli: Run, tmp_path: Path) -> None:
    torch.save({"params_ema": bilinear.Generator(True).state_dict()}, tmp_path / "on.pth")
    result = run_cli("bake", tmp_path / "on.pth", tmp_path / "off.pth", "--to", "original")
    assert result.code == 2
    assert "bake --to clean" in result.stderr


def test_a_plain_bake_says_when_the_code_wants_another_file(run_cli: Run, tmp_path: Path) -> None:
    for network, wanted in ((stylegan1.Huangzh13(True), True), (stylegan1.Huangzh13Critic(True), False)):
        torch.save(network.state_dict(), tmp_path / "on.pth")
        result = run_cli("bake", tmp_path / "on.pth", tmp_path / "off.pth", "--force")
        assert result.code == 0
        assert ("--to original" in result.stdout) == wanted


def test_all_networks_of_an_mmagic_file_are_baked_where_they_stand(run_cli: Run, tmp_path: Path) -> None:
    torch.manual_seed(6)
    networks = {
        "generator": hooked.Styled2(),
        "generator_ema": hooked.Styled2(),
        "discriminator": hooked.Styled2Critic(),
    }
    state = {f"{name}.{key}": t for name, network in networks.items() for key, t in network.state_dict().items()}
    source, target = tmp_path / "on.pth", tmp_path / "off.pth"
    torch.save({"meta": {}, "state_dict": state, "optimizer": {}}, source)
    assert run_cli("bake", source, target, "--to", "original").code == 0
    written = torch.load(target, weights_only=True)
    assert written.keys() == {"meta", "state_dict", "optimizer"}
    whole = nn.ModuleDict({name: recipe()(type(network)()) for name, network in networks.items()})
    whole.load_state_dict(written["state_dict"], strict=True)
    z, image = torch.randn(4, progan.Z), torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        for name, network in networks.items():
            given = image if name == "discriminator" else z
            assert agree(whole[name](given), network(given)), name


def table() -> dict[str, list[str]]:
    """The rows of the documentation's table by family."""
    rows = re.findall(r"^\| `([\w-]+)` \|(.*)\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in rows}


def test_the_documentation_lists_every_family_with_a_way_back() -> None:
    assert table().keys() == {family.id for family in FAMILIES if family.load_back} | {"basicsr-stylegan2", "gfpgan-v1"}


@pytest.mark.parametrize("family", [family for family in FAMILIES if family.load_back], ids=lambda family: family.id)
def test_the_documentation_says_what_the_commands_say(family: Family) -> None:
    project, flag, command, changes = table()[family.id]
    assert project == family.upstream
    for word in re.findall(r"`([^`]+)`", flag):
        assert word.split("=")[0] in family.load_back, word
    needed = family.keep_multiplier or family.fixed is not None
    assert ("--to original" in command) == needed
    assert ("lr" in changes) == family.keep_multiplier
    assert ("stays" in changes or "stay" in changes) == (family.fixed is not None)


@pytest.mark.parametrize(
    "file",
    [
        "fb-gan-zoo-pgan/checkpoint.pt",
        "huangzh13-stylegan/GAN_GEN_SHADOW_2_10.pth",
        "huangzh13-stylegan/GAN_DIS_2_10.pth",
        "imaginaire-scaledlr/checkpoint.pt",
        "nvidia-stylegan2-ada/checkpoint.pkl",
        "nvidia-stylegan3-t/checkpoint.pkl",
    ],
)
def test_files_of_the_original_code_go_back_to_it(file: str, shared_dir: Path, run_cli: Run, tmp_path: Path) -> None:
    source, target = shared_dir / "oracles" / file, tmp_path / "off.pt"
    assert run_cli("bake", source, target, "--to", "original").code == 0
    assert run_cli("verify", source, target).code == 0
    before = open_checkpoint(source)
    written = {network.name: network for network in open_checkpoint(target).networks}
    for mine in before.networks:
        theirs = written[mine.name]
        renamed = {n.replace("_ori", "") for n in mine.tensors if not n.endswith(("weight_scale", "bias_scale"))}
        assert set(theirs.tensors) == renamed
        recognition = recognise(before, mine)
        for layer in recognition.equalized:
            assert recognition.layout is not None
            assert layer.scale is not None
            multiplier = layer.lr_multiplier if recognition.layout.keep_multiplier else 1.0
            left = layer.scale if layer.weight in recognition.fixed else multiplier
            stored, baked = mine.tensors[layer.weight].values(), theirs.tensors[layer.baked_weight].values()
            np.testing.assert_allclose(baked * left, stored * layer.scale, rtol=1e-6)
            if layer.bias:
                stored, baked = mine.tensors[layer.bias], theirs.tensors[layer.baked_bias or layer.bias]
                np.testing.assert_allclose(baked.values() * multiplier, stored.values() * layer.bias_scale, rtol=1e-6)
