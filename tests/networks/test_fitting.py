"""Tensors that do not fit their architecture: one sentence that names one of them, whatever the command."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eqlr_tools.networks.fitting import misfit
from eqlr_tools.networks.tables import table
from tests.conftest import Result
from tests.families.whole import Whole, arrays_in, canonical_arrays, depth_of, save, stored_tree, whole_networks

KINDS: dict[tuple[str, str, str], Whole] = {}
for each in whole_networks().values():
    KINDS.setdefault((each.naming.architecture, each.naming.role, each.naming.structure), each)
BY_KIND = {" ".join(kind).strip(): whole for kind, whole in KINDS.items()}
EACH = pytest.mark.parametrize("kind", BY_KIND)
BROKEN = ("internal error", "Traceback", "please report")
ASKED = ("akanimax-progan", "rms-progan")


def shapes_and_table(kind: str) -> tuple[dict[str, tuple[int, ...]], list[tuple[str, str]]]:
    naming = BY_KIND[kind].naming
    arrays = canonical_arrays(naming, depth_of(naming))
    shapes = {name: tuple(values.shape) for name, values in arrays.items()}
    return shapes, list(table(naming.architecture, naming.role, shapes))


@EACH
def test_what_fits_is_not_doubted(kind: str) -> None:
    assert misfit(*shapes_and_table(kind)) is None


@EACH
def test_a_wrong_number_of_axes_is_blamed_on_its_tensor(kind: str) -> None:
    shapes, lines = shapes_and_table(kind)
    for name in dict(lines).keys() & shapes.keys():
        found = misfit({**shapes, name: (*shapes[name], 2, 2)}, lines)
        assert found is not None
        assert found.name == name


@EACH
def test_a_wrong_width_is_blamed_on_a_tensor_that_has_it_or_contradicts_it(kind: str) -> None:
    """What may be of any width (z, labels) stays free; most may not."""
    shapes, lines = shapes_and_table(kind)
    free = []
    for name in dict(lines).keys() & shapes.keys():
        for axis, size in enumerate(shapes[name]):
            wrong = list(shapes[name])
            wrong[axis] = size + 1
            found = misfit({**shapes, name: tuple(wrong)}, lines)
            if found is None:
                free.append(name)
            else:
                assert name in (found.name, found.witness)
            wrong[axis] = 0
            assert misfit({**shapes, name: tuple(wrong)}, lines) is not None
    assert len(free) <= 8, free


def hostile(values: NDArray[Any]) -> Iterator[tuple[str, NDArray[Any] | None]]:
    yield "without axes", values.reshape(-1)[0]
    yield "more axes", values[None]
    yield "longer", np.concatenate([values, values]) if values.ndim else np.stack([values, values])
    yield "empty", values[:0] if values.ndim else np.zeros(0, np.float32)
    yield "shorter", values[..., :-1] if values.ndim else values
    yield "complex", values.astype(np.complex64)
    yield "whole numbers", values.astype(np.int64)
    yield "truth", values.astype(bool)
    yield "not finite", np.full_like(values, np.nan)
    yield "huge", np.full_like(values, 1e30)
    yield "gone", None


def changed(tree: dict[str, Any], path: tuple[Any, ...], values: NDArray[Any] | None) -> dict[str, Any]:
    if len(path) > 1:
        return {**tree, path[0]: changed(tree[path[0]], path[1:], values)}
    return {key: value for key, value in tree.items() if key != path[0]} | ({} if values is None else {path[0]: values})


@EACH
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_no_command_breaks_on_it(kind: str, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    """A few tensors of each architecture, each changed in one way, given to a command of those that compute."""
    whole = BY_KIND[kind]
    tree = stored_tree(whole)
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    leaves = list(arrays_in(tree))
    answers = ("--family", whole.family.id) if whole.family.id in ASKED else ()
    sound = save(tree, tmp_path / "sound.pt")
    for number in range(5):
        path, values = leaves[int(rng.integers(len(leaves)))]
        ways = list(hostile(values))
        how, wrong = ways[int(rng.integers(len(ways)))]
        source = save(changed(tree, path, wrong), tmp_path / "hostile.pt")
        commands: list[tuple[object, ...]] = [
            ("export", source, tmp_path / "net.onnx", "--force"),
            ("convert", source, tmp_path / "plain.pt", "--to", "plain", "--force"),
            ("export", source, tmp_path / "net.onnx", "--force"),
            ("sample", source, "-o", tmp_path / "grid.png", "--seeds", "0", "--force"),
            ("verify", source, sound),
        ]
        result = run_cli(*commands[number], *answers)
        said = " ".join(result.stderr.split())
        assert result.code in (0, 1, 2, 3), (path, how, said)
        assert not any(words in said for words in BROKEN), (path, how, said)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("synthesis.input.freqs", (8, 3)),
        ("synthesis.input.freqs", (7, 2)),
        ("synthesis.input.phases", (3,)),
        ("synthesis.input.transform", (2, 2)),
        ("synthesis.input.affine.weight", (4, 3)),
        ("synthesis.input.affine.bias", (5,)),
        ("synthesis.L1_36_6.affine.weight", (8, 9)),
        ("synthesis.L1_36_6.up_filter", ()),
        ("synthesis.L1_36_6.up_filter", (2,)),
        ("synthesis.L1_36_6.down_filter", (12, 11)),
        ("synthesis.L1_36_6.magnitude_ema", (2,)),
        ("mapping.fc1.weight", (8, 9)),
        ("mapping.w_avg", (9,)),
    ],
)
@pytest.mark.parametrize("command", ["export", "convert"])
def test_a_misshapen_stylegan3_is_refused_by_the_tensors_name(
    command: str, name: str, shape: tuple[int, ...], tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    tree = changed(
        stored_tree(whole_networks()["nvidia-stylegan3: stylegan3 generator"]),
        ("G", name),
        np.full(shape, 0.5, np.float32),
    )
    source = save(tree, tmp_path / "G.pt")
    target = [tmp_path / "net.onnx"] if command == "export" else [tmp_path / "plain.pt", "--to", "plain"]
    result = run_cli(command, source, *target)
    assert result.code == 2, result.stderr
    assert name in result.stderr
    assert "internal error" not in result.stderr
