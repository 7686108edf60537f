"""Does training go on? The sample ProGAN, resumed as it is and baked, in float32, beside a control.

    python -m benchmarks.resume            # about a minute; writes docs/resume.png

Three runs from `sample_checkpoints/progan_digits*.pth.tar`, same batches and latents, Adam with the file's own state:

    as it is     the equalized networks, go on
    baked        `eqlr bake --keep-trajectory` of both files, go on with plain layers
    control      as it is, but each weight moved to the next float32 number once

In float64 the first two coincide to 1e-12 (`tests/rewriting/test_optimizer_samples.py`). In float32 a GAN amplifies
every rounding, so what can be asked is whether the baked run strays further than the control does.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.charts import PALETTE, Line, Panel, draw
from benchmarks.learning_speed import ROOT, sample_models
from eqlr_tools import nn as eqnn
from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.rewriting.bake import plan_bake
from eqlr_tools.rewriting.optimizer import OptimizerOptions
from eqlr_tools.rewriting.run import run
from eqlr_tools.rewriting.selection import Selection

FILES = {"progan_digits": "ProGANGenerator", "progan_digits_critic": "ProGANCritic"}
RUNS = ("as it is", "baked", "control, 1 ulp")

Player = tuple[nn.Module, torch.optim.Adam]


def players(way: str, folder: Path) -> list[Player]:
    """Generator and critic with their optimizers, as the run's name says."""
    made = []
    for file, cls in FILES.items():
        source = ROOT / "sample_checkpoints" / f"{file}.pth.tar"
        if way == "baked":
            plan = plan_bake(
                open_checkpoint(source), folder / f"{file}.pt", Selection(), optimizers=OptimizerOptions(True)
            )
            source = run(plan, Selection(), force=True).plan.target
        content: dict[str, Any] = torch.load(source, weights_only=True)
        model = getattr(sample_models(), cls)(equalized=way != "baked")
        model.load_state_dict(content["state_dict"], strict=True)
        if way.startswith("control"):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.copy_(torch.nextafter(parameter, torch.tensor(torch.inf)))
        state = content["optimizer"]
        groups = eqnn.parameter_groups(model, state) if way == "baked" else model.parameters()
        optimizer = torch.optim.Adam(groups, lr=1e-3, betas=(0.0, 0.99))
        optimizer.load_state_dict(state)
        made.append((model, optimizer))
    return made


def losses(both: list[Player], steps: int) -> tuple[list[float], list[float]]:
    """Train with WGAN-GP and return both losses of every step."""
    (generator, g_optim), (critic, d_optim) = both
    small = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 8 - 1
    digits = functional.interpolate(small, size=16, mode="bilinear", align_corners=False)
    noise = torch.Generator().manual_seed(3)
    g_losses, d_losses = [], []

    def latents() -> Tensor:
        return torch.randn(16, 32, 1, 1, generator=noise)

    for _ in range(steps):
        real = digits[torch.randint(len(digits), (16,), generator=noise)]
        fake = generator(latents()).detach()
        mix = torch.lerp(real, fake, torch.rand(16, 1, 1, 1, generator=noise)).requires_grad_()
        (slope,) = torch.autograd.grad(critic(mix).sum(), mix, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
        on_real = critic(real)
        d_loss = critic(fake).mean() - on_real.mean() + 10 * penalty + 1e-3 * on_real.square().mean()
        d_optim.zero_grad()
        d_loss.backward()
        d_optim.step()
        g_loss = -critic(generator(latents())).mean()
        g_optim.zero_grad()
        g_loss.backward()
        g_optim.step()
        g_losses.append(float(g_loss.detach()))
        d_losses.append(float(d_loss.detach()))
    return g_losses, d_losses


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the three, print how far they part, and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "resume.png")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = {way: losses(players(way, Path(folder)), options.steps) for way in RUNS}
    steps = list(range(options.steps))
    base = found["as it is"][1]
    apart = {way: [abs(a - b) for a, b in zip(found[way][1], base, strict=True)] for way in RUNS[1:]}
    print(f"{'critic loss differs from the unconverted run by':48}" + "".join(f"{way:>16}" for way in apart))
    for last in sorted({1, 10, options.steps // 4, options.steps // 2, options.steps}):
        row = "".join(f"{max(series[:last]):16.2e}" for series in apart.values())
        print(f"{f'  at most, within {last} steps':48}{row}")
    widths = dict(zip(RUNS, (3.2, 1.4, 0.7), strict=True))
    colors = dict(zip(RUNS, ("#babdb6", PALETTE[0], PALETTE[1]), strict=True))
    panels = [
        Panel(
            title,
            [Line(steps, found[way][index], way, colors[way], widths[way]) for way in RUNS],
            "steps after resuming",
        )
        for title, index in (("critic loss", 1), ("generator loss", 0))
    ]
    lines = [Line(steps, series, way, colors[way], 1.0) for way, series in apart.items()]
    title = "critic loss: distance from the unconverted run"
    panels.append(Panel(title, lines, "steps after resuming", log=True, legend_at="bottom"))
    draw(panels, options.output, columns=3, size=(400, 290))
    print(f"written: {options.output}")


if __name__ == "__main__":
    main()
