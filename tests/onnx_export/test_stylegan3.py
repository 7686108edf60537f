"""StyleGAN3's graph computes what an independent formulation in torch computes, and what NVIDIA's code did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from eqlr_tools.networks import stylegan3
from eqlr_tools.networks.fir import upsampling as upsampling_matrix
from eqlr_tools.onnx_export.checking import snr_db
from eqlr_tools.onnx_export.fir import upsampling
from eqlr_tools.onnx_export.options import Latent, Options, Precision
from eqlr_tools.onnx_export.stylegan3 import StyleGAN3
from tests.networks.alias_free import AliasFree
from tests.onnx_export.tensorrt import refused_by_tensorrt
from tests.oracles import Oracle, relative_error

KINDS = [{"kernel": 3}, {"kernel": 1, "radial": True}]


def network_of(net: AliasFree) -> StyleGAN3:
    arrays = net.arrays()
    measured = stylegan3.form_of({name: values.shape for name, values in arrays.items()})
    assert [(x.in_size, x.out_size, x.up, x.down) for x in measured.layers] == [
        (x.in_size, x.out_size, x.up, x.down) for x in net.layers
    ]
    return StyleGAN3(arrays, measured)


def run(network: StyleGAN3, options: Options, **inputs: Any) -> np.ndarray:
    return run_model(network.graphs(options)["generator"].model({}), **inputs)


def run_model(model: onnx.ModelProto, **inputs: Any) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {name: np.asarray(value, dtype=np.float32) for name, value in inputs.items()}
    return np.asarray(session.run(None, feed)[0], dtype=np.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_reference_and_graph_agree_with_torch(kind: dict[str, Any]) -> None:
    """From one w per place, so that each reaches its own layer."""
    net = AliasFree(16, 4, width=6, **kind)
    network = network_of(net)
    w = torch.randn(2, network.form.places, 6, generator=net.torch, dtype=torch.float64)
    wanted = net.image(w).numpy()
    assert relative_error(stylegan3.synthesise(network.parameters, network.form, w.numpy()), wanted) < 1e-12
    assert relative_error(run(network, Options(latent=Latent.w_plus), w_plus=w.numpy()), wanted) < 1e-5
    swapped = net.image(w.flip(1)).numpy()
    assert relative_error(swapped, wanted) > 1e-2


def test_a_transform_turns_shifts_and_fades_frequencies_out() -> None:
    net = AliasFree(16, 4, width=6)
    net.parameters["synthesis.input.transform"] = torch.tensor(
        [[2.4, -0.7, 0.3], [0.5, 2.1, -0.2], [0, 0, 1]], dtype=torch.float64
    )
    network = network_of(net)
    w = torch.randn(1, 6, generator=net.torch, dtype=torch.float64)
    wanted = net.image(w[:, None].repeat(1, network.form.places, 1)).numpy()
    assert relative_error(stylegan3.synthesise(network.parameters, network.form, w.numpy()), wanted) < 1e-12
    assert relative_error(run(network, Options(latent=Latent.w), w=w.numpy()), wanted) < 1e-5


def test_labels_and_truncation() -> None:
    net = AliasFree(16, 4, width=6, labels=3)
    network = network_of(net)
    z, label = torch.randn(2, 6, generator=net.torch, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[[2, 0]]
    average = net.parameters["mapping.w_avg"]
    w = average + 0.6 * (net.w(z, label) - average)
    wanted = net.image(w[:, None].repeat(1, network.form.places, 1)).numpy()
    found = run(network, Options(), z=z.numpy(), label=label.numpy(), truncation_psi=0.6)
    assert relative_error(found, wanted) < 1e-5


def test_stylegan_xl_truncates_towards_its_class() -> None:
    net = AliasFree(16, 4, width=6, labels=3)
    net._put("mapping.w_avg", 3, 6)
    network = network_of(net)
    z, label = torch.randn(2, 6, generator=net.torch, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[[2, 0]]
    average = label @ net.parameters["mapping.w_avg"]
    w = average + 0.6 * (net.w(z, label) - average)
    wanted = net.image(w[:, None].repeat(1, network.form.places, 1)).numpy()
    found = run(network, Options(), z=z.numpy(), label=label.numpy(), truncation_psi=0.6)
    assert relative_error(found, wanted) < 1e-5


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_keeps_its_accuracy_whatever_the_size_of_the_styles(scale: float, kind: dict[str, Any]) -> None:
    net = AliasFree(32, 6, width=24, **kind)
    for layer in net.layers[:-1]:
        net.parameters[f"{layer.name}.style.weight"] *= scale
        net.parameters[f"{layer.name}.style.bias"] *= scale
    network = network_of(net)
    z = np.random.default_rng(2).standard_normal((2, 24))
    wanted = stylegan3.generate(network.parameters, network.form, z)
    found = run(network, Options(precision=Precision.fp16), z=z, truncation_psi=1.0)
    assert min(snr_db(one, image) for one, image in zip(found, wanted, strict=True)) >= 60


def test_half_precision_stores_the_large_convolutions_in_half() -> None:
    network = network_of(AliasFree(32, 6, width=6))
    model = network.graphs(Options(precision=Precision.fp16))["generator"].model({})
    half = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    sizes = {layer.name: layer.in_size for layer in network.form.layers}
    names = [layer.name for layer in network.form.layers]
    assert half == {f"{name}.weight" for name in network.half_layers}
    assert 2 <= len(half) <= 4
    assert sizes[network.half_layers[0]] == 52
    assert not set(names[-3:]) & set(network.half_layers)


@pytest.mark.parametrize(
    ("length", "taps", "up", "padding"),
    [(14, 12, 2, (9, 8)), (30, 12, 2, (-11, -12)), (38, 24, 4, (-6, -9)), (9, 6, 3, (2, 4))],
)
def test_phases_are_the_rows_of_the_upsampling_matrix(
    length: int, taps: int, up: int, padding: tuple[int, int]
) -> None:
    fir = np.random.default_rng(0).standard_normal(taps)
    matrix = upsampling_matrix(length, fir, up, padding)
    way = upsampling(length, fir, up, padding[0], len(matrix))
    x = np.random.default_rng(1).standard_normal(length)
    seen = np.pad(x[way.crop[0] : length - way.crop[1]], way.pads)
    phases = [np.correlate(seen, taps, "valid") for taps in way.phases]
    assert way.crop[0] * way.pads[0] == way.crop[1] * way.pads[1] == 0
    np.testing.assert_allclose(np.stack(phases, axis=1).ravel()[: len(matrix)], matrix @ x, atol=1e-12)


def test_nothing_is_used_that_tensorrt_refuses_and_no_zero_is_inserted() -> None:
    graph = network_of(AliasFree(16, 4, width=6, labels=2)).graphs(Options(precision=Precision.fp16))["generator"]
    model = graph.model({})
    assert refused_by_tensorrt(model) == []
    assert not {"Pad", "ScatterND", "Resize", "ConvTranspose"} & {node.op_type for node in model.graph.node}
    assert [port.type.tensor_type.shape.dim[0].dim_param for port in model.graph.output] == ["batch"]


@pytest.mark.parametrize("name", ["G_ema", "G"])
def test_oracle_through_z_to_image(shared_dir: Path, tmp_path: Path, run_cli: Any, name: str) -> None:
    oracle = Oracle(shared_dir / "oracles" / "nvidia-stylegan3-t")
    target = tmp_path / "generator.onnx"
    result = run_cli("export", oracle.files[""], target, "--network", name)
    assert result.code == 0, result.stderr
    z = oracle.truth.get_tensor(f"net.{name}.input.z")
    image = run_model(onnx.load(str(target)), z=z, truncation_psi=1.0)
    assert relative_error(image, oracle.truth.get_tensor(f"net.{name}.output")) < 1e-5


def test_oracles_discriminator(shared_dir: Path, tmp_path: Path, run_cli: Any) -> None:
    oracle = Oracle(shared_dir / "oracles" / "nvidia-stylegan3-t")
    target = tmp_path / "discriminator.onnx"
    assert run_cli("export", oracle.files[""], target, "--network", "D").code == 0
    logits = run_model(onnx.load(str(target)), image=oracle.truth.get_tensor("net.D.input.img"))
    assert relative_error(logits, oracle.truth.get_tensor("net.D.output")) < 1e-5


@pytest.mark.parametrize(
    "options",
    [
        ("--precision", "fp16", "--image", "uint8"),
        ("--precision", "mixed", "--opset", "13"),
        ("--split", "--input", "w+"),
        ("--noise", "none", "--clamp", "inf"),
    ],
)
def test_every_form_is_checked_and_written(
    shared_dir: Path, tmp_path: Path, run_cli: Any, options: tuple[str, ...]
) -> None:
    source = shared_dir / "oracles" / "nvidia-stylegan3-t" / "checkpoint.pkl"
    result = run_cli("export", source, tmp_path / "x.onnx", "--network", "G_ema", *options)
    assert result.code == 0, result.stderr
    assert list(tmp_path.glob("*.onnx"))


def test_noise_is_refused_in_a_sentence(shared_dir: Path, tmp_path: Path, run_cli: Any) -> None:
    source = shared_dir / "oracles" / "nvidia-stylegan3-t" / "checkpoint.pkl"
    result = run_cli("export", source, tmp_path / "x.onnx", "--network", "G_ema", "--noise", "input")
    assert (result.code, "adds no noise" in result.stderr) == (2, True)


def test_converted_files_give_the_same_graph(shared_dir: Path, tmp_path: Path, run_cli: Any) -> None:
    """Hammer's files have neither modules nor sizes in their names: all follows from the shapes."""
    oracle = Oracle(shared_dir / "oracles" / "nvidia-stylegan3-t")
    source, target = tmp_path / "hammer.pt", tmp_path / "hammer.onnx"
    assert run_cli("convert", oracle.files[""], source, "--to", "hammer-stylegan3", "--network", "G_ema").code == 0
    assert run_cli("export", source, target).code == 0
    image = run_model(onnx.load(str(target)), z=oracle.truth.get_tensor("net.G_ema.input.z"), truncation_psi=1.0)
    assert relative_error(image, oracle.truth.get_tensor("net.G_ema.output")) < 1e-5


def test_images_are_drawn(shared_dir: Path, tmp_path: Path, run_cli: Any) -> None:
    source = shared_dir / "oracles" / "nvidia-stylegan3-t" / "checkpoint.pkl"
    picture = tmp_path / "grid.png"
    result = run_cli("sample", source, "--network", "G_ema", "-o", picture, "--seeds", "0-3", "--truncation", "0.7")
    assert result.code == 0, result.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")
