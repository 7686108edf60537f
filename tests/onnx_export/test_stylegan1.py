"""StyleGAN1's graphs make what the projects' own classes made, in every form that the options give them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from eqlr_tools.networks import stylegan1
from eqlr_tools.networks.stylegan1 import WHOLE_BATCH, DiscriminatorForm, GeneratorForm
from eqlr_tools.onnx_export.checking import Trial, check_file, compare, require, snr_db
from eqlr_tools.onnx_export.network import OnnxNetwork
from eqlr_tools.onnx_export.options import Image, Latent, Noise, Options, Precision
from eqlr_tools.onnx_export.runtime import Provider
from eqlr_tools.onnx_export.stylegan1 import StyleGAN1
from eqlr_tools.onnx_export.stylegan1_discriminator import StyleGAN1Discriminator
from tests import stylegan1_files as files
from tests.onnx_export.graphs import run
from tests.onnx_export.tensorrt import refused_by_tensorrt
from tests.oracles import Oracle, relative_error


@pytest.mark.parametrize(
    ("project", "name", "network", "maps"),
    [
        ("rosinality-stylegan1", "g_running", "g_running", 3),
        ("rosinality-stylegan1", "generator", "generator", 3),
        ("huangzh13-stylegan", "gen_shadow", "model", 6),
        ("huangzh13-stylegan", "gen", "model", 6),
        ("aladdin-stylegan", "gen", "state_dict", 6),
    ],
)
def test_oracles_from_z_to_image_while_a_size_is_faded_in(
    shared_dir: Path, tmp_path: Path, run_cli, project: str, name: str, network: str, maps: int
) -> None:
    oracle = Oracle(shared_dir / "oracles" / project)
    target = tmp_path / "generator.onnx"
    source = oracle.files[oracle.file_and_path(name)[0]]
    grown = ("--resolution", "16", "--alpha", "0.7", "--noise", "input")
    result = run_cli("export", source, target, "--network", network, *grown)
    assert result.code == 0, result.stderr
    layers = [f"b{size}{conv}" for size in (4, 8, 16) for conv in (("",) if maps == 3 else ("_conv0", "_conv1"))]
    given = [oracle.truth.get_tensor(f"net.{name}.input.noise{number}") for number in range(maps)]
    noise = {
        f"noise_{layer}": np.repeat(values, 2 // len(values), axis=0)
        for layer, values in zip(layers, given, strict=True)
    }
    image = run(target, z=oracle.truth.get_tensor(f"net.{name}.input.z"), **noise)
    assert relative_error(image, oracle.truth.get_tensor(f"net.{name}.output")) < 1e-5


@pytest.mark.parametrize(
    ("project", "name", "network"),
    [("rosinality-stylegan1", "discriminator", "discriminator"), ("huangzh13-stylegan", "dis", "model")],
)
def test_oracles_from_image_to_logits(
    shared_dir: Path, tmp_path: Path, run_cli, project: str, name: str, network: str
) -> None:
    oracle = Oracle(shared_dir / "oracles" / project)
    target = tmp_path / "discriminator.onnx"
    source = oracle.files[oracle.file_and_path(name)[0]]
    result = run_cli("export", source, target, "--network", network, "--resolution", "16", "--alpha", "0.7")
    assert result.code == 0, result.stderr
    logits = run(target, image=oracle.truth.get_tensor(f"net.{name}.input.img"))
    assert relative_error(logits, oracle.truth.get_tensor(f"net.{name}.output")) < 1e-5


NVIDIA = GeneratorForm(truncated_places=3)
BLURRED_BIAS = GeneratorForm(bias_before_blur=True, shared_noise=True, norm_eps=1e-5)
BILINEAR = GeneratorForm(
    bilinear=True,
    constant_activated=False,
    mapping_slope=0.0,
    mapping_ends_linear=True,
    norm_eps=1e-5,
    tanh=True,
    bare_start=True,
)
ACTIVATED = GeneratorForm(activated_before_blur=True, norm_eps=1e-5)


def agrees(network: OnnxNetwork, options: Options, path: Path, least_half: float = 58.0) -> None:
    least = 100.0 if options.precision is Precision.fp32 else least_half
    for part, graph in network.graphs(options).items():
        onnx.save(graph.model({}), str(path))
        check_file(path, options.opset)
        require(compare(Trial(part, graph, network, options), path, Provider.cpu, least), least)


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(noise=Noise.none, opset=13),
        Options(noise=Noise.input, latent=Latent.w_plus),
        Options(noise=Noise.random),
        Options(latent=Latent.w, image=Image.uint8),
        Options(split=True),
        Options(split=True, latent=Latent.w_plus, noise=Noise.input),
        Options(precision=Precision.fp16),
        Options(precision=Precision.fp16, noise=Noise.random, opset=13),
        Options(precision=Precision.mixed, keep_fp32=frozenset(["synthesis.b8.conv0"])),
    ],
)
@pytest.mark.parametrize("form", [NVIDIA, BLURRED_BIAS, BILINEAR, ACTIVATED])
def test_every_form_agrees_with_the_reference(form: GeneratorForm, options: Options, tmp_path: Path) -> None:
    agrees(StyleGAN1(files.network(16, labels=3 * (form is NVIDIA)), 16, form=form), options, tmp_path / "x.onnx")


@pytest.mark.parametrize("form", [NVIDIA, BILINEAR])
@pytest.mark.parametrize(("resolution", "alpha"), [(4, 1.0), (8, 0.25), (16, 0.5), (32, 1.0)])
def test_sizes_of_a_growing_network(form: GeneratorForm, resolution: int, alpha: float, tmp_path: Path) -> None:
    agrees(StyleGAN1(files.network(32), resolution, alpha, form), Options(), tmp_path / "x.onnx")


@pytest.mark.parametrize(
    "form", [DiscriminatorForm(), DiscriminatorForm(True, True, True, WHOLE_BATCH), DiscriminatorForm(group_size=2)]
)
@pytest.mark.parametrize("options", [Options(), Options(precision=Precision.fp16), Options(opset=13)])
def test_discriminators_agree_with_the_reference(form: DiscriminatorForm, options: Options, tmp_path: Path) -> None:
    for kernel, resolution, alpha in ((1, 16, 1.0), (3, 32, 0.3)):
        p = files.discriminator(32, kernel=kernel)
        agrees(StyleGAN1Discriminator(p, resolution, alpha, form), options, tmp_path / "x.onnx", 50.0)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0, 1000.0])
def test_half_precision_keeps_its_accuracy_whatever_the_size_of_the_styles(scale: float) -> None:
    p = wide_network(32, 64)
    scaled = {name: value * scale if ".gamma." in name or ".beta." in name else value for name, value in p.items()}
    network = StyleGAN1(scaled, 32)
    z = np.random.default_rng(2).standard_normal((4, 64))
    (graph,) = network.graphs(Options(precision=Precision.fp16)).values()
    session = onnxruntime.InferenceSession(graph.model({}).SerializeToString(), providers=["CPUExecutionProvider"])
    image = session.run(None, {"z": z.astype(np.float32), "truncation_psi": np.array(1.0, np.float32)})[0]
    expected = stylegan1.generate(scaled, z, network.form)
    assert min(snr_db(one, wanted) for one, wanted in zip(image, expected, strict=True)) >= 60


def wide_network(resolution: int, width: int) -> dict[str, np.ndarray]:
    """As wide as half precision is used for: rounding errors average out over many channels."""
    rng = np.random.default_rng(0)
    p = {}
    for name, value in files.network(resolution).items():
        head, _, kind = name.rpartition(".")
        shape = list(value.shape)
        if kind == "const":
            shape[0] = width
        elif kind in ("weight", "bias", "noise_strength", "w_avg"):
            shape = [size if size == 3 or axis > 1 else width for axis, size in enumerate(shape)]
        norm = np.sqrt(np.prod(shape[1:])) if kind == "weight" else 1.0 if kind in ("const", "noise") else 5.0
        p[name] = rng.standard_normal(shape) / norm + (head.endswith("gamma") and kind == "bias")
    return p


@pytest.mark.parametrize("precision", [Precision.fp32, Precision.fp16])
@pytest.mark.parametrize("noise", list(Noise))
def test_nothing_is_used_that_tensorrt_refuses(precision: Precision, noise: Noise) -> None:
    for form in (NVIDIA, BILINEAR):
        network = StyleGAN1(files.network(16), 16, 0.5, form)
        (graph,) = network.graphs(Options(precision=precision, noise=noise)).values()
        assert refused_by_tensorrt(graph.model({})) == []


def test_the_level_of_detail_says_which_size_is_in_use(tmp_path: Path, run_cli) -> None:
    p = files.genforce(files.network(32)) | {"synthesis.lod": np.array(1.25)}
    torch.save(
        {name: torch.tensor(np.array(value), dtype=torch.float32) for name, value in p.items()}, tmp_path / "x.pth"
    )
    result = run_cli("export", tmp_path / "x.pth", tmp_path / "x.onnx", "-f", "json")
    assert result.code == 0, result.stderr
    facts = json.loads(result.stdout)["facts"]
    assert (facts["resolution"], facts["alpha"]) == (16, 0.75)
    z = np.zeros((1, files.Z), np.float32)
    assert run(tmp_path / "x.onnx", z=z).shape == (1, 3, 16, 16)
    assert run_cli("export", tmp_path / "x.pth", tmp_path / "y.onnx", "--resolution", "64").code == 2


def test_a_synthesis_without_a_mapping_starts_from_w(tmp_path: Path, run_cli) -> None:
    p = files.lernapparat(files.network(16), pulse=True)
    torch.save(
        {name: torch.tensor(np.array(value), dtype=torch.float32) for name, value in p.items()}, tmp_path / "x.pt"
    )
    assert run_cli("export", tmp_path / "x.pt", tmp_path / "x.onnx").code == 2
    result = run_cli("export", tmp_path / "x.pt", tmp_path / "x.onnx", "--input", "w")
    assert result.code == 0, result.stderr
    assert run(tmp_path / "x.onnx", w=np.ones((3, files.W), np.float32)).shape == (3, 3, 16, 16)


def test_images_are_drawn(shared_dir: Path, tmp_path: Path, run_cli) -> None:
    source = shared_dir / "oracles" / "huangzh13-stylegan" / "GAN_GEN_SHADOW_2_10.pth"
    target = tmp_path / "grid.png"
    result = run_cli("sample", source, "-o", target, "--seeds", "0-3", "--truncation", "0.7")
    assert result.code == 0, result.stderr
    assert target.stat().st_size > 1000
