"""flaxmodels' StyleGAN2 and moono's: what their own code computes, and the canonical networks that eqlr makes of their
files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.networks import stylegan2
from eqlr_tools.rewriting.canonical import CanonicalNetwork, canonical_network
from eqlr_tools.rewriting.selection import Selection, recognise_all
from tests.framework_networks import (
    SIZES,
    WIDTHS,
    Arrays,
    Get,
    W,
    critic,
    discriminate,
    flax_generator,
    flax_names,
    generate,
    moono_generator,
    moono_names,
)


def hdf5(path: Path, arrays: Arrays, group: str = "") -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[f"{group}{name}"] = array
    return path


def canonical(path: Path) -> CanonicalNetwork:
    (recognition,) = recognise_all(open_checkpoint(path), Selection())
    found = canonical_network(recognition)
    assert found is not None
    return found


def converted(run_cli: Any, path: Path) -> stylegan2.Parameters:
    """The parameters by way of another project's file, and of a plain one, which must be the same."""
    parameters = []
    for to in ("nvidia-stylegan2-ada", "plain"):
        there = path.with_name(f"{to}.safetensors")
        result = run_cli("convert", path, there, "--to", to)
        assert result.code == 0, result.stderr
        network = canonical(there)
        parameters.append({name: network.values(name) for name in network.parts})
    one, other = parameters
    for name in one.keys() & other.keys():
        np.testing.assert_allclose(one[name], other[name], rtol=3e-7, atol=1e-7, err_msg=name)
    return other


def noises() -> dict[str, Tensor]:
    return {f"{size}.{n}": torch.randn(1, 1, size, size).double() for size in SIZES for n in (0, 1)}


def close(ours: np.ndarray, theirs: Tensor) -> bool:
    return bool(abs(ours - theirs.numpy()).max() <= 1e-5 * abs(theirs).max())


def same_images(p: stylegan2.Parameters, get: Get, labels: int = 0) -> bool:
    noise, z = noises(), torch.randn(3, W).double()
    label = torch.eye(labels).double()[:3] if labels else None
    maps = {f"synthesis.b{key.replace('.', '.conv')}": value.numpy() for key, value in noise.items()}
    w = stylegan2.latents(p, z.numpy(), None if label is None else label.numpy())
    return close(stylegan2.synthesise(p, w, noise=maps), generate(get, z, noise, label))


@pytest.mark.parametrize("labels", [0, 4])
def test_generator_of_flaxmodels(run_cli: Any, tmp_path: Path, labels: int) -> None:
    arrays, get = flax_generator(labels)
    p = converted(run_cli, hdf5(tmp_path / "generator.h5", arrays))
    assert same_images(p, get, labels)
    np.testing.assert_array_equal(p["mapping.w_avg"], arrays["mapping_network/w_avg"])
    noise = arrays["synthesis_network/block_8x8/layer1/noise_const"][0, :, :, 0]
    np.testing.assert_array_equal(p["synthesis.b8.conv1.noise"], noise)


@pytest.mark.parametrize(("residual", "labels"), [(True, 0), (False, 0), (True, 4)])
def test_discriminator_of_flaxmodels(run_cli: Any, tmp_path: Path, residual: bool, labels: int) -> None:
    _, names = flax_names(residual)
    arrays, get = critic(names, "/weight", lambda word: f"{names[word]}/bias", labels)
    p = converted(run_cli, hdf5(tmp_path / "discriminator.h5", arrays, "discriminator/"))
    image, label = torch.randn(4, 3, 16, 16).double(), torch.eye(4).double() if labels else None
    logits = stylegan2.discriminate(p, image.numpy(), label=None if label is None else label.numpy())
    assert close(logits, discriminate(get, image, residual=residual, label=label))
    source, there = tmp_path / "discriminator.h5", tmp_path / "again.safetensors"
    said = run_cli("convert", source, there, "--to", "nvidia-stylegan2-ada")
    assert "takes the deviation of the whole batch: construct the target so" in " ".join(said.stdout.split())
    exported = run_cli("export", source, tmp_path / "net.onnx")
    assert "of the whole batch" in " ".join(exported.stdout.split()), exported.stdout


def test_what_flaxmodels_leaves_linear_is_refused(run_cli: Any, tmp_path: Path) -> None:
    """Its discriminator has no activation behind the label embedding's layers, where NVIDIA's has."""
    _, names = flax_names()
    arrays, _ = critic(names, "/weight", lambda word: f"{names[word]}/bias", 4)
    arrays |= {"fc0/weight": np.full((W, W), 10.0, np.float32), "fc0/bias": np.zeros(W, np.float32)}
    path = hdf5(tmp_path / "discriminator.h5", arrays)
    result = run_cli("convert", path, tmp_path / "out.pt", "--to", "nvidia-stylegan2-ada")
    assert (result.code, (tmp_path / "out.pt").exists()) == (2, False)
    assert "fc0/" in result.stderr


STYLES = [(False, ":0", "generator/"), (True, "/.ATTRIBUTES/VARIABLE_VALUE", "g_clone/"), (False, "", "")]


@pytest.mark.parametrize(("by_place", "ending", "prefix"), STYLES)
def test_generator_of_moono(run_cli: Any, tmp_path: Path, by_place: bool, ending: str, prefix: str) -> None:
    arrays, get = moono_generator(by_place)
    path = tmp_path / "generator.safetensors"
    save_file({f"{prefix}{name}{ending}": array for name, array in arrays.items()}, path)
    p = converted(run_cli, path)
    assert same_images(p, get)
    np.testing.assert_array_equal(p["mapping.w_avg"], arrays["w_avg"])


@pytest.mark.parametrize(("by_place", "ending", "prefix"), STYLES)
def test_discriminator_of_moono(run_cli: Any, tmp_path: Path, by_place: bool, ending: str, prefix: str) -> None:
    _, _, names, bias = moono_names(by_place)
    arrays, get = critic(names, "/w", lambda word: f"{bias(word)}/b")
    path = tmp_path / "discriminator.safetensors"
    save_file({f"{prefix}{name}{ending}": array for name, array in arrays.items()}, path)
    image = torch.randn(4, 3, 16, 16).double()
    assert close(stylegan2.discriminate(converted(run_cli, path), image.numpy()), discriminate(get, image))


def test_moonos_labels_are_refused(run_cli: Any, tmp_path: Path) -> None:
    arrays, _ = moono_generator(False)
    arrays["g_mapping/labels_embedding/w"] = np.ones((3, W), np.float32)
    arrays["g_mapping/dense_0/w"] = np.full((2 * W, W), 100.0, np.float32)
    save_file(arrays, tmp_path / "generator.safetensors")
    result = run_cli("convert", tmp_path / "generator.safetensors", tmp_path / "out.pt", "--to", "nvidia-stylegan2-ada")
    assert (result.code, (tmp_path / "out.pt").exists()) == (2, False)
    assert "g_mapping/labels_embedding/w" in result.stderr


def test_a_score_for_every_label_is_refused_where_there_is_one(run_cli: Any, tmp_path: Path) -> None:
    """moono's conditional discriminator returns the score of the label, as genforce's does and NVIDIA's no longer."""
    _, _, names, bias = moono_names(False)
    arrays, _ = critic({word: name for word, name in names.items() if word != "out"}, "/w", lambda w: f"{bias(w)}/b")
    rng, path = np.random.default_rng(1), tmp_path / "discriminator.safetensors"
    shapes = {"last_dense/w": (WIDTHS[4], 3), "last_bias/b": (3,)}
    arrays |= {name: np.asarray(rng.standard_normal(shape), np.float32) for name, shape in shapes.items()}
    save_file(arrays, path)
    for family, code in {"genforce-stylegan2": 0, "nvidia-stylegan2-ada": 2, "rosinality-stylegan2": 2}.items():
        result = run_cli("convert", path, tmp_path / f"{family}.pt", "--to", family)
        assert (result.code, (tmp_path / f"{family}.pt").exists()) == (code, code == 0), result.stderr
        assert code == 0 or "a score for each of 3 labels" in " ".join(result.stderr.split())


def test_a_family_without_canonical_names_is_said_to_have_none(run_cli: Any, tmp_path: Path) -> None:
    """curegit/precure-stylegan-ada: bicubic enlarging and no sqrt(2), so that nobody else's code computes it."""
    names = {"mapper/mlp/0/linear/w": (8, 8), "synthesizer/init/style1/linear/w": (8, 8)}
    arrays = {name: np.random.default_rng(0).standard_normal(shape) for name, shape in names.items()}
    save_file({name: array.astype(np.float32) for name, array in arrays.items()}, tmp_path / "precure.safetensors")
    result = run_cli("convert", tmp_path / "precure.safetensors", tmp_path / "out.pt", "--to", "plain")
    assert result.code == 3
    assert "precure-stylegan2, which eqlr has no canonical names for" in " ".join(result.stderr.split())
    assert "labml-stylegan2" not in result.stderr  # known for export only
