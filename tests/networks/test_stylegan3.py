"""StyleGAN3's canonical parameters compute what NVIDIA's code computed, and its sizes follow from names and filters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eqlr_tools.errors import UsageError
from eqlr_tools.networks import stylegan3
from eqlr_tools.networks.fir import along_height, along_width, downsampling, separated, upsampling
from eqlr_tools.rewriting.stylegan3_form import shaped_form, stated_form, unsaid
from tests.networks.test_stylegan2 import parameters, read
from tests.oracles import Oracle, relative_error

PROJECT = "nvidia-stylegan3-t"


@pytest.mark.parametrize("name", ["G_ema", "G"])
def test_generator_computes_the_recorded_images(shared_dir: Path, name: str) -> None:
    oracle = Oracle(shared_dir / "oracles" / PROJECT)
    network = read(oracle.files[""], name)
    z = np.asarray(oracle.truth.get_tensor(f"net.{name}.input.z"), dtype=np.float64)
    image = stylegan3.generate(parameters(network), stated_form(network), z)
    assert relative_error(image, oracle.truth.get_tensor(f"net.{name}.output")) < 2e-6


def test_names_and_shapes_say_what_the_modules_state(shared_dir: Path) -> None:
    network = read(shared_dir / "oracles" / PROJECT / "checkpoint.pkl", "G_ema")
    assert network.depth.layers[:3] == ("L0_36_20", "L1_36_20", "L2_52_20")
    assert shaped_form(network) == stated_form(network)
    assert list(unsaid(network)) == []


@pytest.mark.parametrize(
    ("length", "up", "padding"), [(7, 2, (9, 8)), (9, 2, (-5, -6)), (8, 4, (-6, -9)), (5, 1, (2, 0))]
)
def test_upsampling_is_zeros_padding_and_convolution(length: int, up: int, padding: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x, taps = rng.standard_normal(length), rng.standard_normal(6)
    spread = np.zeros(length * up)
    spread[::up] = x
    before, behind = padding
    padded = np.pad(spread, [max(before, 0), max(behind, 0)])
    padded = padded[max(-before, 0) : len(padded) - max(-behind, 0)]
    wanted = np.convolve(padded, taps, "valid") * up
    np.testing.assert_allclose(upsampling(length, taps, up, padding) @ x, wanted, atol=1e-12)


def test_a_filter_of_two_dimensions_is_a_sum_of_separable_ones() -> None:
    rng = np.random.default_rng(0)
    x, fir = rng.standard_normal((2, 20, 20)), rng.standard_normal((6, 6))
    found = sum(
        along_width(downsampling(20, row, 2), along_height(downsampling(20, column, 2), x))
        for column, row in separated(fir)
    )
    windows = np.lib.stride_tricks.sliding_window_view(x, (6, 6), axis=(1, 2))[:, ::2, ::2]
    np.testing.assert_allclose(found, (windows * fir[::-1, ::-1]).sum(axis=(-1, -2)), atol=1e-12)


def test_long_axes_are_multiplied_block_by_block() -> None:
    rng = np.random.default_rng(0)
    x, matrix = rng.standard_normal((2, 150, 3)), downsampling(150, rng.standard_normal(12), 1)
    np.testing.assert_allclose(along_height(matrix, x), matrix @ x, atol=1e-12)
    np.testing.assert_allclose(along_width(matrix, x.swapaxes(1, 2)), (matrix @ x).swapaxes(1, 2), atol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        {"synthesis.L0_36_8.weight": (8, 8)},
        {"synthesis.L0_36_8.down_filter": ()},
        {"synthesis.L0_36_8.up_filter": (0,)},
        {"synthesis.L0_99999999_8.weight": (8, 8, 3, 3)},
    ],
)
def test_shapes_of_no_network_are_refused(change: dict[str, tuple[int, ...]]) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "synthesis.L0_36_8.weight": (8, 8, 3, 3),
        "synthesis.L0_36_8.up_filter": (12,),
        "synthesis.L0_36_8.down_filter": (12,),
        "synthesis.L1_16_3.weight": (3, 8, 1, 1),
    }
    assert stylegan3.form_of(shapes).rate == 16
    with pytest.raises(UsageError, match="no layer of StyleGAN3"):
        stylegan3.form_of({**shapes, **change})


def test_one_hot_labels_pick_a_row_of_stylegan_xls_table() -> None:
    """The embedding, the activated projection and the class's own average, each written out."""
    rng = np.random.default_rng(0)
    p = {
        "mapping.embedding.weight": rng.standard_normal((5, 7)),
        "mapping.label.weight": rng.standard_normal((4, 7)),
        "mapping.label.bias": rng.standard_normal(4),
        "mapping.w_avg": rng.standard_normal((5, 4)),
    }
    label = np.eye(5)[[3, 0]]
    hidden = p["mapping.embedding.weight"][[3, 0]] @ p["mapping.label.weight"].T + p["mapping.label.bias"]
    table = stylegan3.with_label_table(p)
    found = label @ table["mapping.label.weight"].T + table["mapping.label.bias"]
    np.testing.assert_allclose(found, np.maximum(hidden, 0.2 * hidden) * np.sqrt(2))
    w = rng.standard_normal((2, 4))
    average = p["mapping.w_avg"][[3, 0]]
    np.testing.assert_allclose(stylegan3.truncated(table, w, 0.5, label), average + (w - average) / 2)
