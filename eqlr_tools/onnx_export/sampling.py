"""Images from a generator in an ONNX file, by seed, as one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.checkpoints.opening import open_checkpoint
from eqlr_tools.errors import UnreadableError, UsageError
from eqlr_tools.onnx_export.choices import Choices
from eqlr_tools.onnx_export.options import Options
from eqlr_tools.onnx_export.pieces import as_bytes
from eqlr_tools.onnx_export.runtime import Provider, session
from eqlr_tools.onnx_export.subject import subject_of
from eqlr_tools.rewriting.selection import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnxruntime import InferenceSession

_BATCH = 4
_TILE_PIXELS = 64
_GAP_PIXELS = 2


@dataclass(frozen=True)
class Sampling:
    """What to draw. `label` is the number of a class, for generators that have classes."""

    seeds: Sequence[int]
    truncation: float = 1.0
    label: int | None = None


def parse_seeds(text: str) -> list[int]:
    """`0-15`, `3,5,8` or both. Raises UsageError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdigit() and (last.isdigit() or not dash)):
            raise UsageError(f"--seeds {text!r} is no list of seeds", hint="write 0-15, or 3,5,8")
        seeds += range(int(first), int(last or first) + 1)
    if not 0 < len(seeds) <= 10_000 or max(seeds) >= 1 << 32:
        raise UsageError(f"--seeds {text!r}: between 1 and 10,000 seeds below 2**32 are drawn")
    return seeds


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def runner(source: Path, chosen: Selection, provider: Provider) -> InferenceSession:
    """The model in an ONNX file, or the one that a checkpoint's generator is exported to, in memory."""
    if source.suffix == ".onnx":
        if not source.is_file():
            raise UnreadableError(f"{source}: no such file", hint="check the path")
        return session(source, provider)
    subject = subject_of(open_checkpoint(source), chosen, Choices())
    if subject.role != "generator":
        raise UsageError(f"{source}: network {subject.name} is a {subject.role}", hint="--network NAME takes another")
    (graph,) = subject.network.graphs(Options()).values()
    return session(graph.model({}).SerializeToString(), provider)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def draw(runner: InferenceSession, what: Sampling) -> NDArray:
    """(samples, height, width, channels) bytes. Raises UsageError for a graph that is no image generator."""
    ports = {port.name: port for port in runner.get_inputs()}
    if "z" not in ports or len(ports["z"].shape) < 2:
        raise UsageError(
            f"the model's inputs are {', '.join(ports)}; images are drawn from an input z",
            hint="export without --split and without --input",
        )
    if what.label is not None and "label" not in ports:
        raise UsageError("--class: this generator has no classes", hint="leave it out")
    if what.truncation != 1.0 and "truncation_psi" not in ports:
        raise UsageError("--truncation: this generator has no w to truncate", hint="leave it out")
    batch = ports["z"].shape[0] if isinstance(ports["z"].shape[0], int) else _BATCH
    images = []
    for start in range(0, len(what.seeds), batch):
        seeds = what.seeds[start : start + batch]
        # A graph with a fixed batch gets as many as it wants; what is too much is not drawn.
        fed = [*seeds, *[seeds[-1]] * (batch - len(seeds))] if isinstance(ports["z"].shape[0], int) else seeds
        images.append(_as_pixels(_run(runner, _feed(ports, what, fed)))[: len(seeds)])
    return np.concatenate(images)


def _run(runner: InferenceSession, feed: dict[str, NDArray]) -> NDArray:
    try:
        image: NDArray = runner.run(None, feed)[0]
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"the model does not run on latents of its own shape: {reason}") from error
    if image.ndim != 4:
        raise UsageError(f"the model's first output has {image.ndim} axes; images have four")
    return image


def _feed(ports: dict[str, Any], what: Sampling, seeds: Sequence[int]) -> dict[str, NDArray]:
    """One z per seed, drawn as NVIDIA's scripts draw it, so that equal seeds give equal images."""
    shape = ports["z"].shape[1:]
    z = np.stack([np.random.RandomState(seed).standard_normal(shape) for seed in seeds])
    feed = {"z": z.astype(np.float32)}
    for name, port in ports.items():
        if name == "truncation_psi":
            feed[name] = np.array(what.truncation, dtype=np.float32)
        elif name == "label":
            feed[name] = _labels(port.shape[1], what.label, seeds)
        elif name.startswith("noise"):
            maps = [np.random.RandomState(seed).standard_normal(port.shape[1:]) for seed in seeds]
            feed[name] = np.stack(maps).astype(np.float32)
        elif name != "z":
            raise UsageError(f"the model has an input {name}, for which there is no value to draw")
    return feed


def _labels(classes: int, label: int | None, seeds: Sequence[int]) -> NDArray:
    """The wanted class for all, or one after the other."""
    if label is not None and not 0 <= label < classes:
        raise UsageError(f"--class {label}: the generator has classes 0 to {classes - 1}")
    numbers = [number % classes if label is None else label for number in range(len(seeds))]
    return np.eye(classes, dtype=np.float32)[numbers]


def _as_pixels(images: NDArray) -> NDArray:
    return images if images.dtype == np.uint8 else as_bytes(images)


def grid(images: NDArray) -> NDArray:
    """The images as one, in as square an arrangement as their number allows; small ones are enlarged to be seen."""
    count, height, width, channels = images.shape
    if channels not in (1, 3, 4):
        raise UsageError(f"images of {channels} channels cannot be drawn, only grey, RGB and RGBA ones")
    factor = max(_TILE_PIXELS // max(height, width), 1)
    tiles = images.repeat(factor, axis=1).repeat(factor, axis=2)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    across, down = width * factor + _GAP_PIXELS, height * factor + _GAP_PIXELS
    canvas = np.full((rows * down - _GAP_PIXELS, columns * across - _GAP_PIXELS, channels), 255, dtype=np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * down, number % columns * across
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return canvas
