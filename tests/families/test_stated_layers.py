"""NVIDIA's layers in a network that has no name here: what each pickled module states is believed."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.families.registry import recognise
from tests.checkpoints.test_network_pickles import _Layer, as_nvidia
from tests.conftest import Result

__all__ = ["as_nvidia"]


def _layer(shape: tuple[int, ...], gain: float, bias_gain: float | None = None, bias: str = "bias") -> _Layer:
    layer = _Layer()
    layer.weight = torch.nn.Parameter(torch.randn(shape))
    layer.register_parameter(bias, torch.nn.Parameter(torch.randn(shape[0])))
    layer.weight_gain = np.float64(gain)
    if bias_gain is not None:
        layer.bias_gain = bias_gain
    return layer


@pytest.fixture
def network(as_nvidia: None) -> _Layer:
    torch.manual_seed(5)
    net = _Layer()
    net.persistent_name = "MotionEncoder"
    net.time = _layer((8, 6, 5), 1 / math.sqrt(30))  # a convolution over time, as in stylegan-v
    net.depthwise = _layer((12, 1, 3, 3), 1 / math.sqrt(108))  # as in StyleGAN-XL
    net.volume = _layer((4, 3, 3, 3, 3), 1 / 9, bias="_bias")  # as in long-video-gan
    net.slow = _layer((8, 16), 0.01 / 4, 0.01)
    net.plain = torch.nn.Linear(8, 4)
    return net


def pickled(network: _Layer, path: Path) -> Path:
    path.write_bytes(pickle.dumps({"G_ema": network}))
    return path


def test_the_stated_constants_are_baked(network: _Layer, tmp_path: Path, run_cli: Callable[..., Result]) -> None:
    source, target = pickled(network, tmp_path / "net.pkl"), tmp_path / "plain.safetensors"
    checkpoint = open_checkpoint(source)
    recognition = recognise(checkpoint, checkpoint.networks[0])
    assert recognition.family == "nvidia-layers"
    assert {layer.origin for layer in recognition.equalized} == {"stated"}
    slow = next(layer for layer in recognition.equalized if layer.name == "slow")
    assert slow.lr_multiplier == pytest.approx(0.01)
    assert "stated in the file" in slow.formula

    assert run_cli("bake", source, target).code == 0
    baked = load_file(target)
    for name, tensor in network.state_dict().items():
        path, _, last = name.rpartition(".")
        module = getattr(network, path)
        gain = getattr(module, "weight_gain" if last == "weight" else "bias_gain", 1.0)
        found = baked[next(key for key in baked if key.endswith(name))]
        np.testing.assert_allclose(found, tensor.numpy().astype(np.float64) * gain, rtol=1e-6)


def test_more_layers_in_a_network_that_has_a_name_are_baked_too(
    as_nvidia: None, tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    """As in projects after eg3d: NVIDIA's generator with a second decoder that no rule names."""
    torch.manual_seed(5)
    net, block, conv = _Layer(), _Layer(), _layer((8, 6, 3, 3), 1.0)
    del conv.weight_gain
    conv.affine, conv.resample_filter = _layer((6, 16), 1 / 4, 1.0), torch.nn.Parameter(torch.ones(4, 4))
    block.conv0, block.const = conv, torch.nn.Parameter(torch.ones(6, 4, 4))
    net.synthesis = torch.nn.Module()
    net.synthesis.b8 = block
    net.decoder = _Layer()
    net.decoder.rgb_out = _layer((3, 16), 0.1 / 4, 0.1)
    net.decoder.plain = torch.nn.Linear(4, 4)
    with (tmp_path / "net.pkl").open("wb") as file:
        pickle.dump({"G_ema": net}, file)
    checkpoint = open_checkpoint(tmp_path / "net.pkl")
    recognition = recognise(checkpoint, checkpoint.networks[0])
    assert recognition.family == "nvidia-stylegan2-ada"
    scales = {layer.name: (layer.scale, layer.bias_scale) for layer in recognition.equalized}
    assert scales == {
        "synthesis.b8.conv0.affine": pytest.approx((1 / 4, 1.0)),
        "decoder.rgb_out": pytest.approx((0.1 / 4, 0.1)),
    }


def test_a_state_dict_says_nothing_and_is_not_believed(network: _Layer, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "net.pt")
    checkpoint = open_checkpoint(tmp_path / "net.pt")
    recognition = recognise(checkpoint, checkpoint.networks[0])
    assert recognition.family == "plain"
    verdict = next(verdict for verdict in recognition.verdicts if verdict.family == "nvidia-layers")
    assert "no pickled module states its weight_gain" in verdict.sentence


@pytest.mark.parametrize("family", ["rosinality-stylegan2", "basicsr-stylegan2"])
def test_a_pickled_module_of_rosinalitys_states_its_multiplier(
    family: str, tmp_path: Path, run_cli: Callable[..., Result]
) -> None:
    """`EqualLinear` keeps `scale` and `lr_mul`; from the size of its weights 0.05 would be read as 0.1."""
    mapping, conv = {"rosinality-stylegan2": ("style", "conv"), "basicsr-stylegan2": ("style_mlp", "modulated_conv")}[
        family
    ]
    torch.manual_seed(5)

    def equal(i: int, o: int, lr: float) -> torch.nn.Module:
        layer = torch.nn.Linear(i, o)
        layer.weight.data = torch.randn(o, i) / lr
        layer.scale, layer.lr_mul = lr / math.sqrt(i), lr
        return layer

    def modulated(i: int, o: int, k: int) -> torch.nn.Module:
        outer = torch.nn.Module()
        inner = torch.nn.Module()
        inner.weight, inner.modulation = torch.nn.Parameter(torch.randn(1, o, i, k, k)), equal(16, i, 1.0)
        outer.add_module(conv, inner)
        outer.activate = torch.nn.Module()
        outer.activate.bias = torch.nn.Parameter(torch.zeros(o))
        return outer

    net = torch.nn.Module()
    net.add_module(mapping, torch.nn.Sequential(torch.nn.Identity(), *(equal(16, 16, 0.05) for _ in range(2))))
    net.add_module("conv1" if conv == "conv" else "style_conv1", modulated(12, 12, 3))
    net.to_rgb1 = modulated(12, 3, 1)
    source, target = tmp_path / "whole.pt", tmp_path / "plain.safetensors"
    torch.save(net, source)
    checkpoint = open_checkpoint(source)
    recognition = recognise(checkpoint, checkpoint.networks[0])
    assert recognition.family == family
    assert not recognition.note  # nothing was inferred
    assert run_cli("bake", source, target).code == 0
    baked, stored = load_file(target), net.state_dict()
    for name in (f"{mapping}.2.weight", f"{mapping}.2.bias"):
        constant = 0.05 / 4 if name.endswith("weight") else 0.05
        np.testing.assert_allclose(baked[name], stored[name].numpy().astype(np.float64) * constant, rtol=1e-6)
