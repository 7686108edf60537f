"""Train the three sample networks of this folder on scikit-learn's digits and write their checkpoints.

``python train.py all`` (or ``progan``, ``stylegan2``, ``dcgan``) writes the files beside this script, or into
``--out``. One thread and fixed seeds: a run repeats bit for bit on the same machine and torch version.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from models import (
    DCGANDiscriminator,
    DCGANGenerator,
    ProGANCritic,
    ProGANGenerator,
    StyleGAN2Discriminator,
    StyleGAN2Generator,
)
from PIL import Image
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from torch import Tensor, nn

SEED = 20_240_611
Sampler = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Run:
    """What the command line fixes for one training run."""

    out: Path
    seed: int
    steps: int
    batch: int


def digits() -> tuple[Tensor, np.ndarray]:
    """Return the 1797 images as (N, 1, 16, 16) in [-1, 1], and their labels."""
    data = load_digits()
    small = torch.tensor(data.images, dtype=torch.float32)[:, None] / 8 - 1
    return F.interpolate(small, size=16, mode="bilinear", align_corners=False), data.target


def batches(images: Tensor, size: int, seed: int) -> Callable[[], Tensor]:
    """Return a function that gives the next batch, reshuffling after every pass over the images."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.long)

    def step() -> Tensor:
        nonlocal order
        if len(order) < size:
            order = torch.randperm(len(images), generator=generator)
        picked, order = order[:size], order[size:]
        return images[picked]

    return step


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged copy towards the model; buffers are copied."""
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
    for stale, buffer in zip(average.buffers(), model.buffers(), strict=True):
        stale.copy_(buffer)


def set_rate(optimizer: torch.optim.Optimizer, rate: float, progress: float, hold: float = 0.5) -> None:
    """Hold the learning rate, then lower it linearly to a tenth at the end of training."""
    factor = 1.0 if progress < hold else 1 - 0.9 * (progress - hold) / (1 - hold)
    for group in optimizer.param_groups:
        group["lr"] = rate * factor


def save_grid(path: Path, images: Tensor, columns: int = 8, zoom: int = 3) -> None:
    """Write one-channel images in [-1, 1] as a grey PNG grid with thin lines, each pixel ``zoom`` wide."""
    rows = len(images) // columns
    tiles = F.pad(images[: rows * columns, 0].clamp(-1, 1), (0, 1, 0, 1), value=-0.4)
    side = tiles.shape[-1]
    grid = tiles.reshape(rows, columns, side, side).permute(0, 2, 1, 3).reshape(rows * side, columns * side)
    pixels = ((grid + 1) * 127.5).round().byte().numpy()
    Image.fromarray(pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)).save(path, optimize=True)


@torch.no_grad()
def preview(name: str, run: Run, sample: Sampler, z_shape: Sequence[int]) -> Tensor:
    """Draw 1000 latents from a generator of their own, write a grid of 64 samples and return all 1000."""
    generator = torch.Generator().manual_seed(run.seed + 1)
    images = sample(torch.randn(1000, *z_shape, generator=generator))[:, :1]
    save_grid(run.out / f"{name}.png", images[:64])
    return images


@torch.no_grad()
def report(name: str, run: Run, sample: Sampler, z_shape: Sequence[int], seconds: float) -> None:
    """Write the preview and print how sure a classifier of the real digits is of 1000 samples."""
    images = preview(name, run, sample, z_shape)
    real, labels = digits()
    judge = CalibratedClassifierCV(SVC(C=10.0), ensemble=False).fit(real.flatten(1).numpy(), labels)
    odds = judge.predict_proba(images.clamp(-1, 1).flatten(1).numpy())
    counts = np.bincount(odds.argmax(1), minlength=10).tolist()
    sure = float((odds.max(1) > 0.9).mean())
    setting = f"steps {run.steps} batch {run.batch} seed {run.seed}"
    print(f"{name}: {setting} seconds {seconds:.0f} torch {torch.__version__}")
    print(f"{name}: classifier above 0.9 for {sure:.1%} of 1000 samples; digits 0 to 9: {counts}", flush=True)


def train_progan(run: Run) -> None:
    """WGAN-GP, 4x4 then 8x8 then 16x16, each larger size faded in during a twelfth of the steps."""
    torch.manual_seed(run.seed)
    generator, critic = ProGANGenerator(), ProGANCritic()
    average = copy.deepcopy(generator)
    rate = 1e-3
    g_optim = torch.optim.Adam(generator.parameters(), lr=rate, betas=(0.0, 0.99))
    d_optim = torch.optim.Adam(critic.parameters(), lr=rate, betas=(0.0, 0.99))
    images, _ = digits()
    start = time.perf_counter()
    for level, share in enumerate((0.08, 0.17, 0.75)):
        stage = round(run.steps * share)
        next_batch = batches(F.adaptive_avg_pool2d(images, 4 << level), run.batch, run.seed + level)
        for step in range(stage):
            alpha = min(1.0, step / (run.steps / 12)) if level else 1.0
            if level == 2:
                set_rate(g_optim, rate, step / stage)
                set_rate(d_optim, rate, step / stage)
            real = next_batch()
            with torch.no_grad():
                fake = generator(torch.randn(run.batch, generator.z_dim, 1, 1), alpha, level)
            mix = torch.lerp(real, fake, torch.rand(run.batch, 1, 1, 1)).requires_grad_()
            (slope,) = torch.autograd.grad(critic(mix, alpha, level).sum(), mix, create_graph=True)
            penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
            on_real, on_fake = critic(real, alpha, level), critic(fake, alpha, level)
            d_loss = on_fake.mean() - on_real.mean() + 10 * penalty + 1e-3 * on_real.square().mean()
            d_optim.zero_grad()
            d_loss.backward()
            d_optim.step()
            z = torch.randn(run.batch, generator.z_dim, 1, 1)
            g_loss = -critic(generator(z, alpha, level), alpha, level).mean()
            g_optim.zero_grad()
            g_loss.backward()
            g_optim.step()
            update_average(average, generator, 0.999)
            if step % 500 == 0:
                seconds = time.perf_counter() - start
                print(
                    f"progan {4 << level} {step}/{stage} d {d_loss:.3f} g {g_loss:.3f} {seconds:.0f} s",
                    flush=True,
                )
                preview("progan_digits", run, partial(average, steps=level), (average.z_dim, 1, 1))
    seconds = time.perf_counter() - start
    for name, model, optimizer in (("", average, g_optim), ("_critic", critic, d_optim)):
        content = {"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save(content, run.out / f"progan_digits{name}.pth.tar")
    report("progan_digits", run, average, (average.z_dim, 1, 1), seconds)


def train_stylegan2(run: Run) -> None:
    """Non-saturating logistic loss and R1 every 16th step, without style mixing and path length."""
    torch.manual_seed(run.seed)
    generator, critic = StyleGAN2Generator(), StyleGAN2Discriminator()
    average = copy.deepcopy(generator)
    rate, r1, every = 2e-3, 0.5, 16
    ratio = every / (every + 1)
    g_optim = torch.optim.Adam(generator.parameters(), lr=rate, betas=(0.0, 0.99))
    d_optim = torch.optim.Adam(critic.parameters(), lr=rate * ratio, betas=(0.0, 0.99**ratio))
    next_batch = batches(digits()[0].expand(-1, 3, -1, -1), run.batch, run.seed)
    start = time.perf_counter()
    for step in range(run.steps):
        set_rate(g_optim, rate, step / run.steps)
        set_rate(d_optim, rate * ratio, step / run.steps)
        real = next_batch()
        with torch.no_grad():
            z = torch.randn(run.batch, generator.style_dim)
            fake = generator(z, generator.fresh_noise(run.batch))
        d_loss = F.softplus(critic(fake)).mean() + F.softplus(-critic(real)).mean()
        d_optim.zero_grad()
        d_loss.backward()
        d_optim.step()
        if step % every == 0:
            real = real.detach().clone().requires_grad_()
            (slope,) = torch.autograd.grad(critic(real).sum(), real, create_graph=True)
            penalty = slope.square().flatten(1).sum(1).mean() * (r1 / 2 * every)
            d_optim.zero_grad()
            penalty.backward()
            d_optim.step()
        z = torch.randn(run.batch, generator.style_dim)
        g_loss = F.softplus(-critic(generator(z, generator.fresh_noise(run.batch)))).mean()
        g_optim.zero_grad()
        g_loss.backward()
        g_optim.step()
        update_average(average, generator, min(0.999, (step + 1) / (step + 10)))
        if step % 500 == 0:
            seconds = time.perf_counter() - start
            print(f"stylegan2 {step}/{run.steps} d {d_loss:.3f} g {g_loss:.3f} {seconds:.0f} s", flush=True)
            preview("stylegan2_digits", run, average, (average.style_dim,))
    seconds = time.perf_counter() - start
    args = argparse.Namespace(
        path="sklearn.datasets.load_digits",
        arch="stylegan2",
        iter=run.steps,
        batch=run.batch,
        n_sample=64,
        size=16,
        r1=r1,
        d_reg_every=every,
        mixing=0.0,
        ckpt=None,
        lr=rate,
        latent=generator.style_dim,
        n_mlp=4,
        start_iter=0,
        augment=False,
        augment_p=0.0,
        distributed=False,
    )
    content = {
        "g": generator.state_dict(),
        "d": critic.state_dict(),
        "g_ema": average.state_dict(),
        "g_optim": g_optim.state_dict(),
        "d_optim": d_optim.state_dict(),
        "args": args,
        "ada_aug_p": 0.0,
    }
    torch.save(content, run.out / "stylegan2_digits.pt")
    report("stylegan2_digits", run, average, (average.style_dim,), seconds)


def add_noise(images: Tensor, level: float) -> Tensor:
    """Add Gaussian noise of the given standard deviation."""
    return images + level * torch.randn_like(images)


def train_dcgan(run: Run) -> None:
    """Binary cross-entropy; a slower learning rate and fading noise keep the discriminator from winning."""
    torch.manual_seed(run.seed)
    generator, critic = DCGANGenerator(), DCGANDiscriminator()
    average = copy.deepcopy(generator)
    rate = 1e-3
    g_optim = torch.optim.Adam(generator.parameters(), lr=rate, betas=(0.5, 0.999))
    d_optim = torch.optim.Adam(critic.parameters(), lr=rate / 4, betas=(0.5, 0.999))
    next_batch = batches(digits()[0], run.batch, run.seed)
    start = time.perf_counter()
    for step in range(run.steps):
        set_rate(g_optim, rate, step / run.steps)
        set_rate(d_optim, rate / 4, step / run.steps)
        fake = generator(torch.randn(run.batch, generator.z_dim, 1, 1))
        level = 0.3 - 0.2 * step / run.steps
        on_real = critic(add_noise(next_batch(), level))
        on_fake = critic(add_noise(fake.detach(), level))
        d_loss = F.binary_cross_entropy_with_logits(on_real, torch.full_like(on_real, 0.9))
        d_loss = d_loss + F.softplus(on_fake).mean()
        d_optim.zero_grad()
        d_loss.backward()
        d_optim.step()
        g_loss = F.softplus(-critic(add_noise(fake, level))).mean()
        g_optim.zero_grad()
        g_loss.backward()
        g_optim.step()
        update_average(average, generator, 0.995)
        if step % 500 == 0:
            seconds = time.perf_counter() - start
            print(f"dcgan {step}/{run.steps} d {d_loss:.3f} g {g_loss:.3f} {seconds:.0f} s", flush=True)
            preview("dcgan_digits", run, average, (average.z_dim, 1, 1))
    with torch.no_grad():  # the averaged weights need their own batch statistics
        for module in average.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        for _ in range(50):
            average(torch.randn(256, average.z_dim, 1, 1))
    seconds = time.perf_counter() - start
    torch.save({"netG": average.state_dict(), "netD": critic.state_dict()}, run.out / "dcgan_digits.pt")
    report("dcgan_digits", run, average.eval(), (average.z_dim, 1, 1), seconds)


TRAINERS: dict[str, tuple[Callable[[Run], None], int, int]] = {  # function, steps, batch
    "progan": (train_progan, 12_000, 16),
    "stylegan2": (train_stylegan2, 12_000, 16),
    "dcgan": (train_dcgan, 10_000, 32),
}


def main() -> None:
    """Read the command line and train what it names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=[*TRAINERS, "all"])
    parser.add_argument("--steps", type=int, help="instead of the model's own number of steps")
    parser.add_argument("--batch", type=int, help="instead of the model's own batch size (a multiple of 4)")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in TRAINERS if options.model == "all" else [options.model]:
        trainer, steps, batch = TRAINERS[name]
        trainer(Run(options.out, options.seed, options.steps or steps, options.batch or batch))


if __name__ == "__main__":
    main()
