"""StyleGAN2's graph computes what the network computes, in every form that the options give it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from eqlr_tools.networks import stylegan2
from eqlr_tools.onnx_export.checking import Trial, check_file, compare, require, snr_db
from eqlr_tools.onnx_export.options import Image, Latent, Noise, Options, Precision
from eqlr_tools.onnx_export.runtime import Provider
from eqlr_tools.onnx_export.stylegan2 import StyleGAN2
from eqlr_tools.onnx_export.stylegan2_discriminator import StyleGAN2Discriminator
from tests.onnx_export.graphs import discriminator_parameters, parameters, with_style_scale
from tests.onnx_export.tensorrt import refused_by_tensorrt
from tests.oracles import Oracle, relative_error


def model_of(network: StyleGAN2, options: Options, part: str = "generator") -> onnx.ModelProto:
    return network.graphs(options)[part].model({})


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(noise=Noise.none),
        Options(noise=Noise.input, latent=Latent.w_plus),
        Options(noise=Noise.random),
        Options(latent=Latent.w, opset=13),
        Options(image=Image.uint8, opset=24),
        Options(split=True),
        Options(split=True, latent=Latent.w_plus, noise=Noise.input),
        Options(precision=Precision.fp16),
        Options(precision=Precision.fp16, noise=Noise.input, opset=13),
        Options(precision=Precision.fp16, noise=Noise.random, image=Image.uint8),
        Options(precision=Precision.mixed, keep_fp32=frozenset(["synthesis.b4.conv1", "synthesis.b8.conv1"])),
    ],
)
@pytest.mark.parametrize("labels", [0, 5])
def test_every_form_agrees_with_the_reference(options: Options, labels: int, tmp_path: Path) -> None:
    network = StyleGAN2(parameters(16, labels=labels), clamp=256.0)
    for part, graph in network.graphs(options).items():
        path = tmp_path / f"{part}.onnx"
        onnx.save(graph.model({"key": "value"}), str(path))
        check_file(path, options.opset)
        least = 100.0 if options.precision is Precision.fp32 else 60.0
        agreements = compare(Trial(part, graph, network, options), path, Provider.cpu, 0.0)
        require(agreements, least)
        assert {found.samples for found in agreements} == {3, 4}, "several seeds, and one of them once more alone"


def test_latents_of_each_place_reach_their_layers() -> None:
    """Style mixing: what the coarse places get must not change what the fine ones do, and the other way round."""
    network = StyleGAN2(parameters(16))
    rng = np.random.default_rng(1)
    places = rng.standard_normal((2, network.styled_places, 16))
    image = run(model_of(network, Options(latent=Latent.w_plus)), w_plus=places.astype(np.float32))
    expected = stylegan2.synthesise(network.parameters, places)
    assert relative_error(image, expected) < 1e-5
    single = stylegan2.synthesise(network.parameters, places[:, 0])
    assert relative_error(single, expected) > 1e-2


def test_clamp_is_applied() -> None:
    p = parameters(8)
    z = np.random.default_rng(1).standard_normal((1, 16)).astype(np.float32)
    psi = np.array(1.0, np.float32)
    limited = run(model_of(StyleGAN2(p, clamp=0.5), Options()), z=z, truncation_psi=psi)
    expected = stylegan2.generate(p, z.astype(np.float64), clamp=0.5)
    assert relative_error(limited, expected) < 1e-5
    assert relative_error(run(model_of(StyleGAN2(p), Options()), z=z, truncation_psi=psi), expected) > 1e-2


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0, 1000.0])
def test_half_precision_keeps_its_accuracy_whatever_the_size_of_the_styles(scale: float) -> None:
    p = parameters(32, 64)
    network = StyleGAN2(with_style_scale(p, scale), clamp=256.0)
    z = np.random.default_rng(2).standard_normal((4, 64))
    expected = stylegan2.generate(network.parameters, z, clamp=256.0)
    psi = np.array(1.0, np.float32)
    image = run(model_of(network, Options(precision=Precision.fp16)), z=z.astype(np.float32), truncation_psi=psi)
    assert min(snr_db(one, wanted) for one, wanted in zip(image, expected, strict=True)) >= 60


def test_half_precision_stores_half_weights_and_computes_styles_in_single() -> None:
    model = model_of(StyleGAN2(parameters(16)), Options(precision=Precision.fp16))
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    convolutions = {
        name: kind for name, kind in kinds.items() if ".conv" in name and name.endswith(("0.weight", "1.weight"))
    }
    assert convolutions
    assert set(convolutions.values()) == {half}
    assert {kinds[name] for name in kinds if ".style." in name or "squares" in name or "torgb" in name} == {single}


@pytest.mark.parametrize("precision", [Precision.fp32, Precision.fp16])
@pytest.mark.parametrize("noise", list(Noise))
def test_nothing_is_used_that_tensorrt_refuses(precision: Precision, noise: Noise) -> None:
    model = model_of(StyleGAN2(parameters(16, labels=3)), Options(precision=precision, noise=noise))
    assert refused_by_tensorrt(model) == []
    assert [port.type.tensor_type.shape.dim[0].dim_param for port in model.graph.output] == ["batch"]


def test_nodes_and_ports_have_names_that_say_what_they_are() -> None:
    model = model_of(StyleGAN2(parameters(8)), Options())
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert "synthesis.b8.conv0/modulate" in names
    assert [port.name for port in model.graph.input] == ["z", "truncation_psi"]


def test_no_zero_is_inserted() -> None:
    """An upsampling layer multiplies as many numbers as the kernel has, not four times as many."""
    model = model_of(StyleGAN2(parameters(8)), Options())
    assert not [node for node in model.graph.node if node.op_type in ("Pad", "Resize", "Upsample", "ScatterND")]
    assert [node.name for node in model.graph.node if node.op_type == "ConvTranspose"] == ["synthesis.b8.conv0/conv"]


@pytest.mark.parametrize(
    ("project", "file", "stored", "name"),
    [
        ("rosinality-stylegan2", "", "d", "d"),
        ("basicsr-stylegan2", "net_d.pth", "params", "net_d"),
        ("nvidia-stylegan2-ada", "", "D", "D"),
    ],
)
def test_oracles_from_image_to_logits(
    shared_dir: Path, tmp_path: Path, run_cli, project: str, file: str, stored: str, name: str
) -> None:
    oracle = Oracle(shared_dir / "oracles" / project)
    target = tmp_path / "discriminator.onnx"
    assert run_cli("export", oracle.files[file], target, "--network", stored).code == 0
    logits = run(onnx.load(str(target)), image=oracle.truth.get_tensor(f"net.{name}.input.img"))
    assert relative_error(logits, oracle.truth.get_tensor(f"net.{name}.output")) < 1e-5


@pytest.mark.parametrize("samples", [1, 2, 3, 4, 8])
def test_discriminator_groups_samples_as_the_reference_does(samples: int) -> None:
    network = StyleGAN2Discriminator(discriminator_parameters(16, 8), clamp=4.0)
    images = np.random.default_rng(0).standard_normal((samples, 3, 16, 16))
    expected = stylegan2.discriminate(network.parameters, images, clamp=4.0)
    logits = run(network.graphs(Options())["discriminator"].model({}), image=images.astype(np.float32))
    assert relative_error(logits, expected) < 1e-5


@pytest.mark.parametrize(
    ("project", "name"),
    [
        ("rosinality-stylegan2", "g_ema"),
        ("rosinality-stylegan2", "g"),
        ("basicsr-stylegan2", "params_ema"),
        ("basicsr-stylegan2", "params"),
        ("nvidia-stylegan2-ada", "G_ema"),
        ("nvidia-stylegan2-ada", "G"),
    ],
)
def test_oracles_through_z_to_image(shared_dir: Path, tmp_path: Path, run_cli, project: str, name: str) -> None:
    oracle = Oracle(shared_dir / "oracles" / project)
    target = tmp_path / "generator.onnx"
    result = run_cli("export", oracle.files[""], target, "--network", name)
    assert result.code == 0, result.stderr
    inputs = {"z": oracle.truth.get_tensor(f"net.{name}.input.z"), "truncation_psi": np.array(1.0, np.float32)}
    image = run(onnx.load(str(target)), **inputs)
    assert relative_error(image, oracle.truth.get_tensor(f"net.{name}.output")) < 1e-5
