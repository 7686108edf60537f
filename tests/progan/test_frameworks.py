"""ProGANs of other frameworks: exported as their code computes, converted to others that compute alike, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests.onnx_export.graphs import run
from tests.oracles import relative_error
from tests.progan import projects
from tests.progan.frameworks import DISCRIMINATORS, GENERATORS
from tests.progan.projects import Project, Z, normal
from tests.progan.test_converting import convert

ROLES = [(role, name) for role, named in (("z", GENERATORS), ("image", DISCRIMINATORS)) for name in named]


def given(role: str) -> tuple[dict[str, Project], torch.Tensor]:
    return (GENERATORS, normal("z", 3, Z)) if role == "z" else (DISCRIMINATORS, normal("image", 4, 3, 16, 16))


@pytest.mark.parametrize(("role", "name"), ROLES)
def test_exported_as_it_is_and_by_way_of_plain_names(role: str, name: str, tmp_path: Path, run_cli: Any) -> None:
    named, x = given(role)
    project = named[name]
    source, plain = project.write(tmp_path), tmp_path / "plain.pt"
    convert(run_cli, source, plain, "plain")
    expected = project.forward(project.state(), x).numpy()
    # A deviation may be small where a mean is not, and what is divided by it is as exact as it.
    allowed = 1e-4 if (role, name) == ("z", "flax") else 1e-5
    for number, path in enumerate((source, plain)):
        target = tmp_path / f"{number}.onnx"
        assert run_cli("export", path, target).code == 0
        assert relative_error(run(target, **{role: x.numpy()}), expected) < allowed


WRITTEN = {"chainer": "chainer-progan", "teome": "chainer-progan", "flax": "progan-flax"}


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, name in ROLES if name in WRITTEN])
def test_plain_and_back(role: str, name: str, tmp_path: Path, run_cli: Any) -> None:
    project = given(role)[0][name]
    convert(run_cli, project.write(tmp_path), tmp_path / "plain.pt", "plain")
    back = convert(run_cli, tmp_path / "plain.pt", tmp_path / "back.pt", WRITTEN[name])
    state = project.state()
    if name == "flax":
        state = {key.replace("/", "."): values for key, values in state.items()}
    assert back.keys() == state.keys()
    for key, values in state.items():
        np.testing.assert_allclose(back[key], values, rtol=2.5e-7, err_msg=key)


def test_tensorflow_gans_generator_in_genforce(tmp_path: Path, run_cli: Any) -> None:
    project, z = GENERATORS["tfgan"], normal("z", 3, Z)
    state = convert(run_cli, project.write(tmp_path), tmp_path / "x.pt", "genforce-pggan")
    expected = project.forward(project.state(), z).numpy()
    assert relative_error(projects.genforce_generate(state, z).numpy(), expected) < 1e-5


@pytest.mark.parametrize("name", ["chainer", "flax", "tfgan"])
def test_discriminators_in_genforce_which_has_a_setting_for_groups(name: str, tmp_path: Path, run_cli: Any) -> None:
    project, image = DISCRIMINATORS[name], normal("image", 4, 3, 16, 16)
    source, target = project.write(tmp_path), tmp_path / "x.pt"
    result = run_cli("convert", source, target, "--to", "genforce-pggan")
    said = " ".join((result.stdout + result.stderr).split())
    assert (result.code, "construct the target with minibatch_std_group_size accordingly" in said) == (0, True)
    size = "4" if name == "flax" else "that of the whole batch"  # 0, which would switch it off, is not what is meant.
    assert f"the number of samples whose deviation is taken must be {size}: construct" in said
    state = torch.load(target, weights_only=True)["discriminator"]
    expected = project.forward(project.state(), image).numpy()
    assert relative_error(projects.genforce_discriminate(state, image).numpy(), expected) < 1e-5


@pytest.mark.parametrize(
    ("role", "name", "family", "message"),
    [
        ("z", "chainer", "genforce-pggan", "dividing z by its root mean square is off in its code and on"),
        ("z", "teome", "chainer-progan", "is chainer-progan already"),
        ("z", "teome", "genforce-pggan", "the slope of its leaky ReLU is 0.01 in its code and 0.2"),
        ("z", "flax", "chainer-progan", "dividing all pixels of the first layer by one number is on in its code"),
        ("z", "tfgan", "progan-flax", "dividing z by its root mean square is on in its code and off"),
        ("image", "chainer", "tfgan-progan", "checkpoints of TensorFlow, which eqlr does not write"),
        (
            "image",
            "flax",
            "chainer-progan",
            "samples whose deviation is taken is 4 in its code and that of the whole",
        ),
    ],
)
def test_what_a_target_computes_otherwise(
    role: str, name: str, family: str, message: str, tmp_path: Path, run_cli: Any
) -> None:
    result = run_cli("convert", given(role)[0][name].write(tmp_path), tmp_path / "x.pt", "--to", family)
    assert (result.code, message in " ".join(result.stderr.split())) == (2, True), result.stderr


@pytest.mark.parametrize("separator", ["/", "."])
def test_a_whole_state_of_flax(separator: str, tmp_path: Path, run_cli: Any) -> None:
    """Its networks are told apart by the names that the project's state gives them."""
    flat = {
        f"{network}/{name}".replace("/", separator): values.numpy()
        for network, project in (("g_ema_params", GENERATORS["flax"]), ("d_params", DISCRIMINATORS["flax"]))
        for name, values in project.state().items()
    }
    save_file(flat, tmp_path / "x.safetensors")
    assert run_cli("convert", tmp_path / "x.safetensors", tmp_path / "plain.pt", "--to", "plain").code == 0
    assert torch.load(tmp_path / "plain.pt", weights_only=True).keys() >= {"generator_ema", "discriminator"}


def test_a_bias_that_is_repeated_for_every_pixel_is_no_copy(tmp_path: Path, run_cli: Any) -> None:
    """Divided by facebook's constant and multiplied by it again, some differ in the last place."""
    state = projects.genforce_generator(fused=False)
    wide = {
        "layer0.weight": normal("layer0", 512, Z, 4, 4),
        "layer0.bias": normal("bias", 512),
        "layer1.weight": normal("layer1", 12, 512, 3, 3),
    }
    torch.save({"generator": state | wide}, tmp_path / "x.pt")
    for suffix in (".pt", ".safetensors"):
        result = run_cli("convert", tmp_path / "x.pt", tmp_path / f"fb{suffix}", "--to", "fb-gan-zoo")
        assert result.code == 0, result.stderr
