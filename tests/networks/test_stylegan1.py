"""StyleGAN1's reference against torch, following each project's order of operations, and files in every layout."""

from __future__ import annotations

import math
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.networks import stylegan1
from eqlr_tools.rewriting.canonical import CanonicalNetwork, canonical_network
from eqlr_tools.rewriting.selection import Selection, recognise_all
from tests import stylegan1_files as files
from tests.conftest import Result
from tests.oracles import relative_error
from tests.stylegan1_files import Arrays

GENERATORS = {
    "genforce-stylegan": files.genforce,
    "interfacegan-stylegan": files.interfacegan,
    "huangzh13-stylegan": files.lernapparat,
    "rosinality-hook": files.rosinality,
    "mmgen-stylegan1": files.mmgen,
    "fb-gan-zoo": files.fb,
    "tae-stylegan": files.tae,
}
NO_CONSTANT_BIAS = {"rosinality-hook", "mmgen-stylegan1", "fb-gan-zoo", "tae-stylegan"}
ONE_STRENGTH = {"mmgen-stylegan1", "fb-gan-zoo"}


def saved(path: Path, arrays: Arrays) -> Path:
    kind = {np.dtype(np.int32): torch.int32}
    tensors = {
        k: torch.tensor(np.array(v), dtype=kind.get(np.asarray(v).dtype, torch.float32)) for k, v in arrays.items()
    }
    torch.save(tensors, path)
    return path


def seen(path: Path, network: str | None = None) -> CanonicalNetwork:
    (recognition,) = recognise_all(open_checkpoint(path), Selection(networks=(network,) if network else ()))
    found = canonical_network(recognition)
    assert found is not None
    return found


def expected_of(p: Arrays, family: str) -> Arrays:
    """What a file of a family can hold of the parameters."""
    wanted = dict(p)
    if family in NO_CONSTANT_BIAS:
        wanted["synthesis.const"] = p["synthesis.const"] + wanted.pop("synthesis.b4.conv0.bias")[:, None, None]
    return wanted


@pytest.mark.parametrize("family", GENERATORS)
@pytest.mark.parametrize("resolution", [16, 128])
def test_files_of_every_project_hold_the_same_parameters(tmp_path: Path, family: str, resolution: int) -> None:
    p = files.network(resolution, uniform_noise=family in ONE_STRENGTH)
    found = seen(saved(tmp_path / "file.pth", GENERATORS[family](p)))
    assert (found.family.id, found.depth.resolution, found.depth.mapping_layers) == (family, resolution, 2)
    assert not found.leftover
    known = {name for name in found.parts if found.parts[name].stored}
    wanted = expected_of(p, family)
    assert known <= {*wanted, "blur", "lod", "mapping.truncation"}
    for name in known & wanted.keys():
        assert relative_error(found.values(name), wanted[name]) < 1e-6, name
    missing = {name.rpartition(".")[2] for name in wanted.keys() - known}
    assert missing <= {"noise", "w_avg", "weight", "bias"}
    assert all("torgb" in name for name in wanted.keys() - known if name.endswith((".weight", ".bias")))


@pytest.mark.parametrize("fused", [True, False])
def test_rosinality_with_and_without_fused_layers(tmp_path: Path, fused: bool) -> None:
    p = files.network(256)
    found = seen(saved(tmp_path / "file.pth", files.rosinality(p, fused=fused)))
    assert found.depth.resolution == 256
    for size in (64, 128, 256):
        name = f"synthesis.b{size}.conv0.weight"
        assert relative_error(found.values(name), p[name]) < 1e-6


def test_pulse_keeps_its_synthesis_apart(tmp_path: Path) -> None:
    p = files.network(16)
    found = seen(saved(tmp_path / "synthesis.pt", files.lernapparat(p, pulse=True)))
    assert (found.depth.resolution, found.depth.mapping_layers) == (16, 0)
    assert relative_error(found.values("synthesis.b16.conv0.weight"), p["synthesis.b16.conv0.weight"]) < 1e-6


@pytest.mark.parametrize(
    ("family", "write", "changes"),
    [
        ("genforce-stylegan", files.genforce_discriminator, {}),
        ("mmgen-stylegan1", files.mmgen_discriminator, {"kernel": 3}),
    ],
)
def test_discriminators_of_projects_hold_the_same_parameters(
    tmp_path: Path, family: str, write: Any, changes: dict[str, Any]
) -> None:
    p = files.discriminator(32, **changes)
    found = seen(saved(tmp_path / "file.pth", write(p)))
    assert (found.family.id, found.depth.resolution) == (family, 32)
    assert not found.leftover
    for name, values in p.items():
        assert relative_error(found.values(name), values) < 1e-6, name


class Network:
    """Pickled under the name of NVIDIA's class; only the state matters."""

    def __init__(self, name: str, function: str, variables: Arrays, **more: Any) -> None:
        arrays = [(key, np.array(value, dtype=np.float32, order="C")) for key, value in variables.items()]
        self.state = {"version": 3, "name": name, "build_func_name": function, "variables": arrays, **more}

    def __getstate__(self) -> dict[str, Any]:
        return {"static_kwargs": {}, "build_module_src": "raise SystemExit"} | self.state


@pytest.fixture
def tf_pickle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("dnnlib", "dnnlib.tflib", "dnnlib.tflib.network"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    named = type("Network", (Network,), {"__module__": "dnnlib.tflib.network"})
    monkeypatch.setattr(sys.modules["dnnlib.tflib.network"], "Network", named, raising=False)
    main, maps, synthesis = files.tf(files.network(128, labels=3))
    parts = {
        "mapping": named("G_mapping", "G_mapping", maps),
        "synthesis": named("G_synthesis", "G_synthesis", synthesis),
    }
    networks = (
        named("D", "D_basic", files.tf_discriminator(files.discriminator(32))),
        named("Gs", "G_style", main, components=parts),
    )
    path = tmp_path / "karras2019stylegan.pkl"
    path.write_bytes(pickle.dumps(networks, protocol=3))
    return path


def test_tensorflow_pickles_hold_the_same_parameters(tf_pickle: Path) -> None:
    for network, p in (("Gs", files.network(128, labels=3)), ("D", files.discriminator(32))):
        found = seen(tf_pickle, network)
        assert found.family.id == "nvidia-stylegan-tf"
        assert not found.leftover
        for name, values in p.items():
            assert relative_error(found.values(name), values) < 1e-6, name


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_tensorflow_pickles_are_baked_where_the_function_of_a_network_is_lost(
    tf_pickle: Path, suffix: str, tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    target = tmp_path / f"plain{suffix}"
    result = run_cli("bake", tf_pickle, target)
    assert result.code == 0, result.stderr
    assert run_cli("verify", tf_pickle, target).code == 0
    again = run_cli("bake", target, tmp_path / f"again{suffix}")
    assert again.code == 3
    assert again.stderr.count("baked by eqlr, was nvidia-stylegan-tf") == 2


def as_torch(p: Arrays) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(values) for name, values in p.items()}


def four_shifted(weight: torch.Tensor) -> torch.Tensor:
    w = functional.pad(weight, (1, 1, 1, 1))
    return w[:, :, 1:, 1:] + w[:, :, :-1, 1:] + w[:, :, 1:, :-1] + w[:, :, :-1, :-1]


def torch_generator(stored: dict[str, torch.Tensor], p: Arrays, w: torch.Tensor, form: str) -> torch.Tensor:
    """A generator's forward pass with torch's operators in a project's order; noise is the network's own.

    `stored` holds what differs from the canonical parameters: kernels of fused up-convolutions as the code sees them.
    """
    q = as_torch(p) | stored
    blur = torch.tensor(stylegan1.BLUR)[None, None]
    eps = 1e-8 if form in ("nvidia", "fb", "tae") else 1e-5
    x = (q["synthesis.const"] + q["synthesis.b4.conv0.bias"][:, None, None])[None].repeat(len(w), 1, 1, 1)
    for number, layer, size, second in files.walk(p):
        column = {kind: q[f"{layer}.{kind}"][:, None, None] for kind in ("bias", "noise_strength")}
        if number:
            first = not second
            weight = q[f"{layer}.weight"]
            if first and size >= 128 and form in ("nvidia", "rosinality"):
                x = functional.conv_transpose2d(x, four_shifted(weight).transpose(0, 1), stride=2, padding=1)
            else:
                mode = {"mode": "bilinear"} if form == "tae" else {"mode": "nearest"}
                x = functional.interpolate(x, scale_factor=2, **mode) if first else x
                x = functional.conv2d(x, weight, padding=1)
            early = form in ("rosinality", "mmgen")
            x = x + column["bias"] if early else x
            x = functional.leaky_relu(x, 0.2) if first and form == "mmgen" else x
            if first and form in ("nvidia", "rosinality", "mmgen"):
                x = functional.conv2d(x, blur.repeat(x.shape[1], 1, 1, 1), padding=1, groups=x.shape[1])
            x = x if early else x + column["bias"]
        x = functional.leaky_relu(x + column["noise_strength"] * q[f"{layer}.noise"], 0.2)
        styled = [
            functional.linear(w, q[f"{layer}.{half}.weight"], q[f"{layer}.{half}.bias"]) for half in ("gamma", "beta")
        ]
        x = styled[0][:, :, None, None] * functional.instance_norm(x, eps=eps) + styled[1][:, :, None, None]
    return functional.conv2d(x, q[f"synthesis.b{size}.torgb.weight"], q[f"synthesis.b{size}.torgb.bias"])


@pytest.mark.parametrize(
    ("family", "form"),
    [
        ("genforce-stylegan", "nvidia"),
        ("rosinality-hook", "rosinality"),
        ("mmgen-stylegan1", "mmgen"),
        ("fb-gan-zoo", "fb"),
        ("tae-stylegan", "tae"),
    ],
)
def test_images_are_those_of_the_projects_order_of_operations(tmp_path: Path, family: str, form: str) -> None:
    """At 128 pixels, where layers are fused, with and without a blur, and from the files alone."""
    p = files.network(128, uniform_noise=family in ONE_STRENGTH)
    found = seen(saved(tmp_path / "file.pth", GENERATORS[family](p)))
    parameters = {name: found.values(name) for name in found.parts}
    noise = {layer: p[f"{layer}.noise"] for _, layer, _, _ in files.walk(p)}
    w = np.random.default_rng(3).standard_normal((2, files.W))
    entries = stylegan1.generator_form(found.naming.form, parameters)
    image = stylegan1.synthesise(parameters, w, entries, noise=noise)
    fused = "synthesis.b128.conv0.weight"
    stored = {fused: torch.tensor(p[fused]).flip(2, 3)} if form in ("nvidia", "rosinality") else {}
    expected = torch_generator(stored, p, torch.tensor(w), form).numpy()
    assert relative_error(image, expected) < 2e-6


def test_discriminator_pools_where_the_project_does() -> None:
    p = files.discriminator(8)
    image = np.random.default_rng(0).standard_normal((4, 3, 8, 8))
    q, x = as_torch(p), torch.tensor(image)
    x = functional.leaky_relu(functional.conv2d(x, q["b8.fromrgb.weight"], q["b8.fromrgb.bias"]), 0.2)
    x = functional.leaky_relu(functional.conv2d(x, q["b8.conv0.weight"], q["b8.conv0.bias"], padding=1), 0.2)
    blur = torch.tensor(stylegan1.BLUR)[None, None].repeat(x.shape[1], 1, 1, 1)
    x = functional.conv2d(x, blur, padding=1, groups=x.shape[1])
    x = functional.conv2d(x, four_shifted(q["b8.conv1.weight"]) / 4, q["b8.conv1.bias"], stride=2, padding=1)
    for pooled in (False, True):
        form = stylegan1.DiscriminatorForm(pooled_after_activation=pooled)
        y = functional.leaky_relu(x, 0.2)
        if pooled:
            before = functional.leaky_relu(
                functional.conv2d(_blurred(p, image), q["b8.conv1.weight"], q["b8.conv1.bias"], padding=1), 0.2
            )
            y = functional.avg_pool2d(before, 2)
        deviation = torch.sqrt(y.var(0, unbiased=False) + 1e-8).mean().expand(4, 1, 4, 4)
        y = functional.leaky_relu(
            functional.conv2d(torch.cat([y, deviation], 1), q["b4.conv.weight"], q["b4.conv.bias"], padding=1), 0.2
        )
        y = functional.leaky_relu(functional.linear(y.flatten(1), q["b4.fc.weight"], q["b4.fc.bias"]), 0.2)
        expected = functional.linear(y, q["b4.out.weight"], q["b4.out.bias"]).numpy()
        assert relative_error(stylegan1.discriminate(p, image, form), expected) < 1e-12


def _blurred(p: Arrays, image: np.ndarray) -> torch.Tensor:
    q = as_torch(p)
    x = functional.leaky_relu(functional.conv2d(torch.tensor(image), q["b8.fromrgb.weight"], q["b8.fromrgb.bias"]), 0.2)
    x = functional.leaky_relu(functional.conv2d(x, q["b8.conv0.weight"], q["b8.conv0.bias"], padding=1), 0.2)
    blur = torch.tensor(stylegan1.BLUR)[None, None].repeat(x.shape[1], 1, 1, 1)
    return functional.conv2d(x, blur, padding=1, groups=x.shape[1])


def test_latents_are_normalised_with_their_label_and_truncated_in_the_first_places() -> None:
    p = files.network(32, labels=3)
    rng = np.random.default_rng(0)
    z, label = rng.standard_normal((2, files.Z)), np.eye(3)[[0, 2]]
    x = np.concatenate([z, label @ p["mapping.label.weight"].T], axis=1)
    x /= np.sqrt(np.square(x).mean(axis=1, keepdims=True) + 1e-8)
    for i in range(2):
        x = x @ p[f"mapping.fc{i}.weight"].T + p[f"mapping.fc{i}.bias"]
        x = np.maximum(x, 0.2 * x)
    form = stylegan1.GeneratorForm(truncated_places=3)
    w = stylegan1.latents(p, z, form, label)
    assert relative_error(w, x) < 1e-14
    places = stylegan1.truncated(p, w, 0.5, form, 8)
    near = (p["mapping.w_avg"] + w) / 2
    assert relative_error(places[:, :3], np.repeat(near[:, None], 3, axis=1)) < 1e-14
    assert relative_error(places[:, 3:], np.repeat(w[:, None], 5, axis=1)) == 0
    assert math.isclose(form.norm_eps, 1e-8)
