"""`eqlr_tools.nn` on torch's own layers, and under everything that people wrap modules in."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from eqlr_tools import nn as eqnn
from eqlr_tools.errors import NothingMatchedError, UsageError
from tests.conftest import Result

LAYERS: dict[str, tuple[Callable[[], nn.Module], int, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 5), 6, (2, 6)),
    "conv1d": (lambda: nn.Conv1d(6, 4, 3, groups=2), 9, (2, 6, 8)),
    "conv2d": (lambda: nn.Conv2d(3, 4, 3), 27, (2, 3, 8, 8)),
    "conv3d": (lambda: nn.Conv3d(2, 4, 2, bias=False), 16, (2, 2, 4, 4, 4)),
    "transposed1d": (lambda: nn.ConvTranspose1d(4, 3, 3), 12, (2, 4, 8)),
    "transposed2d": (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), 18, (2, 4, 5, 5)),
    "transposed3d": (lambda: nn.ConvTranspose3d(2, 3, 2), 16, (2, 2, 4, 4, 4)),
}


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 4))


def inputs() -> torch.Tensor:
    return torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", LAYERS)
def test_constant_and_output(kind: str) -> None:
    make, fan_in, shape = LAYERS[kind]
    layer, x = make().double(), torch.randn(shape, dtype=torch.float64)
    before, weight = layer(x), layer.weight.detach().clone()  # type: ignore[union-attr, operator]
    eqnn.equalize(layer, gain="relu", lr_multiplier=0.5)
    constant = math.sqrt(2.0) * 0.5 / math.sqrt(fan_in)
    assert eqnn.equalized_layers(layer) == {"": pytest.approx(constant, rel=1e-15)}
    torch.testing.assert_close(layer.parametrizations.weight.original, weight / constant, rtol=1e-15, atol=0)  # type: ignore[union-attr]
    torch.testing.assert_close(layer(x), before, rtol=1e-13, atol=1e-15)
    eqnn.bake(layer)
    torch.testing.assert_close(layer.weight, weight, rtol=3e-16, atol=0)
    assert type(layer) is type(make())


def test_bilinear_by_default_and_embedding_on_request() -> None:
    net = nn.ModuleDict({"mix": nn.Bilinear(3, 4, 2), "words": nn.Embedding(7, 9), "norm": nn.LayerNorm(9)})
    assert eqnn.equalized_layers(eqnn.equalize(copy.deepcopy(net))) == {"mix": pytest.approx(12**-0.5)}
    assert eqnn.equalized_layers(eqnn.equalize(net, include=["*"])).keys() == {"mix", "words"}


def test_gains_and_globs() -> None:
    net = nn.ModuleDict({name: nn.Linear(4, 4) for name in ("a", "b", "c", "head")})
    eqnn.equalize(
        net, gain={"a": ("leaky_relu", 0.2), "b": "tanh", "*": 2.0}, lr_multiplier={"c": 0.01}, exclude=["head"]
    )
    scales = eqnn.equalized_layers(net)
    assert scales["a"] == pytest.approx(math.sqrt(2 / 1.04) / 2)
    assert scales["b"] == pytest.approx(5 / 3 / 2)
    assert scales["c"] == pytest.approx(0.01)
    assert "head" not in scales


def test_a_second_call_takes_only_what_is_left() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    eqnn.equalize(net, include=["0"])
    eqnn.equalize(net)
    assert eqnn.equalized_layers(net) == {"0": 0.5, "1": 0.5}
    with pytest.raises(NothingMatchedError):
        eqnn.equalize(net)
    with pytest.raises(NothingMatchedError):
        eqnn.bake(nn.Linear(2, 2))


def tied() -> nn.Module:
    net = nn.ModuleDict({"in": nn.Linear(4, 4), "out": nn.Linear(4, 4)})
    net["out"].weight = net["in"].weight
    return net


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (tied, "one parameter"),
        (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), "parametrized otherwise"),
        (lambda: nn.LazyLinear(4), "lazy"),
    ],
)
def test_what_cannot_be_equalized_is_refused_whole(make: Callable[[], nn.Module], message: str) -> None:
    net = nn.Sequential(nn.Linear(4, 4), make())
    with pytest.raises(UsageError, match=message):
        eqnn.equalize(net)
    assert eqnn.equalized_layers(net) == {}


def test_parameters_keep_their_identity_and_baked_layers_their_order() -> None:
    net = model()
    plain_names, parameters = list(net.state_dict()), {id(p) for p in net.parameters()}
    eqnn.equalize(net)
    assert {id(p) for p in net.parameters()} == parameters
    eqnn.bake(net)
    assert list(net.state_dict()) == plain_names
    assert {id(p) for p in net.parameters()} == parameters


def test_state_dict_deepcopy_and_strict_loading() -> None:
    net = eqnn.equalize(model(), gain="relu")
    twin = copy.deepcopy(net)
    other = eqnn.equalize(model(), gain=1.0)
    other.load_state_dict(net.state_dict(), strict=True)
    assert torch.equal(other.eval()(inputs()), net.eval()(inputs()))
    with torch.no_grad():
        net[0].parametrizations.weight.original.zero_()  # type: ignore[union-attr]
    assert not torch.equal(twin.eval()(inputs()), net(inputs()))


def test_baking_a_copy_leaves_the_original() -> None:
    """An averaged copy is baked for export while training goes on."""
    net = eqnn.equalize(model()).eval()
    average = AveragedModel(net)
    baked, again = eqnn.bake(copy.deepcopy(net)), eqnn.bake(average.module)
    assert eqnn.equalized_layers(net).keys() == {"0", "4"}
    assert type(baked[0]) is type(again[0]) is nn.Conv2d
    assert torch.equal(baked(inputs()), net(inputs()))
    net[0].parametrizations.weight.original.grad = None  # type: ignore[union-attr]
    net(inputs()).sum().backward()
    assert net[0].parametrizations.weight.original.grad is not None  # type: ignore[union-attr]


def test_files_of_eqlr_equalize_load_and_go_back(run_cli: Callable[..., Result], tmp_path: Path) -> None:
    plain = model()
    torch.save(plain.state_dict(), tmp_path / "plain.pt")
    assert run_cli("equalize", tmp_path / "plain.pt", tmp_path / "eq.pt").code == 0
    written = torch.load(tmp_path / "eq.pt", weights_only=True)
    net = eqnn.equalize(model())
    assert list(net.state_dict()) == list(written)
    assert all(torch.equal(net.state_dict()[name], written[name]) for name in written)
    net.load_state_dict(written, strict=True)

    torch.save(net.state_dict(), tmp_path / "trained.pt")
    assert run_cli("bake", tmp_path / "trained.pt", tmp_path / "baked.pt").code == 0
    baked = torch.load(tmp_path / "baked.pt", weights_only=True)
    plain.load_state_dict(baked, strict=True)
    assert list(baked) == list(plain.state_dict())
    assert torch.equal(plain.eval()(inputs()), eqnn.bake(net).eval()(inputs()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_keep_the_scale(dtype: torch.dtype) -> None:
    net = eqnn.equalize(model(), gain=1.7).to(dtype)
    scale = net[0].parametrizations.weight[0].scale  # type: ignore[union-attr, index]
    assert scale.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert net[0].weight.dtype == dtype
    stored = net[0].parametrizations.weight.original  # type: ignore[union-attr]
    assert torch.equal(net[0].weight, (stored.double() * scale.double()).to(dtype))
    net(inputs().to(dtype)).float().sum().backward()
    assert torch.isfinite(stored.grad).all()


def test_autocast() -> None:
    net = eqnn.equalize(model())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = net(inputs())
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert net[0].parametrizations.weight.original.grad.dtype == torch.float32  # type: ignore[union-attr]


@pytest.mark.parametrize("ema", [False, True])
def test_averaged_models(ema: bool) -> None:
    net = eqnn.equalize(model())
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.5) if ema else None)
    average.update_parameters(net)
    first = net[4].parametrizations.weight.original.detach().clone()  # type: ignore[union-attr]
    with torch.no_grad():
        net[4].parametrizations.weight.original.mul_(3.0)  # type: ignore[union-attr]
    average.update_parameters(net)
    assert eqnn.equalized_layers(average.module) == eqnn.equalized_layers(net)
    torch.testing.assert_close(average.module[4].parametrizations.weight.original, first * 2)  # type: ignore[index, union-attr]


def test_export() -> None:
    net = eqnn.equalize(model()).eval()
    program = torch.export.export(net, (inputs(),))
    torch.testing.assert_close(program.module()(inputs()), net(inputs()))
    assert "0.parametrizations.weight.0.scale" in program.state_dict


def test_compile() -> None:
    net = eqnn.equalize(model())
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(inputs()), net(inputs()))
    compiled(inputs()).sum().backward()
    assert net[0].parametrizations.weight.original.grad is not None  # type: ignore[union-attr]


@pytest.mark.parametrize("layer", ["linear", "conv", "transposed"])
def test_ready_layers_start_as_the_paper_says(layer: str) -> None:
    torch.manual_seed(0)
    made: Any = {
        "linear": lambda: eqnn.EqualizedLinear(64, 50, gain="relu", lr_multiplier=0.01),
        "conv": lambda: eqnn.EqualizedConv2d(16, 40, 3, padding=1, gain="relu", lr_multiplier=0.01),
        "transposed": lambda: eqnn.EqualizedConvTranspose2d(16, 40, 3, gain="relu", lr_multiplier=0.01),
    }[layer]()
    stored = made.parametrizations.weight.original
    assert float(stored.detach().std()) == pytest.approx(100.0, rel=0.05)
    fan_in = 64 if layer == "linear" else 144
    assert eqnn.equalized_layers(made) == {"": pytest.approx(0.01 * math.sqrt(2 / fan_in))}
    assert not made.bias.any()
    before = stored.clone()
    made.reset_parameters()
    assert not torch.equal(stored, before)
    twin = copy.deepcopy(made)
    assert torch.equal(twin.weight, made.weight)
    assert list(made.state_dict()) == ["bias", "parametrizations.weight.original", "parametrizations.weight.0.scale"]


@pytest.fixture
def gloo(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def train_a_step(net: Any, wrapped: Any) -> None:
    optimizer = torch.optim.Adam(wrapped.parameters(), lr=1e-2)
    wrapped(inputs()).square().sum().backward()
    optimizer.step()


def shard(net: nn.Module) -> nn.Module:
    fully_shard(net)  # type: ignore[call-overload]
    return net


@pytest.mark.parametrize(
    "wrap",
    [
        DistributedDataParallel,
        lambda net: FullyShardedDataParallel(net, use_orig_params=True, device_id=torch.device("cpu")),
        shard,
    ],
    ids=["ddp", "fsdp1", "fsdp2"],
)
def test_wrapped_training_steps_like_unwrapped(wrap: Callable[[nn.Module], Any], gloo: None) -> None:
    plain, net = eqnn.equalize(model()), eqnn.equalize(model())
    train_a_step(plain, plain)
    wrapped = wrap(net)
    train_a_step(net, wrapped)
    state = {name.removeprefix("module."): value for name, value in wrapped.state_dict().items()}
    assert state.keys() == plain.state_dict().keys()
    for name, value in plain.state_dict().items():
        mine = state[name].full_tensor() if hasattr(state[name], "full_tensor") else state[name]
        torch.testing.assert_close(mine, value)
