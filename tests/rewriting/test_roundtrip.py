"""Plain to equalized and back: within 1 ulp everywhere, and to the bit with --exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eqlr_tools.checkpoints.dtypes import BY_NAME
from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.rewriting.scale import Scale
from tests.conftest import Result
from tests.models import aladdin_state, plain_model

FINITE = hnp.arrays(
    np.float32, st.integers(1, 64), elements=st.floats(width=32, min_value=-(2.0**99), max_value=2.0**99)
)


def ulp_apart(a: np.ndarray, b: np.ndarray) -> int:
    def order(x: np.ndarray) -> np.ndarray:
        bits = x.view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    return int(np.abs(order(a) - order(b)).max())


@given(FINITE, st.floats(1e-4, 2.0))
def test_divide_then_multiply_is_within_one_ulp(weights: np.ndarray, constant: float) -> None:
    # A denormal weight has no ulp of relative size; what matters is that nothing larger than one step is lost.
    constant = float(np.float32(constant))
    f32 = BY_NAME["F32"]
    stored = Scale(divide=constant)(weights.copy().view("<u4"), f32)
    back = Scale(multiply=constant)(stored.copy(), f32).view("<f4")
    assert ulp_apart(weights, back) <= 1


@given(FINITE, st.integers(-12, 0))
def test_powers_of_two_are_exact(weights: np.ndarray, exponent: int) -> None:
    f32 = BY_NAME["F32"]
    stored = Scale(divide=2.0**exponent)(weights.copy().view("<u4"), f32)
    back = Scale(multiply=2.0**exponent)(stored.copy(), f32).view("<f4")
    assert np.array_equal(weights, back)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_small_floats_are_scaled_as_torch_scales_them(dtype: torch.dtype) -> None:
    """One rounding of the float32 product, for every bit pattern."""
    size = torch.tensor([], dtype=dtype).element_size()
    patterns = torch.arange(1 << 8 * size).to(torch.uint8 if size == 1 else torch.int32)
    patterns = patterns if size == 1 else patterns.to(torch.uint16)
    values = patterns.view(dtype)
    constant = float(np.float32(0.0318))
    expected = (values.float() * constant).to(dtype)
    name = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3"}.get(dtype, "F8_E5M2")
    found = Scale(multiply=constant)(patterns.numpy(), BY_NAME[name])
    same = found == expected.view(patterns.dtype).numpy()
    assert bool((same | values.float().isnan().numpy()).all())


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("exact", [False, True])
def test_bake_of_equalize_gives_the_original(
    suffix: str, exact: bool, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    state = plain_model().state_dict()
    torch.save(state, tmp_path / "plain.pt")
    middle, back = tmp_path / f"equalized{suffix}", tmp_path / f"back{suffix}"
    flags = ["--exact"] if exact else []
    assert run_cli("equalize", tmp_path / "plain.pt", middle, *flags).code == 0
    assert run_cli("bake", middle, back).code == 0
    tensors = open_checkpoint(back).networks[0].tensors
    assert set(tensors) == set(state)
    for name, tensor in state.items():
        found, original = tensors[name].values(), tensor.numpy()
        if exact or not tensor.is_floating_point():
            assert np.array_equal(found, original), name
        else:
            assert ulp_apart(np.ascontiguousarray(found), original) <= 1, name


def test_equalize_takes_layers_and_leaves_embeddings_norms_and_buffers(
    run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    torch.save(plain_model().state_dict(), tmp_path / "plain.pt")
    assert run_cli("equalize", tmp_path / "plain.pt", tmp_path / "e.pt").code == 0
    names = set(torch.load(tmp_path / "e.pt", weights_only=True))
    taken = {name.partition(".parametrizations")[0] for name in names if "parametrizations" in name}
    assert taken == {"conv1", "conv2", "conv3", "up", "fc", "head"}
    assert {"embedding.weight", "norm.weight", "norm.running_mean", "norm.num_batches_tracked"} <= names


def test_the_constant_is_he_s_with_the_true_fan_in(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    torch.save(plain_model().state_dict(), tmp_path / "plain.pt")
    assert run_cli("equalize", tmp_path / "plain.pt", tmp_path / "e.pt", "--gain", "1.5").code == 0
    state = torch.load(tmp_path / "e.pt", weights_only=True)
    fan_in = {"conv1": 9, "conv2": 27, "conv3": 16, "up": 6 * 16, "fc": 12, "head": 7}
    for path, fan in fan_in.items():
        scale = state[f"{path}.parametrizations.weight.0.scale"]
        assert scale.shape == ()
        assert scale.item() == pytest.approx(1.5 / fan**0.5, rel=1e-7)


def test_include_exclude_and_fan_in(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    torch.save(plain_model().state_dict(), tmp_path / "plain.pt")
    flags = ["--include", "conv*", "--include", "embedding", "--exclude", "conv3", "--fan-in", "16"]
    assert run_cli("equalize", tmp_path / "plain.pt", tmp_path / "e.pt", *flags).code == 0
    state = torch.load(tmp_path / "e.pt", weights_only=True)
    scales = {name.partition(".")[0]: t.item() for name, t in state.items() if name.endswith(".scale")}
    assert scales == {"conv1": 0.25, "conv2": 0.25, "embedding": 0.25}


def test_nan_and_infinity_are_carried_over(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    state = plain_model().state_dict()
    state["fc.weight"][0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    torch.save(state, tmp_path / "plain.pt")
    assert run_cli("equalize", tmp_path / "plain.pt", tmp_path / "e.pt").code == 0
    assert run_cli("bake", tmp_path / "e.pt", tmp_path / "back.pt").code == 0
    back = torch.load(tmp_path / "back.pt", weights_only=True)["fc.weight"]
    assert back[0, 0].isnan()
    assert back[0, 1:3].tolist() == [float("inf"), -float("inf")]


def test_overflow_is_caught_before_the_file_exists(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    state = {"fc.weight": torch.full((4, 4096), 3e4, dtype=torch.float16), "fc.bias": torch.zeros(4)}
    torch.save(state, tmp_path / "plain.pt")
    result = run_cli("equalize", tmp_path / "plain.pt", tmp_path / "e.pt")
    assert result.code == 1
    assert "fc.weight" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["plain.pt"]


@pytest.mark.parametrize(("largest", "code"), [(3e4, 1), (500.0, 0)])
def test_a_dry_run_tells_of_an_overflow(
    largest: float, code: int, run_cli: Callable[..., Result], tmp_path: Path
) -> None:
    state = {"fc.weight": torch.ones((4, 4096), dtype=torch.float16), "fc.bias": torch.zeros(4)}
    state["fc.weight"][3, 4095] = largest
    state["fc.weight"][0, 0] = float("inf")
    torch.save(state, tmp_path / "plain.pt")
    dry = run_cli("equalize", tmp_path / "plain.pt", tmp_path / "e.pt", "--dry-run")
    assert dry.code == code, dry.stderr
    assert ("fc.weight" in dry.stderr) == bool(code)
    assert run_cli("equalize", tmp_path / "plain.pt", tmp_path / "e.pt").code == code


@pytest.mark.parametrize("prefix", ["", "generator.", "g_ema.", "module."])
def test_a_flat_file_keeps_its_names(prefix: str, run_cli: Callable[..., Result], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = {prefix + name: tensor.clone() for name, tensor in aladdin_state().items()}
    save_file(state, tmp_path / "x.safetensors")
    assert run_cli("bake", tmp_path / "x.safetensors", tmp_path / "y.safetensors").code == 0
    assert set(load_file(tmp_path / "y.safetensors")) == set(state)
    assert run_cli("equalize", tmp_path / "y.safetensors", tmp_path / "z.safetensors").code == 0
    assert run_cli("bake", tmp_path / "z.safetensors", tmp_path / "again.safetensors").code == 0
    assert set(load_file(tmp_path / "again.safetensors")) == set(state)


def test_equalizing_a_baked_family_keeps_its_multipliers(
    run_cli: Callable[..., Result], samples: Path, tmp_path: Path
) -> None:
    """What the family's own code multiplies by is 0.01 in the mapping, whatever the size of the baked weights."""
    source, plain, saved = samples / "stylegan2_digits.pt", tmp_path / "plain.pt", tmp_path / "saved.pt"
    assert run_cli("bake", source, plain, "--drop-optimizer").code == 0
    torch.save(torch.load(plain, weights_only=True), saved)  # As another tool leaves it: without a record.
    stored = torch.load(source, weights_only=False)["g_ema"]
    for file in (plain, saved):
        back = tmp_path / f"back_{file.name}"
        assert run_cli("equalize", file, back, "--to", "rosinality-stylegan2").code == 0
        found = torch.load(back, weights_only=True)["g_ema"]
        assert all(torch.allclose(found[name], stored[name], rtol=1e-6, atol=0) for name in stored)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**31))
def test_random_plain_networks_come_back_within_one_ulp(
    seed: int, run_cli: Callable[..., Result], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("random")
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 9, (4,), generator=generator).tolist()
    state = {
        "a.weight": torch.randn(sizes[0], sizes[1], 3, 3, generator=generator) * 0.1,
        "a.bias": torch.randn(sizes[0], generator=generator),
        "b.weight": torch.randn(sizes[2], sizes[3], generator=generator) * 1e-3,
        "b.bias": torch.randn(sizes[2], generator=generator),
    }
    torch.save(state, folder / "p.pt")
    assert run_cli("equalize", folder / "p.pt", folder / "e.safetensors").code == 0
    assert run_cli("bake", folder / "e.safetensors", folder / "b.pt").code == 0
    back = torch.load(folder / "b.pt", weights_only=True)
    assert all(ulp_apart(back[name].numpy(), state[name].numpy()) <= 1 for name in state)
