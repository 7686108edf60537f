"""`eqlr convert` between the ProGANs of all projects: round trips, outputs of the target's code, refusals by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.rewriting.canonical import canonical_network
from eqlr_tools.rewriting.selection import Selection, recognise_all
from tests.onnx_export.graphs import run
from tests.oracles import relative_error
from tests.progan import projects
from tests.progan.projects import DISCRIMINATORS, GENERATORS, Z, normal

ULP = 2.5e-7


def flat(tree: Any) -> dict[str, torch.Tensor]:
    """The innermost state dict of a converted file."""
    while not any(isinstance(value, torch.Tensor) for value in tree.values()):
        (tree,) = (value for value in tree.values() if isinstance(value, dict))
    return dict(tree)


def convert(run_cli, source: Path, target: Path, family: str, *options: str) -> dict[str, torch.Tensor]:
    result = run_cli("convert", source, target, "--to", family, *options)
    assert result.code == 0, result.stderr
    return flat(torch.load(target, weights_only=True))


WRITTEN = {
    "genforce": "genforce-pggan",
    "mmgen": "mmgen-pggan",
    "akanimax": "akanimax-progan",
    "bmsg": "akanimax-progan",
    "interfacegan": "interfacegan-pggan",
}


@pytest.mark.parametrize("name", ["genforce", "genforce fused", "mmgen", "akanimax", "bmsg", "interfacegan"])
def test_plain_and_back_is_within_an_ulp(name: str, tmp_path: Path, run_cli) -> None:
    project, family = GENERATORS[name], WRITTEN[name.split()[0]]
    source = project.write(tmp_path)
    convert(run_cli, source, tmp_path / "plain.pt", "plain", *project.options)
    back = convert(run_cli, tmp_path / "plain.pt", tmp_path / "back.pt", family)
    for key, values in project.state().items():
        if name == "genforce fused" and key in ("layer2.weight", "layer4.weight"):
            continue  # written as the target's default, which is not fused
        key = key.replace("generator.", "generator_ema.") if name == "mmgen" else key
        np.testing.assert_allclose(back[key], values, rtol=ULP, err_msg=key)


@pytest.mark.parametrize(
    ("name", "family"), [("genforce", "genforce-pggan"), ("mmgen", "mmgen-pggan"), ("akanimax", "akanimax-progan")]
)
def test_discriminators_plain_and_back(name: str, family: str, tmp_path: Path, run_cli) -> None:
    project = DISCRIMINATORS[name]
    convert(run_cli, project.write(tmp_path), tmp_path / "plain.pt", "plain", *project.options)
    back = convert(run_cli, tmp_path / "plain.pt", tmp_path / "back.pt", family)
    for key, values in project.state().items():
        np.testing.assert_allclose(back[key], values, rtol=ULP, err_msg=key)


@pytest.mark.parametrize("name", ["tf", "tf unfused", "wscale", "mmgen", "mmgen unfused", "nashory"])
def test_genforce_computes_what_the_source_computed(name: str, tmp_path: Path, run_cli) -> None:
    """NVIDIA's network and its ports: orientation, fusing and constants differ, the function does not."""
    project = GENERATORS[name]
    if name == "nashory":
        result = run_cli(
            "convert", project.write(tmp_path), tmp_path / "x.pt", "--to", "genforce-pggan", *project.options
        )
        assert (result.code, "dividing z by its root mean square" in result.stderr) == (2, True)
        return
    state = convert(run_cli, project.write(tmp_path), tmp_path / "x.pt", "genforce-pggan", *project.options)
    z = normal("z", 3, Z)
    expected = project.forward(project.state(), z).numpy()
    # mmgeneration adds 1e-6 to the root, which the conversion says.
    allowed = 1e-4 if "mmgen" in name else 1e-5
    assert relative_error(projects.genforce_generate(state, z).numpy(), expected) < allowed


def test_a_discriminator_of_the_tensorflow_code_in_genforce(tmp_path: Path, run_cli) -> None:
    project = DISCRIMINATORS["tf unfused"]
    state = convert(run_cli, project.write(tmp_path), tmp_path / "x.pt", "genforce-pggan")
    image = normal("image", 4, 3, 16, 16)
    expected = project.forward(project.state(), image).numpy()
    assert relative_error(projects.genforce_discriminate(state, image).numpy(), expected) < 1e-5


def test_a_fused_discriminator_needs_a_setting_and_says_so(tmp_path: Path, run_cli) -> None:
    source = DISCRIMINATORS["tf"].write(tmp_path)
    result = run_cli("convert", source, tmp_path / "x.pt", "--to", "genforce-pggan")
    assert result.code == 0
    said = " ".join((result.stdout + result.stderr).split())
    assert "construct the target with fused_scale accordingly" in said
    assert "construct the target with minibatch_std_group_size accordingly" in said


def test_output_scaled_biases_of_facebook_s_zoo(shared_dir: Path, tmp_path: Path, run_cli) -> None:
    source = shared_dir / "oracles" / "fb-gan-zoo-pgan" / "checkpoint.pt"
    before = torch.load(GENERATORS["genforce"].write(tmp_path), weights_only=True)["generator_smooth"]
    there = convert(run_cli, tmp_path / "project.pt", tmp_path / "fb.pt", "fb-gan-zoo")
    c = (2 / 10) ** 0.5
    np.testing.assert_allclose(
        there["formatLayer.module.bias"] * c, before["layer0.bias"].repeat_interleave(16), rtol=1e-6
    )
    back = convert(run_cli, tmp_path / "fb.pt", tmp_path / "back.pt", "genforce-pggan")
    for key, values in before.items():
        np.testing.assert_allclose(back[key], values, rtol=2 * ULP, err_msg=key)
    result = run_cli("convert", source, tmp_path / "x.pt", "--to", "genforce-pggan", "--network", "avgG")
    assert (result.code, "formatLayer.module.bias" in result.stderr) == (2, True)
    assert run_cli("convert", source, tmp_path / "plain.pt", "--to", "plain").code == 0
    assert run_cli("convert", tmp_path / "plain.pt", tmp_path / "again.pt", "--to", "fb-gan-zoo").code == 0
    original, again = open_checkpoint(source), open_checkpoint(tmp_path / "again.pt")
    for network in original.networks:
        tensors = next(other for other in again.networks if other.name == network.name).tensors
        for key, tensor in network.tensors.items():
            np.testing.assert_allclose(tensors[key].values(), tensor.values(), rtol=ULP, err_msg=key)


@pytest.mark.parametrize(
    ("name", "family", "message"),
    [
        ("bmsg", "genforce-pggan", "dividing z by its root mean square is off in its code and on"),
        ("genforce", "aladdin-progan", "first layer by their root mean square is on in its code and off"),
        ("genforce", "interfacegan-pggan", "output0.weight makes images of a smaller size"),
        ("genforce", "rosinality-hook", "normalising before the activation is off in its code and on"),
        ("odegeasslbc", "mmgen-pggan", "the slope of its leaky ReLU is 0.1 in its code and 0.2"),
        ("genforce", "nvidia-progan-tf", "reads but does not write"),
        ("genforce", "rms-progan", "which no file holds"),
        ("genforce", "wscale-progan", "output0.weight makes images of a smaller size"),
    ],
)
def test_what_a_target_cannot_express_is_refused(name: str, family: str, message: str, tmp_path: Path, run_cli) -> None:
    project = GENERATORS[name]
    result = run_cli("convert", project.write(tmp_path), tmp_path / "x.pt", "--to", family, *project.options)
    assert (result.code, message in " ".join(result.stderr.split())) == (2, True), result.stderr
    assert not (tmp_path / "x.pt").exists()


def test_colours_of_smaller_sizes_are_given_up_or_zero(tmp_path: Path, run_cli) -> None:
    source = GENERATORS["genforce"].write(tmp_path)
    state = convert(run_cli, source, tmp_path / "x.pt", "interfacegan-pggan", "--accept", "smaller_sizes")
    z = normal("z", 3, Z)
    expected = projects.genforce_generate(GENERATORS["genforce"].state(), z).numpy()
    assert relative_error(projects.one_image_generate(state, z).numpy(), expected) < 1e-5
    back = convert(run_cli, tmp_path / "x.pt", tmp_path / "back.pt", "genforce-pggan")
    assert relative_error(projects.genforce_generate(back, z).numpy(), expected) < 1e-5
    assert not back["output0.weight"].any()


def test_the_form_stays_with_the_plain_names(tmp_path: Path, run_cli) -> None:
    for name, project in (("odegeasslbc", GENERATORS["odegeasslbc"]), ("nashory", DISCRIMINATORS["nashory"])):
        source, plain = project.write(tmp_path), tmp_path / f"{name}.safetensors"
        assert run_cli("convert", source, plain, "--to", "plain", *project.options).code == 0
        (recognition,) = recognise_all(open_checkpoint(plain), Selection())
        network = canonical_network(recognition)
        assert network is not None
        assert network.family.id == "progan-plain"
        if name == "odegeasslbc":
            assert (network.form["slope"], network.form["bilinear"]) == (pytest.approx(0.1), 1.0)
        else:
            assert (network.form["per_pixel"], network.form["group_size"]) == (1.0, 0.0)
        assert run_cli("export", plain, tmp_path / f"{name}.onnx").code == 0


def test_a_discriminator_of_many_sizes_comes_back(tmp_path: Path, run_cli) -> None:
    """Its architecture is another one than its family's first."""
    torch.save({"discriminator": {"state_dict": projects.bmsg_discriminator()}}, tmp_path / "bmsg.pt")
    convert(run_cli, tmp_path / "bmsg.pt", tmp_path / "plain.pt", "plain", *projects.EQUALIZED)
    back = convert(run_cli, tmp_path / "plain.pt", tmp_path / "back.pt", "akanimax-progan")
    for key, values in projects.bmsg_discriminator().items():
        np.testing.assert_allclose(back[key], values, rtol=ULP, err_msg=key)


@pytest.mark.parametrize("name", ["akanimax 2", "odegeasslbc"])
def test_of_several_layouts_of_a_family_that_is_written_which_loses_least(name: str, tmp_path: Path, run_cli) -> None:
    project = DISCRIMINATORS[name]
    family = "akanimax-progan" if name == "akanimax 2" else "rosinality-hook"
    convert(run_cli, project.write(tmp_path), tmp_path / "plain.pt", "plain", *project.options)
    back = convert(run_cli, tmp_path / "plain.pt", tmp_path / "back.pt", family)
    for key, values in project.state().items():
        np.testing.assert_allclose(back[key], values, rtol=ULP, err_msg=key)


def test_a_size_that_a_setting_says_is_faded_in(tmp_path: Path, run_cli) -> None:
    """facebook's `alpha` is the share of the size before, and elsewhere a level of detail says so, or nothing can."""
    convert(run_cli, GENERATORS["genforce"].write(tmp_path), tmp_path / "fb.pt", "fb-gan-zoo")
    tree = torch.load(tmp_path / "fb.pt", weights_only=True)
    torch.save({**tree, "config": {"alpha": 0.25}}, tmp_path / "fb.pt")
    convert(run_cli, tmp_path / "fb.pt", tmp_path / "plain.pt", "plain")
    images = []
    for number, source in enumerate((tmp_path / "fb.pt", tmp_path / "plain.pt")):
        target = tmp_path / f"{number}.pt"
        assert convert(run_cli, source, target, "genforce-pggan")["lod"] == 0.25
        assert run_cli("verify", source, target).code == 0
        result = run_cli("convert", source, tmp_path / "x.pt", "--to", "mmgen-pggan")
        assert (result.code, "the size before the last is 0.25 in its code" in result.stderr) == (2, True)
        for path in (source, target):
            assert run_cli("export", path, path.with_suffix(".onnx")).code == 0
            images.append(run(path.with_suffix(".onnx"), z=normal("z", 2, Z).numpy()))
    for image in images[1:]:
        assert relative_error(image, images[0]) < 1e-5


def test_a_discriminator_without_the_deviation_of_a_batch(tmp_path: Path, run_cli) -> None:
    """Of which samples it would be taken is then no difference; a target's code that always takes it is named."""
    state = projects.zoo_discriminator()
    name = "groupScaleZero.0.module.weight"
    torch.save({"netD": {**state, name: state[name][:, :12].clone()}}, tmp_path / "x.pt")
    for family, message in (
        ("genforce-pggan", "construct the target with minibatch_std_group_size 0"),
        ("akanimax-progan", "one map of the batch's deviations, and this network has 0"),
        ("progan-flax", "one map of the batch's deviations, and this network has 0"),
    ):
        result = run_cli("convert", tmp_path / "x.pt", tmp_path / f"{family}.pt", "--to", family)
        said = " ".join((result.stdout + result.stderr).split())
        assert (result.code, message in said) == (0, True), said
