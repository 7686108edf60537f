"""What equalized learning rate costs at run time: plain, `eqlr_tools.nn`, and the two ways of public code.

    python -m benchmarks.nn              # about a minute

    parametrized    eqlr_tools.nn: the weight times a buffer, by torch.nn.utils.parametrize
    input-scaled    conv(c * x, v): akanimax, aladdinpersson, facebookresearch/pytorch_GAN_zoo
    hook            a forward pre-hook that assigns c * v to `module.weight`: rosinality's StyleGAN1, t-ae
    baked           eqlr_tools.nn.bake: what is left at inference

Interleaved rounds in one process, medians, as ratios to the plain layer of the same round.
"""

from __future__ import annotations

import argparse
import copy
import gc
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from eqlr_tools import nn as eqnn
from eqlr_tools.scaling import he_constant


class InputScaled(nn.Module):
    """The scale on the activations, as WSConv2d has it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.scale = he_constant(eqnn.fan_in(layer))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x * self.scale)
        return y


class Hook:
    """rosinality's EqualLR: `weight` becomes a plain attribute that is computed before every forward."""

    def __init__(self, layer: nn.Module) -> None:
        self.scale = he_constant(eqnn.fan_in(layer))
        weight = layer.weight
        del layer._parameters["weight"]
        layer.register_parameter("weight_orig", nn.Parameter(weight.detach() / self.scale))
        layer.weight = weight.detach()
        layer.register_forward_pre_hook(self)

    def __call__(self, layer: nn.Module, _: object) -> None:
        layer.weight = layer.weight_orig * self.scale


def with_hooks(model: nn.Sequential) -> nn.Sequential:
    """The model with every layer hooked."""
    for layer in model:
        if hasattr(layer, "weight"):
            Hook(layer)
    return model


def input_scaled(model: nn.Sequential) -> nn.Sequential:
    """The model with the input of every layer scaled."""
    return nn.Sequential(*(InputScaled(layer) if hasattr(layer, "weight") else layer for layer in model))


def convolutions(channels: int) -> nn.Sequential:
    """Four 3x3 convolutions with leaky ReLU."""
    layers: list[nn.Module] = []
    for _ in range(4):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)


def mapping() -> nn.Sequential:
    """StyleGAN's mapping network: eight linear layers of 512."""
    layers: list[nn.Module] = []
    for _ in range(8):
        layers += [nn.Linear(512, 512), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers)


CASES: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...]]] = {
    "4 conv 3x3, 64 channels, 8 x 64 x 32 x 32": (lambda: convolutions(64), (8, 64, 32, 32)),
    "4 conv 3x3, 256 channels, 8 x 256 x 16 x 16": (lambda: convolutions(256), (8, 256, 16, 16)),
    "4 conv 3x3, 16 channels, 16 x 16 x 16 x 16": (lambda: convolutions(16), (16, 16, 16, 16)),
    "8 linear of 512, batch 64": (mapping, (64, 512)),
}


def variants(plain: nn.Sequential) -> dict[str, nn.Module]:
    """The same network in every way."""
    parametrized = eqnn.equalize(copy.deepcopy(plain))
    return {
        "plain": plain,
        "parametrized": parametrized,
        "input-scaled": input_scaled(copy.deepcopy(plain)),
        "hook": with_hooks(copy.deepcopy(plain)),
        "baked": eqnn.bake(copy.deepcopy(parametrized)),
    }


def training_step(model: nn.Module, x: Tensor) -> None:
    """Forward, backward, and the gradients gone."""
    model(x).square().mean().backward()
    model.zero_grad(set_to_none=True)


@torch.no_grad()
def inference(model: nn.Module, x: Tensor) -> None:
    """Forward alone."""
    model(x)


def ratios(models: dict[str, nn.Module], work: Callable[[nn.Module, Tensor], None], x: Tensor, rounds: int) -> str:
    """Median time of each variant over the plain one's of the same round; behind it the plain median."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for model in models.values():
        work(model, x)
    for turn in range(rounds):
        names = list(models)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            work(models[name], x)
            times[name].append(time.perf_counter() - start)
    plain = times.pop("plain")
    cells = [
        f"{statistics.median(b / a for a, b in zip(plain, series, strict=True)):13.2f}" for series in times.values()
    ]
    return "".join(cells) + f"{statistics.median(plain) * 1e3:11.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table of ratios for training and one for inference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    gc.disable()
    for title, work in (("training: forward and backward", training_step), ("inference: forward", inference)):
        print(title)
        print(f"{'':46}{'parametrized':>13}{'input-scaled':>13}{'hook':>13}{'baked':>13}{'plain ms':>11}")
        for case, (make, shape) in CASES.items():
            torch.manual_seed(0)
            x = torch.randn(shape, requires_grad=work is training_step)
            print(f"  {case:44}{ratios(variants(make()), work, x, options.rounds)}", flush=True)


if __name__ == "__main__":
    main()
