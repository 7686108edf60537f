"""StyleGAN1 between its projects: there and back, the images that come out, and what is refused by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.networks import stylegan1
from eqlr_tools.rewriting.canonical import CanonicalNetwork, canonical_network
from eqlr_tools.rewriting.selection import Selection, recognise_all
from tests import stylegan1_files as files
from tests.networks.test_stylegan1 import saved, tf_pickle
from tests.oracles import Oracle, relative_error

__all__ = ["tf_pickle"]

WRITERS = {
    "genforce-stylegan": files.genforce,
    "interfacegan-stylegan": files.interfacegan,
    "rosinality-hook": files.rosinality,
    "fb-gan-zoo": files.fb,
    "mmgen-stylegan1": files.mmgen,
    "tae-stylegan": files.tae,
    "huangzh13-stylegan": files.lernapparat,
}


def seen(path: Path, network: str) -> CanonicalNetwork:
    (recognition,) = recognise_all(open_checkpoint(path), Selection(networks=(network,)))
    found = canonical_network(recognition)
    assert found is not None
    return found


def tensors(path: Path, network: str) -> dict[str, np.ndarray]:
    found = {net.name: net for net in open_checkpoint(path).networks}[network]
    return {name: tensor.values() for name, tensor in found.tensors.items()}


def assert_same(before: dict[str, np.ndarray], after: dict[str, np.ndarray], *, but: str = "-") -> None:
    assert {name for name in before if but not in name} <= after.keys()
    for name, values in before.items():
        if but not in name:
            # Adding 1 to a style's factor and taking it away again leaves its rounding as an absolute error.
            np.testing.assert_allclose(after[name], values, rtol=2.5e-7, atol=1.2e-7, err_msg=name)


def accepted(*names: str) -> list[str]:
    return [word for name in names for word in ("--accept", name)]


def drawn(network: CanonicalNetwork, oracle: Oracle, name: str, **grown: Any) -> np.ndarray:
    """What a network makes of an oracle's inputs, computed as its own family computes."""
    p = {key: network.values(key) for key in network.parts}
    form = stylegan1.generator_form(network.naming.form, p)
    inputs = {
        key: np.float64(oracle.truth.get_tensor(f"net.{name}.input.{key}"))
        for key in oracle.record["networks"][name]["inputs"]
    }
    layers = stylegan1.styled_layers(p, 16)
    shared = "noise3" not in inputs
    noise = {layer: inputs[f"noise{number // 2 if shared else number}"] for number, layer in enumerate(layers)}
    return stylegan1.generate(p, inputs["z"], form, noise=noise, resolution=16, **grown)


def test_rosinality_as_plain_computes_the_recorded_images(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    oracle = Oracle(shared_dir / "oracles" / "rosinality-stylegan1")
    there, back = tmp_path / "there.safetensors", tmp_path / "back.pt"
    result = run_cli("convert", oracle.files[""], there, "--to", "plain")
    assert result.code == 0, result.stderr
    image = drawn(seen(there, "generator_ema"), oracle, "g_running", alpha=0.7)
    assert relative_error(image, oracle.truth.get_tensor("net.g_running.output_f64")) < 1e-6
    assert run_cli("convert", there, back, "--to", "rosinality-hook").code == 0
    for network in ("g_running", "generator", "discriminator"):
        assert_same(tensors(oracle.files[""], network), tensors(back, network))
    same = run_cli("verify", oracle.files[""], there, "--network", "g_running", "--network", "generator_ema")
    assert same.code == 0, same.stdout


@pytest.mark.parametrize("family", ["genforce-stylegan", "interfacegan-stylegan", "plain"])
def test_huangzh13_there_and_back(run_cli: Any, shared_dir: Path, tmp_path: Path, family: str) -> None:
    oracle = Oracle(shared_dir / "oracles" / "huangzh13-stylegan")
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    result = run_cli("convert", oracle.files[""], there, "--to", family)
    assert result.code == 0, result.stderr
    name = "generator_ema" if family == "plain" else "generator_smooth"
    image = drawn(seen(there, name), oracle, "gen_shadow", alpha=0.7)
    expected = oracle.truth.get_tensor("net.gen_shadow.output_f64")
    if family == "plain":
        assert relative_error(image, expected) < 1e-6
    else:
        assert "instance norm adds 1e-05 to the variance here and 1e-08 there" in result.stdout + result.stderr
        assert relative_error(image, expected) < 1e-3
    result = run_cli("convert", there, back, "--to", "huangzh13-stylegan", *accepted("noise"))
    assert result.code == 0, result.stderr
    assert_same(tensors(oracle.files[""], "model"), tensors(back, "gen_shadow"))


def test_tutorial_generator_keeps_its_form_in_plain(run_cli: Any, shared_dir: Path, tmp_path: Path) -> None:
    oracle = Oracle(shared_dir / "oracles" / "aladdin-stylegan")
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    assert run_cli("convert", oracle.files[""], there, "--to", "plain").code == 0
    image = drawn(seen(there, "generator"), oracle, "gen", alpha=0.7)
    assert relative_error(image, oracle.truth.get_tensor("net.gen.output_f64")) < 1e-6
    assert run_cli("convert", there, back, "--to", "aladdin-stylegan").code == 0
    assert_same(tensors(oracle.files[""], "state_dict"), tensors(back, "state_dict"))
    for family, what in (("rosinality-hook", "interpolates"), ("genforce-stylegan", "interpolates")):
        result = run_cli("convert", oracle.files[""], tmp_path / "x.pt", "--to", family)
        assert result.code == 2
        assert what in result.stderr.replace("\n", " ")


@pytest.mark.parametrize("family", WRITERS)
def test_every_project_to_plain_and_back(run_cli: Any, tmp_path: Path, family: str) -> None:
    p = files.network(128, uniform_noise=family in ("mmgen-stylegan1", "fb-gan-zoo"))
    source = saved(tmp_path / "source.pth", WRITERS[family](p))
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    result = run_cli("convert", source, there, "--to", "plain")
    assert result.code == 0, result.stderr
    result = run_cli("convert", there, back, "--to", family)
    assert result.code == 0, result.stderr
    (name,) = (network.name for network in open_checkpoint(back).networks)
    found, wanted = seen(back, name), seen(source, "model")
    for parameter in ("synthesis.b64.conv0.weight", "synthesis.b128.conv0.weight", "synthesis.b8.conv1.gamma.bias"):
        np.testing.assert_allclose(found.values(parameter), wanted.values(parameter), rtol=5e-7, atol=2e-7)
    if family != "huangzh13-stylegan":  # lernapparat's own names are read, and written as huangzh13's
        assert_same(tensors(source, "model"), tensors(back, name), but="truncation.truncation")


@pytest.mark.parametrize(
    ("family", "network", "accept"),
    [
        ("genforce-stylegan", "generator_smooth", ()),
        ("interfacegan-stylegan", "generator_smooth", ()),
        ("huangzh13-stylegan", "gen_shadow", ("noise",)),
        ("rosinality-hook", "g_running", ("noise", "w_avg", "bias_before_blur")),
        ("plain", "generator_ema", ()),
    ],
)
def test_tensorflow_pickle_to_every_family(
    run_cli: Any, tf_pickle: Path, tmp_path: Path, family: str, network: str, accept: tuple[str, ...]
) -> None:
    """With labels where the target has them; 128 pixels, so that a fused layer's kernel is turned or is not."""
    target = tmp_path / "target.pt"
    result = run_cli("convert", tf_pickle, target, "--network", "Gs", "--to", family, *accepted(*accept))
    if family not in ("genforce-stylegan", "plain"):
        assert result.code == 2
        assert "takes no labels" in result.stderr.replace("\n", " ")
        return
    assert result.code == 0, result.stderr
    p, found = files.network(128, labels=3), seen(target, network)
    for name, values in p.items():
        np.testing.assert_allclose(found.values(name), values, rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("family", "network", "accept"),
    [
        ("interfacegan-stylegan", "generator_smooth", ()),
        ("huangzh13-stylegan", "gen_shadow", ("noise",)),
        ("rosinality-hook", "g_running", ("noise", "w_avg", "bias_before_blur")),
    ],
)
def test_genforce_to_every_family_and_back(
    run_cli: Any, tmp_path: Path, family: str, network: str, accept: tuple[str, ...]
) -> None:
    p = files.network(128)
    source = saved(tmp_path / "source.pth", files.genforce(p))
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    if accept:
        assert run_cli("convert", source, there, "--to", family).code == 2
    result = run_cli("convert", source, there, "--to", family, *accepted(*accept))
    assert result.code == 0, result.stderr
    found = seen(there, network)
    for size in (64, 128):
        name = f"synthesis.b{size}.conv0.weight"
        np.testing.assert_allclose(found.values(name), p[name], rtol=1e-5, atol=1e-6)
    result = run_cli("convert", there, back, "--to", "genforce-stylegan", *accepted("bias_before_blur"))
    assert result.code == 0, result.stderr
    before, after = tensors(source, "model"), tensors(back, "generator_smooth")
    if family == "rosinality-hook":  # its constant has no bias: the sum of both is what comes back
        start = before.pop("synthesis.layer0.const") + before.pop("synthesis.layer0.bias")[:, None, None]
        np.testing.assert_allclose(after["synthesis.layer0.const"], start, rtol=2.5e-7)
        assert not after["synthesis.layer0.bias"].any()
        del before["truncation.w_avg"]
    kept = {name: value for name, value in before.items() if "noise" not in accept or not name.endswith(".noise")}
    assert_same(kept, after)


def test_discriminators_there_and_back(run_cli: Any, tf_pickle: Path, shared_dir: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there.pt", tmp_path / "back.pt"
    assert run_cli("convert", tf_pickle, there, "--network", "D", "--to", "genforce-stylegan").code == 0
    p, found = files.discriminator(32), seen(there, "discriminator")
    for name, values in p.items():
        np.testing.assert_allclose(found.values(name), values, rtol=1e-5, atol=1e-6, err_msg=name)
    source = shared_dir / "oracles" / "huangzh13-stylegan" / "GAN_DIS_2_10.pth"
    refused = run_cli("convert", source, there, "--force", "--to", "genforce-stylegan")
    assert refused.code == 2
    assert "leaves from-RGB linear" in refused.stderr.replace("\n", " ")
    assert run_cli("convert", source, there, "--force", "--to", "plain").code == 0
    assert run_cli("convert", there, back, "--to", "huangzh13-stylegan").code == 0
    assert_same(tensors(source, "model"), tensors(back, "dis"))


@pytest.mark.parametrize(
    ("change", "target", "message"),
    [
        ({}, "mmgen-stylegan1", "activates what an up-convolution returns first"),
        ({}, "fb-gan-zoo", "one number for all"),
        ({"synthesis.lod": torch.tensor(1.5)}, "rosinality-hook", "synthesis.lod has no place there"),
        ({"synthesis.layer2.blur.kernel": torch.rand(5, 1, 3, 3)}, "interfacegan-stylegan", "another filter"),
        ({"extra": torch.ones(2)}, "interfacegan-stylegan", "extra belongs to no part"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_its_name(
    run_cli: Any, tmp_path: Path, change: dict[str, Any], target: str, message: str
) -> None:
    source = saved(tmp_path / "source.pth", files.genforce(files.network(16)))
    state = torch.load(source, weights_only=True) | change
    torch.save(state, source)
    given_up = accepted(
        "noise", "w_avg", "bias_before_blur", "activated_before_blur" if target != "mmgen-stylegan1" else "noise"
    )
    result = run_cli("convert", source, tmp_path / "x.pt", "--to", target, *given_up)
    assert result.code == 2
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "x.pt").exists()


def test_noise_that_differs_by_channel_has_no_place_in_one_number(run_cli: Any, tmp_path: Path) -> None:
    source = saved(tmp_path / "source.pth", files.genforce(files.network(16)))
    given_up = accepted("activated_before_blur")
    result = run_cli("convert", source, tmp_path / "x.pt", "--to", "mmgen-stylegan1", *given_up)
    assert result.code == 2
    assert "differs from channel to channel" in " ".join(result.stderr.split())


def test_a_single_to_rgb_becomes_one_of_many(run_cli: Any, tmp_path: Path) -> None:
    source = saved(tmp_path / "source.pth", files.lernapparat(files.network(16)))
    result = run_cli("convert", source, tmp_path / "x.pt", "--to", "genforce-stylegan")
    assert result.code == 0, result.stderr
    assert "smaller sizes" in result.stdout + result.stderr
    state = torch.load(tmp_path / "x.pt", weights_only=True)["generator_smooth"]
    assert [state[f"synthesis.output{n}.weight"].shape for n in range(3)] == [(3, 6, 1, 1), (3, 5, 1, 1), (3, 4, 1, 1)]
    assert not state["synthesis.output0.weight"].any()
