"""Families x sizes x prefixes x containers x number formats: what decides is never the size, the prefix or the file."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.families.registry import recognise
from tests.conftest import Result
from tests.families.builders import (
    Built,
    ada_discriminator,
    ada_generator,
    genforce_pggan,
    gpen,
    hammer_progressive_discriminator,
    hammer_stylegan2_discriminator,
    hammer_stylegan3,
    joined,
    psp,
    separable_discriminator,
    stylegan3_r,
    stylegan_xl,
    styleswin,
    tae,
    wavelet_discriminator,
    zsef123_discriminator,
)
from tests.families.sized import SIZED, draw

PREFIXES = ("", *(f"{p}." for p in "module generator decoder backbone net model _orig_mod G g_ema stylegan".split()))
EACH = pytest.mark.parametrize("name", SIZED)
ANSWERS = {"akanimax-progan": ("--family", "akanimax-progan")}


def drifted(net: Built, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """As training leaves them: each weight larger or smaller by up to three, biases anything."""
    factors = {name: np.exp(np.clip(rng.normal(0, 0.5), -1.1, 1.1)) for name in net.constants}
    return {
        name: np.asarray(array * factors.get(name, 1.0) if array.ndim > 1 else array * rng.choice([0.1, 1, 10]))
        .astype(np.float32)
        .reshape(array.shape)
        for name, array in net.tensors.items()
    }


def nested(tensors: Mapping[str, np.ndarray], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)).to(dtype) for name, array in tensors.items()}


def save(tensors: Mapping[str, np.ndarray], form: str, folder: Path) -> Path:
    if form == "safetensors":
        save_file(dict(tensors), folder / "net.safetensors")
        return folder / "net.safetensors"
    if form == "npz":
        np.savez(folder / "net.npz", **tensors)
        return folder / "net.npz"
    numbers = {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(form, torch.float32)
    tree: Any = nested(tensors, numbers)
    wrapped = {
        "state_dict": {"state_dict": tree, "epoch": 3},
        "params_ema": {"params_ema": tree},
        "model": {"model": {"state_dict": tree}},
        "ema beside raw": {"generator": tree, "g_ema": {k: v.clone() for k, v in tree.items()}},
    }
    torch.save(wrapped.get(form, tree), folder / "net.pt")
    return folder / "net.pt"


FORMS = ("safetensors", "npz", "pt", "float16", "bfloat16", "state_dict", "params_ema", "model", "ema beside raw")


def whole_names(checkpoint: Any) -> list[dict[str, Any]]:
    """The tensors of each network under the names that the flat file or the innermost dict gives them."""
    found = []
    for network in checkpoint.networks:
        flat = checkpoint.nested and network.path
        head = ".".join(map(str, network.path)) + "." if flat else ""
        found.append({head + network.key(name): tensor for name, tensor in network.tensors.items()})
    return found


@EACH
@pytest.mark.parametrize("round_", range(2))
def test_any_size_prefix_and_container(name: str, round_: int, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    family, build = SIZED[name]
    rng = np.random.default_rng([round_, zlib.crc32(name.encode())])
    net = build(draw(rng))
    slashes = "/" in next(iter(net.constants))
    prefix = "" if slashes else str(rng.choice(PREFIXES))
    form = str(rng.choice(FORMS))
    tensors = {prefix + key: array for key, array in drifted(net, rng).items()}
    constants = {prefix + key: constant for key, constant in net.constants.items()}
    source = save(tensors, form, tmp_path)
    checkpoint = open_checkpoint(source)
    answers = ANSWERS.get(family, ())
    for network in checkpoint.networks:
        found = recognise(checkpoint, network, family=answers[1] if answers else None)
        assert found.family == family, (prefix, form, found.note)
        assert len(found.equalized) == sum(tensors[key].ndim > 1 for key in constants), (prefix, form)

    suffix = ".safetensors" if form == "npz" else source.suffix  # numpy archives are read, not written
    target = tmp_path / f"baked{suffix}"
    result = run_cli("bake", source, target, *answers)
    assert result.code == 0, (prefix, form, result.stderr)
    before, after = whole_names(checkpoint), whole_names(open_checkpoint(target))
    assert len(before) == len(after)
    rename = {prefix + old: prefix + new for old, new in net.baked.items()}
    for stored, baked in zip(before, after, strict=True):
        assert set(baked) == {rename.get(key, key) for key in stored}
        for key, tensor in stored.items():
            values, written = tensor.values(), baked[rename.get(key, key)].values()
            if key not in constants:
                np.testing.assert_array_equal(written, values)
                continue
            wanted = values.astype(np.float64) * constants[key]
            relative = {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(form, 1e-6)
            smallest = 2.0**-25 if form == "float16" else 0.0
            error = np.abs(written.astype(np.float64) - wanted)
            assert (error <= relative * np.abs(wanted) + smallest).all(), (key, prefix, form)
    assert run_cli("bake", target, tmp_path / f"again{suffix}", *answers).code in (2, 3)


TOGETHER = [("G.", "D."), ("model.gen.", "model.dis."), ("net_g.", "net_d."), ("G.", "")]
"""Prefixes of a generator and a discriminator; with none in front of one, its rules see the other's names as well."""


@pytest.mark.parametrize(("first", "second"), TOGETHER)
@pytest.mark.parametrize("plain", [False, True])
def test_both_networks_and_plain_ones_in_one_flat_file(first: str, second: str, plain: bool, tmp_path: Path) -> None:
    generator, discriminator = ada_generator(prefix=first), Built()
    for key, array in ada_discriminator().tensors.items():
        discriminator.tensors[second + key] = array
    discriminator.constants = {second + key: constant for key, constant in ada_discriminator().constants.items()}
    net = joined(generator, discriminator)
    if plain:
        net.put("lpips.net.slice1.0.weight", 8, 3, 3, 3, std=0.1)
        net.put("step", 1)
    save_file(net.tensors, tmp_path / "net.safetensors")
    checkpoint = open_checkpoint(tmp_path / "net.safetensors")
    found = [layer.scale for network in checkpoint.networks for layer in recognise(checkpoint, network).equalized]
    wanted = [net.constants[key] for key in net.constants if net.tensors[key].ndim > 1]
    np.testing.assert_allclose(sorted(found), sorted(wanted), rtol=1e-6)  # type: ignore[type-var]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_stored_constant_may_be_rounded(dtype: torch.dtype, tmp_path: Path) -> None:
    """bfloat16 keeps three digits of a He constant, which must still be recognised as one."""
    torch.save(nested(tae().tensors, dtype), tmp_path / "net.pt")
    checkpoint = open_checkpoint(tmp_path / "net.pt")
    assert recognise(checkpoint, checkpoint.networks[0]).family == "tae-stylegan"


PAIRS: dict[str, tuple[Callable[[], Built], Callable[[], Built]]] = {
    "stylegan3 and stylegan2's discriminator": (stylegan3_r, ada_discriminator),
    "stylegan-xl": (stylegan_xl, separable_discriminator),
    "styleswin": (styleswin, wavelet_discriminator),
    "gpen": (gpen, wavelet_discriminator),
    "psp": (psp, wavelet_discriminator),
    "hammer": (hammer_stylegan3, hammer_stylegan2_discriminator),
    "pggan": (genforce_pggan, lambda: hammer_progressive_discriminator(blurs=False)),
    "another project's critic": (ada_generator, wavelet_discriminator),
}


@pytest.mark.parametrize("name", PAIRS)
def test_families_that_stand_apart_in_one_network(name: str, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    """Lightning's dict of a whole model: none of its networks is a dict of its own, and each is another family's."""
    net = Built()
    for prefix, build in zip(("model.gen.", "model.dis."), PAIRS[name], strict=True):
        part = build()
        net.tensors |= {prefix + key: array for key, array in part.tensors.items()}
        net.constants |= {prefix + key: constant for key, constant in part.constants.items()}
    net.put("model.lpips.weight", 8, 3, 3, 3, std=0.1)
    source, target = tmp_path / "net.safetensors", tmp_path / "baked.safetensors"
    save_file(net.tensors, source)
    assert run_cli("bake", source, target).code == 0
    (before,), (after,) = (whole_names(open_checkpoint(path)) for path in (source, target))
    for key, tensor in before.items():
        full = key if key in net.tensors else f"model.{key}"
        wanted = tensor.values().astype(np.float64) * net.constants.get(full, 1.0)
        np.testing.assert_allclose(after[key].values(), wanted, rtol=1e-6)
    assert run_cli("bake", target, tmp_path / "again.safetensors").code in (2, 3)
    said = " ".join(run_cli("explain", source).stdout.split())
    checkpoint = open_checkpoint(source)
    assert recognise(checkpoint, checkpoint.networks[0]).family in said


def test_a_question_about_a_part_is_asked(tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    parts = (("model.gen.", ada_generator()), ("model.dis.", zsef123_discriminator()))
    tensors = {prefix + key: array for prefix, net in parts for key, array in net.tensors.items()}
    save_file(tensors, tmp_path / "net.safetensors")
    asked = run_cli("bake", tmp_path / "net.safetensors", tmp_path / "out.safetensors")
    assert asked.code == 2
    assert "--gain" in asked.stderr
