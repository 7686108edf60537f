"""Does equalized learning rate equalize the learning speed? A small ProGAN on digits, trained four ways.

    python -m benchmarks.learning_speed            # about three minutes; writes docs/learning_speed.png

The same network, data, batches and latents, Adam(1e-3, betas 0 and 0.99) and WGAN-GP as for the sample checkpoint, at
8x8 from the start, with

    torch's own init     plain weights from nn.Conv2d's default: uniform, variance 1 / (3 fan_in)
    He init              plain weights from N(0, c²)
    He init, small lr    the same, lr multiplied by the median c: as fast as the equalized one in the median layer
    equalized            `eqlr_tools.nn.equalize` of the He init: weights from N(0, 1) times c, the same function

Measured at every layer: the rms of the step that the optimizer takes, over the rms of the layer's weights; over all:
the critic's estimate of the distance, and the sliced Wasserstein distance of 1000 samples to the digits.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmarks.charts import PALETTE, Line, Panel, draw
from eqlr_tools import nn as eqnn
from eqlr_tools.scaling import he_constant

ROOT = Path(__file__).parent.parent
WIDTHS = (32, 24)
LEVEL = 1
GAIN = 2**0.5
RATE = 1e-3
BATCH = 16
SMOOTH = 0.8
WAYS = ("torch's own init", "He init", "He init, small lr", "equalized")


@dataclass
class Record:
    """What one run left: per layer the relative steps, and the two measures of how good it is."""

    steps: list[int] = field(default_factory=list)
    relative: dict[str, list[float]] = field(default_factory=dict)
    critic: list[float] = field(default_factory=list)
    distance_at: list[int] = field(default_factory=list)
    distance: list[float] = field(default_factory=list)

    def spread(self, index: int) -> float:
        """Largest over smallest relative step of the layers."""
        values = [series[index] for series in self.relative.values()]
        return max(values) / min(values)


def sample_models() -> ModuleType:
    """The network classes of the sample checkpoints."""
    spec = importlib.util.spec_from_file_location("sample_models", ROOT / "sample_checkpoints" / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sample_models"] = module
    spec.loader.exec_module(module)
    return module


def networks(way: str, seed: int) -> tuple[nn.Module, nn.Module, float]:
    """Generator, critic and learning rate of one way. All are built plain; two are left so, one is equalized."""
    models = sample_models()
    torch.manual_seed(seed)
    made = [cls(widths=WIDTHS, equalized=False) for cls in (models.ProGANGenerator, models.ProGANCritic)]
    constants = []
    for network in made:
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                constants.append(he_constant(eqnn.fan_in(layer), GAIN))
                nn.init.normal_(layer.weight, std=constants[-1])
                if way == "torch's own init":
                    layer.reset_parameters()
        if way == "equalized":
            eqnn.equalize(network, gain=GAIN)
    return made[0], made[1], RATE * statistics.median(constants) if way == "He init, small lr" else RATE


def sliced_distance(images: Tensor, real: Tensor) -> float:
    """Sliced Wasserstein distance over 256 fixed directions."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(images[0].numel(), 256, generator=generator)
    directions /= directions.norm(dim=0)
    count = min(len(images), len(real))
    ours = (images[:count].flatten(1) @ directions).sort(dim=0).values
    theirs = (real[:count].flatten(1) @ directions).sort(dim=0).values
    return float((ours - theirs).square().mean().sqrt())


def weights(network: nn.Module, prefix: str) -> dict[str, nn.Parameter]:
    """The weights of the layers, without biases; level-0 branches get no gradients and are left out."""
    unused = ("initial_rgb", "rgb_layers.0") if prefix == "G" else ("initial_rgb", "rgb_layers.1")
    return {
        f"{prefix} {name.partition('.parametrizations')[0].removesuffix('.weight')}": parameter
        for name, parameter in network.named_parameters()
        if parameter.ndim > 1 and not name.startswith(unused)
    }


class Meter:
    """Takes a snapshot before an optimizer's step and enters the relative steps after it."""

    def __init__(self, record: Record, layers: dict[str, nn.Parameter]) -> None:
        self.record, self.layers = record, layers
        self.before: dict[str, Tensor] = {}

    def arm(self) -> None:
        self.before = {name: parameter.detach().clone() for name, parameter in self.layers.items()}

    def read(self) -> None:
        for name, before in self.before.items():
            step = (self.layers[name].detach() - before).square().mean().sqrt()
            value = float(step / before.square().mean().sqrt())
            series = self.record.relative.setdefault(name, [])
            series.append(value if not series else SMOOTH * series[-1] + (1 - SMOOTH) * value)
        self.before = {}


def train(way: str, steps: int, seed: int) -> Record:
    """One run. Batches and latents come from generators of their own, so all ways see the same."""
    generator, critic, rate = networks(way, seed)
    g_optim = torch.optim.Adam(generator.parameters(), lr=rate, betas=(0.0, 0.99))
    d_optim = torch.optim.Adam(critic.parameters(), lr=rate, betas=(0.0, 0.99))
    digits = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
    noise = torch.Generator().manual_seed(seed)
    z_shape = (BATCH, generator.z_dim, 1, 1)
    record = Record()
    meters = Meter(record, weights(generator, "G")), Meter(record, weights(critic, "D"))
    for step in range(steps):
        measured = step % 10 == 0
        real = digits[torch.randint(len(digits), (BATCH,), generator=noise)]
        with torch.no_grad():
            fake = generator(torch.randn(z_shape, generator=noise), 1.0, LEVEL)
        mix = torch.lerp(real, fake, torch.rand(BATCH, 1, 1, 1, generator=noise)).requires_grad_()
        (slope,) = torch.autograd.grad(critic(mix, 1.0, LEVEL).sum(), mix, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        on_real, on_fake = critic(real, 1.0, LEVEL), critic(fake, 1.0, LEVEL)
        gap = on_real.mean() - on_fake.mean()
        d_optim.zero_grad()
        (10 * penalty + 1e-3 * on_real.square().mean() - gap).backward()
        if measured:
            meters[1].arm()
        d_optim.step()
        g_optim.zero_grad()
        (-critic(generator(torch.randn(z_shape, generator=noise), 1.0, LEVEL), 1.0, LEVEL).mean()).backward()
        if measured:
            meters[0].arm()
        g_optim.step()
        if measured:
            for meter in meters:
                meter.read()
            record.steps.append(step)
            value = float(gap.detach())
            record.critic.append(value if not record.critic else SMOOTH * record.critic[-1] + (1 - SMOOTH) * value)
        if step % 100 == 0 or step == steps - 1:
            record.distance_at.append(step)
            record.distance.append(measure(generator, digits))
    return record


@torch.no_grad()
def measure(generator: nn.Module, digits: Tensor) -> float:
    """Distance of 1000 samples from fixed latents."""
    z = torch.randn(1000, generator.z_dim, 1, 1, generator=torch.Generator().manual_seed(7))
    return sliced_distance(generator(z, 1.0, LEVEL), digits)


def picture(records: dict[str, Record], target: Path) -> None:
    """A panel of relative steps for each way, then the two measures with all ways in one."""
    values = [v for record in records.values() for series in record.relative.values() for v in series if v > 0]
    limits = (min(values), max(values))
    panels = []
    for way, record in records.items():
        lines = [
            Line(record.steps, series, color=PALETTE[0] if name.startswith("G") else PALETTE[3], width=1.0)
            for name, series in record.relative.items()
        ]
        if way == WAYS[-1]:  # one legend for the four panels, where there is room
            last = next(index for index, name in enumerate(record.relative) if name.startswith("D"))
            lines[0] = replace(lines[0], label="generator, a line per layer")
            lines[last] = replace(lines[last], label="critic")
        panels.append(Panel(f"{way}: step / rms of the layer", lines, "steps", "", True, limits, "bottom"))
    colors = dict(zip(records, PALETTE, strict=False))
    panels.append(
        Panel(
            "critic's estimate of the distance",
            [Line(r.steps, r.critic, way, colors[way]) for way, r in records.items()],
            "steps",
        )
    )
    panels.append(
        Panel(
            "sliced Wasserstein distance of 1000 samples",
            [Line(r.distance_at, r.distance, way, colors[way]) for way, r in records.items()],
            "steps",
            log=False,
        )
    )
    draw(panels, target, columns=2, size=(480, 280))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, train, print a table and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "learning_speed.png")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    records = {}
    print(f"{'':20} {'spread, start':>14} {'middle':>8} {'end':>8} {'median step':>12} {'distance':>9} {'s':>5}")
    for way in WAYS:
        start = time.perf_counter()
        record = records[way] = train(way, options.steps, options.seed)
        middle = len(record.steps) // 2
        spreads = [record.spread(index) for index in (0, middle, -1)]
        typical = statistics.median(series[middle] for series in record.relative.values())
        row = " ".join(f"{spread:8.1f}" for spread in spreads)
        seconds = time.perf_counter() - start
        print(f"{way:20} {row:>32} {typical:12.2e} {record.distance[-1]:9.4f} {seconds:5.0f}", flush=True)
    picture(records, options.output)
    print(f"written: {options.output}")


if __name__ == "__main__":
    main()
