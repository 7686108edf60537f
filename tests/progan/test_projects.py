"""The exported graph of every project's ProGAN computes what the project computes, at any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from tests.onnx_export.graphs import load, run
from tests.onnx_export.tensorrt import refused_by_tensorrt
from tests.oracles import relative_error
from tests.progan import projects
from tests.progan.projects import DISCRIMINATORS, GENERATORS, Z, half, normal

UNDIVIDED = ("tf", "tf unfused", "mmgen")
"""Their code takes no batch that its groups do not divide."""


@pytest.mark.parametrize("name", GENERATORS)
def test_generators(name: str, tmp_path: Path, run_cli) -> None:
    project = GENERATORS[name]
    result = run_cli("export", project.write(tmp_path), tmp_path / "x.onnx", *project.options)
    assert result.code == 0, result.stderr
    z = normal("z", 3, Z)
    expected = project.forward(project.state(), z).numpy()
    assert relative_error(run(tmp_path / "x.onnx", z=z.numpy()), expected) < 1e-5


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_at_batches_of_one_group_and_of_several(name: str, tmp_path: Path, run_cli) -> None:
    project = DISCRIMINATORS[name]
    result = run_cli("export", project.write(tmp_path), tmp_path / "x.onnx", *project.options)
    assert result.code == 0, result.stderr
    for samples in (2, 8) if name in UNDIVIDED else (2, 5, 8):
        image = normal("image", samples, 3, 16, 16)
        expected = project.forward(project.state(), image).numpy()
        assert relative_error(run(tmp_path / "x.onnx", image=image.numpy()), expected) < 1e-5, samples


@pytest.mark.parametrize("role", ["generator", "discriminator"])
def test_a_size_that_is_faded_in(role: str, tmp_path: Path, run_cli) -> None:
    project = (GENERATORS if role == "generator" else DISCRIMINATORS)["nashory growing"]
    source, target = project.write(tmp_path), tmp_path / "x.onnx"
    assert run_cli("export", source, target, *project.options, "--alpha", "0.3").code == 0
    given = normal("z", 3, Z) if role == "generator" else normal("image", 3, 3, 16, 16)
    name = "z" if role == "generator" else "image"
    expected = project.forward(project.state(), given, 0.3).numpy()
    assert relative_error(run(target, **{name: given.numpy()}), expected) < 1e-5


@pytest.mark.parametrize("name", ["bmsg", "bmsg discriminator", *DISCRIMINATORS])
def test_tensorrt_takes_the_graphs(name: str, tmp_path: Path, run_cli) -> None:
    if name == "bmsg discriminator":
        torch.save(projects.bmsg_discriminator(), tmp_path / "x.pt")
        source, options = tmp_path / "x.pt", projects.EQUALIZED
    else:
        project = GENERATORS[name] if name == "bmsg" else DISCRIMINATORS[name]
        source, options = project.write(tmp_path), project.options
    assert run_cli("export", source, tmp_path / "x.onnx", *options).code == 0
    assert refused_by_tensorrt(load(tmp_path / "x.onnx")) == []


def test_labels_are_an_input(tmp_path: Path, run_cli) -> None:
    state, target = projects.hook_generator(), tmp_path / "x.onnx"
    torch.save(state, tmp_path / "x.pt")
    assert run_cli("export", tmp_path / "x.pt", target).code == 0
    z, labels = normal("z", 3, Z), torch.tensor([2, 0, 1])
    expected = projects.hook_generate(state, z, labels).numpy()
    image = run(target, z=z.numpy(), label=np.eye(3, dtype=np.float32)[labels.numpy()])
    assert relative_error(image, expected) < 1e-5
    assert run_cli("sample", target, "-o", tmp_path / "x.png", "--seeds", "0-3", "--class", "1").code == 0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_bmsg_generator_has_every_size_and_the_largest_first(precision: str, tmp_path: Path, run_cli) -> None:
    project, target = GENERATORS["bmsg"], tmp_path / "x.onnx"
    source = project.write(tmp_path)
    assert run_cli("export", source, target, *project.options, "--precision", precision).code == 0
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    assert [port.name for port in session.get_outputs()] == ["image", "image_4", "image_8"]
    z = normal("z", 3, Z)
    found = dict(zip(("16", "4", "8"), session.run(None, {"z": z.numpy()}), strict=True))
    for size, expected in zip(("4", "8", "16"), projects.akanimax_images(project.state(), z), strict=True):
        assert relative_error(found[size], expected.numpy()) < (1e-5 if precision == "fp32" else 3e-3)
    assert run_cli("sample", target, "-o", tmp_path / "x.png", "--seeds", "0-3").code == 0
    assert run_cli("export", source, tmp_path / "8.onnx", *project.options, "--resolution", "8").code == 0
    assert relative_error(run(tmp_path / "8.onnx", z=z.numpy()), found["8"]) < 3e-3


@pytest.mark.parametrize("inner", ["", ".module"])
def test_bmsg_discriminator_takes_every_size(inner: str, tmp_path: Path, run_cli) -> None:
    state, target = projects.bmsg_discriminator(inner), tmp_path / "x.onnx"
    torch.save(state, tmp_path / "x.pt")
    assert run_cli("export", tmp_path / "x.pt", target, *projects.EQUALIZED).code == 0
    image = normal("image", 5, 3, 16, 16)
    images = {16: image, 8: half(image) + 0.1, 4: half(half(image)) - 0.1}
    inputs = {"image" if size == 16 else f"image_{size}": given.numpy() for size, given in images.items()}
    expected = projects.bmsg_discriminate(state, images).numpy()
    assert relative_error(run(target, **inputs), expected) < 1e-5
    assert run_cli("export", tmp_path / "x.pt", target, *projects.EQUALIZED, "--alpha", "0.5", "--force").code == 2


@pytest.mark.parametrize(("roles", "name"), [(GENERATORS, "tf"), (DISCRIMINATORS, "tf"), (GENERATORS, "genforce")])
def test_half_precision_reaches_60_db(roles: dict[str, projects.Project], name: str, tmp_path: Path, run_cli) -> None:
    source = roles[name].write(tmp_path)
    assert run_cli("export", source, tmp_path / "x.onnx", "--precision", "fp16").code == 0


def test_the_size_that_a_file_says_is_exported(tmp_path: Path, run_cli) -> None:
    """lod 1.25: 8x8 pixels are the last size but one, and the size is faded in to three quarters."""
    state = projects.tf_generator(True)
    torch.save({**state, "lod": torch.tensor(1.25)}, tmp_path / "x.pt")
    result = run_cli("export", tmp_path / "x.pt", tmp_path / "x.onnx")
    assert "exported at size 8" in result.stdout + result.stderr
    assert "faded in to 0.75" in result.stdout + result.stderr
    torch.save(state, tmp_path / "y.pt")
    assert run_cli("export", tmp_path / "y.pt", tmp_path / "y.onnx", "--resolution", "8", "--alpha", "0.75").code == 0
    z = normal("z", 2, Z).numpy()
    np.testing.assert_array_equal(run(tmp_path / "x.onnx", z=z), run(tmp_path / "y.onnx", z=z))


def test_what_is_not_known_is_asked_and_what_is_more_is_refused(tmp_path: Path, run_cli) -> None:
    bmsg = GENERATORS["bmsg"].write(tmp_path)
    result = run_cli("export", bmsg, tmp_path / "x.onnx")
    assert (result.code, "--family akanimax-progan" in result.stderr) == (2, True)
    state = projects.akanimax_discriminator() | {"layers.2.label_embedder.weight": torch.ones(4, 12)}
    torch.save(projects.conf("discriminator")(state), tmp_path / "conditional.pt")
    result = run_cli("export", tmp_path / "conditional.pt", tmp_path / "x.onnx")
    assert (result.code, "label_embedder" in result.stderr) == (2, True)
    assert not (tmp_path / "x.onnx").exists()


def test_files_of_the_zoo_s_first_months_have_no_module_in_their_names(
    shared_dir: Path, tmp_path: Path, run_cli
) -> None:
    source = shared_dir / "oracles" / "fb-gan-zoo-pgan" / "checkpoint.pt"
    assert run_cli("convert", source, tmp_path / "plain.pt", "--to", "plain", "--network", "avgG").code == 0
    assert run_cli("convert", tmp_path / "plain.pt", tmp_path / "new.pt", "--to", "fb-gan-zoo").code == 0
    state = torch.load(tmp_path / "new.pt", weights_only=True)["avgG"]
    torch.save({"avgG": {name.replace(".module", ""): values for name, values in state.items()}}, tmp_path / "old.pt")
    for name in ("new", "old"):
        assert run_cli("export", tmp_path / f"{name}.pt", tmp_path / f"{name}.onnx").code == 0
    z = normal("z", 2, 32).numpy()
    np.testing.assert_array_equal(run(tmp_path / "new.onnx", z=z), run(tmp_path / "old.onnx", z=z))
