"""`eqlr convert`: there and back, the images that come out, and what is refused by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.networks import stylegan2
from eqlr_tools.rewriting.canonical import canonical_network
from eqlr_tools.rewriting.limits import _clamp_is_idle
from eqlr_tools.rewriting.selection import Selection, recognise_all
from tests.nvidia import Discriminator, Generator
from tests.oracles import Oracle

ROSINALITY = "oracles/rosinality-stylegan2/checkpoint.pt"
BASICSR = "oracles/basicsr-stylegan2/checkpoint.pth"


def tensors(path: Path, network: str) -> dict[str, np.ndarray]:
    found = {net.name: net for net in open_checkpoint(path).networks}[network]
    return {name: tensor.values() for name, tensor in found.tensors.items()}


def generated(path: Path, network: str, z: np.ndarray) -> np.ndarray:
    (recognition,) = recognise_all(open_checkpoint(path), Selection(networks=(network,)))
    found = canonical_network(recognition)
    assert found is not None
    return stylegan2.generate({name: found.values(name) for name in found.parts}, z)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_rosinality_to_basicsr_and_back_is_exact(run_cli: Any, shared_dir: Path, tmp_path: Path, suffix: str) -> None:
    there, back = tmp_path / f"there{suffix}", tmp_path / f"back{suffix}"
    assert run_cli("convert", shared_dir / ROSINALITY, there, "--to", "basicsr-stylegan2").code == 0
    assert run_cli("convert", there, back, "--to", "rosinality-stylegan2").code == 0
    for network in ("g_ema", "g", "d"):
        before, after = tensors(shared_dir / ROSINALITY, network), tensors(back, network)
        assert before.keys() == after.keys()
        for name, values in before.items():
            np.testing.assert_array_equal(values, after[name], err_msg=name)


def test_converted_generator_computes_the_recorded_images(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    oracle = Oracle(shared_dir / "oracles" / "rosinality-stylegan2")
    z = np.asarray(oracle.truth.get_tensor("net.g_ema.input.z"), dtype=np.float64)
    expected = oracle.truth.get_tensor("net.g_ema.output_f64")
    for family, network in (("basicsr-stylegan2", "params_ema"), ("plain", "generator_ema")):
        target = tmp_path / f"{family}.pt"
        assert run_cli("convert", shared_dir / ROSINALITY, target, "--to", family).code == 0
        np.testing.assert_allclose(generated(target, network, z), expected, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize(
    ("family", "network"),
    [
        ("rosinality-stylegan2", "g_ema"),
        ("basicsr-stylegan2", "params_ema"),
        ("mmgen-stylegan2", "generator_ema"),
        ("genforce-stylegan2", "generator_smooth"),
        ("plain", "generator_ema"),
    ],
)
def test_nvidia_pickle_to_every_family_and_back(
    run_cli: Any, shared_dir: Path, tmp_path: Path, family: str, network: str
) -> None:
    oracle = Oracle(shared_dir / "oracles" / "nvidia-stylegan2-ada")
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    result = run_cli("convert", oracle.files[""], there, "--to", family)
    assert result.code == 0
    assert "conv_clamp 256 has no place" in result.stdout + result.stderr
    z = np.asarray(oracle.truth.get_tensor("net.G_ema.input.z"), dtype=np.float64)
    expected = oracle.truth.get_tensor("net.G_ema.output")
    np.testing.assert_allclose(generated(there, network, z), expected, atol=1e-5 * abs(expected).max())
    assert run_cli("convert", there, back, "--to", "nvidia-stylegan2-ada").code == 0
    for name in ("G_ema", "G", "D"):
        before, after = tensors(oracle.files[""], name), tensors(back, name)
        assert before.keys() == after.keys()
        for key, values in before.items():
            # Taking 1 from a style bias near 1 leaves its rounding as an absolute error.
            np.testing.assert_allclose(after[key], values, rtol=2.5e-7, atol=1.2e-7, err_msg=key)


def test_a_small_style_bias_less_one_is_rounded_at_the_size_of_one(
    run_cli: Any, shared_dir: Path, tmp_path: Path
) -> None:
    state = torch.load(shared_dir / BASICSR, weights_only=True)["params_ema"]
    bias = "style_conv1.modulated_conv.modulation.bias"
    source, target = tmp_path / "source.pt", tmp_path / "target.pt"
    state[bias] = torch.linspace(-0.01, 0.02, len(state[bias])) ** 3
    torch.save({"params_ema": state}, source)
    assert run_cli("convert", source, target, "--to", "genforce-stylegan2").code == 0
    for order in ((source, target), (target, source)):
        assert run_cli("verify", *order).code == 0
    changed = torch.load(target, weights_only=True)
    changed["generator_smooth"]["synthesis.layer0.style.bias"][3] += 1e-6
    torch.save(changed, target)
    assert run_cli("verify", source, target).code == 1


def test_a_clamp_that_acts_is_refused(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    source = shared_dir / "oracles" / "nvidia-stylegan2-ada" / "checkpoint.pkl"
    (recognition,) = recognise_all(open_checkpoint(source), Selection(networks=("G_ema",)))
    network = canonical_network(recognition)
    assert network is not None
    assert _clamp_is_idle(network, 256.0)
    assert not _clamp_is_idle(network, 0.5)
    assert run_cli("convert", source, tmp_path / "x.pt", "--to", "plain", "--accept", "everything").code == 2


def test_plain_and_back_is_within_an_ulp(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    assert run_cli("convert", shared_dir / BASICSR, there, "--to", "plain").code == 0
    assert run_cli("convert", there, back, "--to", "basicsr-stylegan2").code == 0
    for name, values in tensors(shared_dir / BASICSR, "params_ema").items():
        np.testing.assert_allclose(tensors(back, "params_ema")[name], values, rtol=2.5e-7, err_msg=name)


def test_files_load_in_torch_and_name_the_average_latent(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    source = torch.load(shared_dir / BASICSR, weights_only=True)
    source["latent_avg"] = torch.linspace(-1, 1, 24)
    torch.save(source, tmp_path / "source.pt")
    target = tmp_path / "target.pt"
    assert run_cli("convert", tmp_path / "source.pt", target, "--to", "rosinality-stylegan2").code == 0
    loaded = torch.load(target, weights_only=True)
    assert set(loaded) == {"g_ema", "g", "latent_avg"}
    assert torch.equal(loaded["latent_avg"], source["latent_avg"])
    assert loaded["g_ema"]["convs.0.conv.blur.kernel"].sum() == 4


def test_plan_is_printed(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    result = run_cli("convert", shared_dir / ROSINALITY, tmp_path / "x.pt", "--to", "plain", "--dry-run", "-f", "json")
    plan = json.loads(result.stdout)
    assert plan["schema"] == "eqlr.plan/1"
    steps = {step["target"]: step for step in plan["steps"]}
    style = steps["generator_ema.mapping.fc0.weight"]
    assert (style["action"], style["network"], style["source"]) == ("rescale", "g_ema", "style.1.weight")
    assert style["factor"] == pytest.approx(0.01 / 24**0.5)
    assert steps["generator_ema.synthesis.const"]["action"] == "reshape"
    assert not (tmp_path / "x.pt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra.weight": torch.zeros(3, 3)}, "extra.weight"),
        ({"to_rgb1.bias": None}, "to_rgb1.bias is missing"),
        ({"convs.0.conv.blur.kernel": torch.ones(4, 4) / 4}, "different filters"),
    ],
)
def test_what_cannot_be_expressed_is_refused(
    run_cli: Any, shared_dir: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    state = torch.load(shared_dir / ROSINALITY, weights_only=False)["g_ema"]
    state.update({name: value for name, value in change.items() if value is not None})
    for name in (name for name, value in change.items() if value is None):
        del state[name]
    torch.save({"g_ema": state}, tmp_path / "source.pt")
    result = run_cli("convert", tmp_path / "source.pt", tmp_path / "x.pt", "--to", "basicsr-stylegan2")
    assert result.code == 2
    assert message in result.stderr.replace("\n", " ")
    assert not (tmp_path / "x.pt").exists()


def test_a_wrong_target_is_refused(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    for family in ("aladdin-progan", "rosinality-stylegan2", "nothing"):
        assert run_cli("convert", shared_dir / ROSINALITY, tmp_path / "x.pt", "--to", family).code == 2
    result = run_cli("convert", shared_dir / ROSINALITY, tmp_path / "x.pt", "--to", "rosinalty-stylegan2")
    assert "did you mean rosinality-stylegan2" in result.stderr
    result = run_cli("convert", shared_dir / ROSINALITY, tmp_path / "x.pt", "--to", "aladdin-progan")
    assert "genforce-stylegan2" in result.stderr
    assert "psp-encoder" not in result.stderr  # which no file is written as
    assert "nvidia-stylegan3" not in result.stderr  # which has StyleGAN2's discriminators only
    plain = shared_dir / "oracles" / "plain-dcgan" / "checkpoint.pt"
    assert run_cli("convert", plain, tmp_path / "x.pt", "--to", "rosinality-stylegan2").code == 3


def test_verify_compares_across_layouts(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.pt"
    assert run_cli("convert", shared_dir / ROSINALITY, target, "--to", "plain", "--network", "g_ema").code == 0
    same = run_cli("verify", shared_dir / ROSINALITY, target, "--network", "g_ema", "--network", "generator_ema")
    assert same.code == 0
    state = torch.load(target, weights_only=True)
    state["generator_ema"]["synthesis.b8.conv0.weight"] = state["generator_ema"]["synthesis.b8.conv0.weight"].flip(2)
    torch.save(state, target)
    other = run_cli("verify", shared_dir / ROSINALITY, target, "--network", "g_ema", "--network", "generator_ema")
    assert other.code == 1
    assert "synthesis.b8.conv0.weight" in other.stdout


def test_verify_pairs_networks_that_each_family_names_its_own_way(
    run_cli: Any, shared_dir: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target.pt"
    assert run_cli("convert", shared_dir / ROSINALITY, target, "--to", "basicsr-stylegan2").code == 0
    same = run_cli("verify", shared_dir / ROSINALITY, target, "-f", "json")
    assert same.code == 0, same.stderr
    pairs = {pair["first"]: pair["second"] for pair in json.loads(same.stdout)["networks"]}
    assert pairs == {"d": "params_d", "g": "params", "g_ema": "params_ema"}
    # Two generators, of which neither is an average: which is the partner of g nobody can tell.
    state = torch.load(target, weights_only=True)
    torch.save({"one": state["params"], "two": state["params"], "critic": state["params_d"]}, target)
    told = run_cli("verify", shared_dir / ROSINALITY, target)
    assert "network g is in one file only" in told.stdout + told.stderr


def test_verify_pairs_the_only_generators_though_one_is_called_an_average(
    run_cli: Any, shared_dir: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "source.pt", tmp_path / "target.pt"
    state = torch.load(shared_dir / ROSINALITY, weights_only=False)
    torch.save({"g": state["g"], "d": state["d"]}, source)
    assert run_cli("convert", source, target, "--to", "basicsr-stylegan2").code == 0
    same = run_cli("verify", source, target, "-f", "json")
    assert same.code == 0, same.stderr
    pairs = {pair["first"]: pair["second"] for pair in json.loads(same.stdout)["networks"]}
    assert pairs == {"d": "params_d", "g": "params_ema"}


def test_a_discriminator_alone_lies_where_its_own_file_has_it(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.pth"
    assert run_cli("convert", shared_dir / ROSINALITY, target, "--to", "basicsr-stylegan2", "--network", "d").code == 0
    assert torch.load(target, weights_only=True)["params"]["conv_body.0.0.weight"].ndim == 4


def test_a_conditional_network_of_mmagic_keeps_its_average_inside(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = Generator({4: 6, 8: 5}, "skip", labels=4).state_dict()
    torch.save({"G_ema": state}, tmp_path / "nvidia.pt")
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    assert run_cli("convert", tmp_path / "nvidia.pt", there, "--to", "mmgen-stylegan2").code == 0
    written = torch.load(there, weights_only=True)
    assert written.keys() == {"state_dict"}
    assert torch.equal(written["state_dict"]["generator_ema.w_avg"], state["mapping.w_avg"])
    assert run_cli("convert", there, back, "--to", "nvidia-stylegan2-ada").code == 0
    again = torch.load(back, weights_only=True)["G_ema"]
    for name, values in state.items():
        torch.testing.assert_close(again[name], values, rtol=2.5e-7, atol=0.0, msg=name)


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("rosinality-stylegan2", ["images of 3 channels, and this network's have 1", "one width", "deviations"]),
        ("basicsr-stylegan2", ["images of 3 channels, and this network's have 1", "one width", "deviations"]),
        ("mmgen-stylegan2", ["deviations"]),
        ("genforce-stylegan2", []),
    ],
)
def test_widths_that_the_targets_code_does_not_have_are_told(
    run_cli: Any, tmp_path: Path, family: str, said: list[str]
) -> None:
    torch.manual_seed(0)
    generator = Generator({4: 6, 8: 5}, "skip", channels=1)
    discriminator = Discriminator({4: 6, 8: 5}, "resnet", channels=1, maps=2)
    torch.save({"G_ema": generator.state_dict(), "D": discriminator.state_dict()}, tmp_path / "nvidia.pt")
    result = run_cli("convert", tmp_path / "nvidia.pt", tmp_path / "there.pt", "--to", family)
    assert result.code == 0, result.stderr
    told = " ".join((result.stdout + result.stderr).split())
    assert all(sentence in told for sentence in said)
    assert ("the target's code is made for" in told) == bool(said)


def test_a_conditional_discriminator_of_mmagic_has_nvidias_mapping(run_cli: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    critic = Discriminator({4: 6, 8: 5}, "resnet", labels=4)
    state = critic.state_dict()
    ours = {"b8.fromrgb": ("convs.0.0.conv", "convs.0.1"), "b8.conv0": ("convs.1.conv1.0.conv", "convs.1.conv1.1")}
    ours |= {"b8.conv1": ("convs.1.conv2.1.conv", "convs.1.conv2.2"), "b4.conv": ("final_conv.0.conv", "final_conv.1")}
    ours |= {f"b4.{name}": (f"final_linear.{n}.linear", f"final_linear.{n}") for n, name in enumerate(("fc", "out"))}
    names = {f"{theirs}.weight": f"{weight}.weight_orig" for theirs, (weight, _) in ours.items()}
    names |= {f"{theirs}.bias": f"{bias}.bias" for theirs, (_, bias) in ours.items()}
    names |= {"b8.skip.weight": "convs.1.skip.1.conv.weight_orig"}
    names |= {name: name for name in state if name.startswith("mapping.")}
    tensors = {f"discriminator.{names[name]}": state[name] for name in names}
    torch.save({"state_dict": tensors, "meta": {}}, tmp_path / "mmagic.pth")
    there, back = tmp_path / "there.pt", tmp_path / "back.pth"
    result = run_cli("convert", tmp_path / "mmagic.pth", there, "--to", "nvidia-stylegan2-ada")
    assert result.code == 0, result.stderr
    written = torch.load(there, weights_only=True)["D"]
    image, label = torch.randn(4, 3, 8, 8), torch.eye(4)
    expected = critic(image, label)
    critic.load_state_dict({name: written[name] for name in state})
    torch.testing.assert_close(critic(image, label), expected, rtol=1e-5, atol=1e-5)
    assert run_cli("convert", there, back, "--to", "mmgen-stylegan2").code == 0
    again = torch.load(back, weights_only=True)["state_dict"]
    assert all(torch.equal(again[name], values) for name, values in tensors.items())
    for family in ("rosinality-stylegan2", "basicsr-stylegan2"):
        result = run_cli("convert", there, tmp_path / "x.pt", "--to", family)
        assert result.code == 2
        assert "takes no labels" in result.stderr
