"""What a file cannot say (gain, fan-in of a transposed convolution, multipliers, whether it is equalized at all)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import Result
from tests.families.builders import mmgen_stylegan2, progressive_hook

Run = Callable[..., Result]
State = dict[str, torch.Tensor]
SQRT2 = math.sqrt(2.0)
C3, C4 = 1 / math.sqrt(16 * 9), 1 / math.sqrt(16)


def _normal(*shape: int, std: float = 1.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))) * std


def _wrapped(inner: str, kernel: tuple[int, ...] = (3, 3), layers: int = 3) -> State:
    """Layers of a home-made wrapper, each with its bias outside."""
    state = {}
    for n in range(layers):
        state[f"body.{n}.{inner}.weight"] = _normal(16, 16, *kernel)
        state[f"body.{n}.bias"] = _normal(16)
    return state


def _all(state: State, constant: float) -> dict[str, float]:
    return {name: constant for name in state if "weight" in name}


def _upsampling() -> State:
    return {**_wrapped("conv"), "up.deconv.weight": _normal(16, 8, 4, 4), "up.bias": _normal(8)}


def _hooked(name: str, bias: str) -> State:
    return {
        f"a.conv.{name}": _normal(16, 16, 3, 3),
        f"a.conv.{bias}": _normal(16),
        f"up.{name}": _normal(16, 8, 4, 4),
        f"up.{bias}": _normal(8),
    }


def _hooked_mapping() -> State:
    return {
        "style.0.linear.weight_orig": _normal(16, 16, std=90.0),
        "style.0.bias": _normal(16, std=100.0),
        "style.1.linear.weight_orig": _normal(16, 16, std=140.0),
        "style.1.bias": _normal(16, std=100.0),
        "to_style.weight_orig": _normal(16, 16, std=80.0),
        "to_style.bias": _normal(16),
        "conv.weight_orig": _normal(16, 16, 3, 3),
        "conv.bias": _normal(16),
    }


def _parametrized() -> State:
    return {
        "conv.parametrizations.weight.original": _normal(16, 16, 3, 3),
        "conv.parametrizations.bias.original": _normal(16),
        "map.parametrizations.weight.original": _normal(16, 16, std=100.0),
        "map.parametrizations.bias.original": _normal(16),
    }


@dataclass(frozen=True)
class Case:
    """A file, the family that it looks like, the answer to its question, and what each tensor is multiplied by then."""

    state: State
    family: str
    answer: tuple[str, ...]
    constants: dict[str, float]
    renamed: tuple[tuple[str, str], ...] = ()


_UP = _all(_wrapped("conv"), C3)
_HOOKED = {"a.conv.weight": SQRT2 * C3, "up.weight": SQRT2 / math.sqrt(8 * 16)}
CASES = {
    "conv": Case(_wrapped("conv"), "wsconv-copy", ("--gain", str(SQRT2)), _all(_wrapped("conv"), SQRT2 * C3)),
    "conv, gain 1": Case(_wrapped("conv"), "wsconv-copy", ("--gain", "1"), _all(_wrapped("conv"), C3)),
    "layer": Case(_wrapped("layer"), "wsconv-copy", ("--gain", "1"), _all(_wrapped("layer"), C3)),
    "two layers": Case(
        _wrapped("conv2d", layers=2), "wsconv-copy", ("--gain", "1"), _all(_wrapped("conv2d", layers=2), C3)
    ),
    "linear": Case(_wrapped("linear", ()), "wsconv-copy", ("--gain", "1"), _all(_wrapped("linear", ()), C4)),
    "one axis": Case(
        _wrapped("conv", (3,)), "wsconv-copy", ("--gain", "1"), _all(_wrapped("conv", (3,)), 1 / math.sqrt(48))
    ),
    "three axes": Case(
        _wrapped("module", (3, 3, 3)), "wsconv-copy", ("--gain", "1"), _all(_wrapped("module", (3, 3, 3)), C3 / 3**0.5)
    ),
    "transposed, as torch counts": Case(
        _upsampling(),
        "wsconv-copy",
        ("--gain", "1", "--fan-in", "in*kernel"),
        {**_UP, "up.deconv.weight": 1 / math.sqrt(8 * 16)},
    ),
    "transposed, by the inputs": Case(
        _upsampling(),
        "wsconv-copy",
        ("--gain", "1", "--fan-in", "transposed"),
        {**_UP, "up.deconv.weight": 1 / math.sqrt(16 * 16)},
    ),
    "transposed, without the kernel": Case(
        _upsampling(), "wsconv-copy", ("--gain", "1", "--fan-in", "channels"), {**_UP, "up.deconv.weight": C4}
    ),
    "hook": Case(_hooked("weight_orig", "bias"), "equalized-hook", ("--gain", str(SQRT2)), _HOOKED),
    "hook, another fan-in": Case(
        _hooked("weight_orig", "bias"),
        "equalized-hook",
        ("--gain", str(SQRT2), "--fan-in", "channels"),
        {**_HOOKED, "up.weight": SQRT2 * C4},
    ),
    "hook of a copy": Case(_hooked("weight_origin", "bias"), "equalized-hook", ("--gain", str(SQRT2)), _HOOKED),
    "hook of another": Case(
        _hooked("weight_param", "bias_param"),
        "equalized-hook",
        ("--gain", str(SQRT2)),
        _HOOKED,
        (("bias_param", "bias"),),
    ),
    "hooked mapping": Case(
        _hooked_mapping(),
        "equalized-hook",
        ("--gain", "1"),
        {
            **{f"style.{n}.linear.weight": 0.01 * C4 for n in (0, 1)},
            **{f"style.{n}.bias": 0.01 for n in (0, 1)},
            "to_style.weight": 0.01 * C4,
            "conv.weight": C3,
        },
    ),
    "hooked mapping, told": Case(
        _hooked_mapping(),
        "equalized-hook",
        ("--gain", "1", "--lr-multiplier", "0.02"),
        {
            **{f"style.{n}.linear.weight": 0.02 * C4 for n in (0, 1)},
            **{f"style.{n}.bias": 0.02 for n in (0, 1)},
            "to_style.weight": 0.02 * C4,
            "conv.weight": C3,
        },
    ),
    "parametrization": Case(
        _parametrized(),
        "equalized-parametrization",
        ("--gain", str(SQRT2)),
        {"conv.weight": SQRT2 * C3, "map.weight": SQRT2 * 0.01 * C4},
        ((".parametrizations.bias.original", ".bias"),),
    ),
}
_STORED = ("weight_origin", "weight_orig", "weight_param", "parametrizations.weight.original")


def _baked_name(name: str, case: Case) -> str:
    for stored in _STORED:
        name = name.removesuffix(stored) + "weight" if name.endswith(f".{stored}") else name
    for before, after in case.renamed:
        name = name.replace(before, after)
    return name


@pytest.mark.parametrize("name", CASES)
def test_what_the_file_cannot_say_is_asked_and_the_answer_is_right(name: str, tmp_path: Path, run_cli: Run) -> None:
    case, source, baked = CASES[name], tmp_path / "net.pt", tmp_path / "baked.pt"
    torch.save({"state_dict": case.state, "epoch": 3}, source)
    options = {option for option in case.answer if option.startswith("--")}
    for command in (("audit", source), ("bake", source, baked)):
        asked = run_cli(*command)
        assert asked.code == 2
        assert f"looks like {case.family}" in asked.stderr
        assert "--family plain" in asked.stderr
    assert not baked.exists()
    told = run_cli("explain", source)
    assert told.code == 0
    assert case.family in told.stdout
    assert options & {"--gain", "--lr-multiplier"} <= set(told.stdout.replace("(", " ").split())
    assert run_cli("audit", source, *case.answer).code == 0
    assert run_cli("bake", source, baked, "--family", "plain").code == 3
    assert run_cli("bake", source, baked, *case.answer).code == 0
    written = torch.load(baked, weights_only=True)["state_dict"]
    wanted = {_baked_name(key, case): tensor for key, tensor in case.state.items()}
    assert written.keys() == wanted.keys()
    for key, tensor in wanted.items():
        expected = tensor.double() * case.constants.get(key, 1.0)
        torch.testing.assert_close(written[key].double(), expected, rtol=1e-6, atol=0.0, msg=key)
    _refuses_to_bake_again(run_cli, baked, case.answer, tmp_path)


def _refuses_to_bake_again(run_cli: Run, baked: Path, answer: tuple[str, ...], tmp_path: Path) -> None:
    """Neither the file as it was written, nor its tensors alone, without the record of the bake."""
    bare = tmp_path / "bare.pt"
    torch.save(torch.load(baked, weights_only=True)["state_dict"], bare)
    for path, options in ((baked, ()), (baked, answer), (bare, ())):
        assert run_cli("bake", path, tmp_path / "twice.pt", *options).code == 3
        assert not (tmp_path / "twice.pt").exists()


def test_a_transposed_convolution_needs_both_answers(tmp_path: Path, run_cli: Run) -> None:
    torch.save(_upsampling(), tmp_path / "net.pt")
    for answer in (("--gain", "1"), ("--fan-in", "channels")):
        asked = run_cli("bake", tmp_path / "net.pt", tmp_path / "out.pt", *answer)
        assert asked.code == 2
        assert "up.deconv" in asked.stderr


def test_wrapped_layers_of_plain_size_are_plain(tmp_path: Path, run_cli: Run) -> None:
    state = {name: tensor * C3 if tensor.ndim > 1 else tensor for name, tensor in _wrapped("conv").items()}
    torch.save(state, tmp_path / "net.pt")
    assert run_cli("bake", tmp_path / "net.pt", tmp_path / "out.pt").code == 3
    assert run_cli("audit", tmp_path / "net.pt").code == 0


def _reparametrised(*parts: tuple[str, tuple[int, ...]]) -> State:
    return {f"l.{n}.{name}": _normal(*shape) for n in range(5) for name, shape in (*parts, ("bias", (16,)))}


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("weight norm (5)", (("weight_g", (16, 1, 1, 1)), ("weight_v", (16, 16, 3, 3)))),
        (
            "weight norm (5)",
            (
                ("parametrizations.weight.original0", (16, 1, 1, 1)),
                ("parametrizations.weight.original1", (16, 16, 3, 3)),
            ),
        ),
        ("spectral norm (5)", (("weight_orig", (16, 16, 3, 3)), ("weight_u", (16,)), ("weight_v", (144,)))),
        (
            "spectral norm (5)",
            (
                ("parametrizations.weight.original", (16, 16, 3, 3)),
                ("parametrizations.weight.0._u", (16,)),
                ("parametrizations.weight.0._v", (144,)),
            ),
        ),
        ("pruning (5)", (("weight_orig", (16, 16, 3, 3)), ("weight_mask", (16, 16, 3, 3)))),
    ],
)
def test_other_parametrizations_are_named_and_left_alone(said: str, parts: Any, tmp_path: Path, run_cli: Run) -> None:
    path = tmp_path / "net.pt"
    torch.save(_reparametrised(*parts), path)
    for options in ((), ("--gain", "1")):
        result = run_cli("bake", path, tmp_path / "out.pt", *options)
        assert result.code == 3
        assert f"re-parametrised by {said}, which is no equalization" in result.stderr.replace("\n", " ")
    assert said in run_cli("explain", path).stdout
    assert run_cli("audit", path).code == 0


SPECTRAL: dict[str, State] = {
    "weight_orig": {
        "critic.0.weight_orig": _normal(16, 16, 3, 3),
        "critic.0.weight_u": _normal(16),
        "critic.0.weight_v": _normal(144),
        "critic.1.weight_orig": _normal(16, 16),
        "critic.1.weight_mask": torch.ones(16, 16),
    },
    "parametrizations.weight.original": {
        "critic.0.parametrizations.weight.original": _normal(16, 16, 3, 3),
        "critic.0.parametrizations.weight.0._u": _normal(16),
        "critic.0.parametrizations.weight.0._v": _normal(144),
        "critic.1.parametrizations.weight.original0": _normal(16, 1),
        "critic.1.parametrizations.weight.original1": _normal(16, 16),
    },
}


@pytest.mark.parametrize("stored", SPECTRAL)
def test_another_mechanism_elsewhere_in_the_file_hides_nothing(stored: str, tmp_path: Path, run_cli: Run) -> None:
    """An equalized generator beside a critic with spectral norm: the one is asked about, the other left alone."""
    state = {f"gen.{n}.{stored}": _normal(16, 16, 3, 3) for n in range(3)} | SPECTRAL[stored]
    torch.save(state, tmp_path / "net.pt")
    assert run_cli("bake", tmp_path / "net.pt", tmp_path / "out.pt").code == 2
    assert run_cli("bake", tmp_path / "net.pt", tmp_path / "out.pt", "--gain", "1").code == 0
    baked = torch.load(tmp_path / "out.pt", weights_only=True)
    for name, tensor in state.items():
        if name.startswith("critic."):
            torch.testing.assert_close(baked[name], tensor, rtol=0, atol=0)
        else:
            torch.testing.assert_close(baked[name.replace(stored, "weight")], tensor * C3)
    torch.save(SPECTRAL[stored], tmp_path / "critic.pt")
    assert run_cli("bake", tmp_path / "critic.pt", tmp_path / "none.pt", "--gain", "1").code == 3


def test_a_named_hook_is_seen_beside_spectral_norm(tmp_path: Path, run_cli: Run) -> None:
    for build in (mmgen_stylegan2, progressive_hook):
        net = build()
        state = {f"generator.{name}": torch.from_numpy(array) for name, array in net.tensors.items()}
        torch.save(state | SPECTRAL["weight_orig"], tmp_path / "net.pt")
        result = run_cli("bake", tmp_path / "net.pt", tmp_path / "out.pt", "--force")
        assert result.code == 0, result.stderr
        baked = torch.load(tmp_path / "out.pt", weights_only=True)
        for name, constant in net.constants.items():
            found = baked["generator." + net.baked.get(name, name)]
            torch.testing.assert_close(found, state[f"generator.{name}"] * constant)
        for name, tensor in SPECTRAL["weight_orig"].items():
            torch.testing.assert_close(baked[name], tensor, rtol=0, atol=0)


def test_half_a_network_of_rosinalitys_layers_is_not_baked_unasked(tmp_path: Path, run_cli: Run) -> None:
    """A linear layer beside them has torch's names, be it EqualLinear or not; its size is a reason to ask."""
    modulated = {
        "body.0.conv.weight": _normal(1, 80, 80, 3, 3),
        "body.0.conv.modulation.weight": _normal(80, 80),
        "body.0.conv.modulation.bias": torch.ones(80),
        "body.0.activate.bias": _normal(80),
        "table_embed.weight": _normal(10, 80),
    }
    source, target = tmp_path / "net.pt", tmp_path / "plain.pt"
    torch.save({**modulated, "head.weight": _normal(40, 80, std=0.1), "head.bias": _normal(40)}, source)
    assert run_cli("bake", source, target).code == 0
    torch.save({**modulated, "head.weight": _normal(40, 80), "head.bias": _normal(40)}, source)
    asked = run_cli("bake", source, tmp_path / "out.pt")
    assert (asked.code, (tmp_path / "out.pt").exists()) == (2, False)
    said = " ".join(asked.stderr.split())
    assert "head of equalized size, which may be equalized or not" in said
    assert "--family rosinality-layers" in said
    assert run_cli("bake", source, tmp_path / "out.pt", "--family", "rosinality-layers").code == 0
    head = torch.load(tmp_path / "out.pt", weights_only=True)["head.weight"]
    assert torch.equal(head, torch.load(source, weights_only=True)["head.weight"])
