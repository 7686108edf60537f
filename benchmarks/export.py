"""How fast is an exported StyleGAN2, beside what torch exports of the published formulation, that improved, and torch?

    python benchmarks/export.py [--sizes 64 256] [--rounds 9]

Random weights, channel base 16384, at most 512 channels, w as input, constant noise, clamp 256; ONNX Runtime on the
CPU with two threads. All contenders of a size and batch run in turns, one call each per round, so that a busy machine
disturbs them alike; medians and minima over the rounds are printed. torch's export of the published formulation has a
fixed batch, since it has no other. The bound is what ONNX Runtime reaches in one 512-channel 3x3 convolution, measured
in the same rounds, applied to the network's multiplications (zeros not counted).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import statistics
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from published_stylegan2 import Synthesis

from eqlr_tools.onnx_export.graph import BATCH, Graph
from eqlr_tools.onnx_export.improving.improve import improve
from eqlr_tools.onnx_export.options import Latent, Options
from eqlr_tools.onnx_export.stylegan2 import StyleGAN2

THREADS = 2
WIDTH = 512


def channels(size: int) -> int:
    return min(16384 // size, 512)


def parameters(resolution: int) -> dict[str, NDArray]:
    """Random canonical parameters."""
    rng = np.random.default_rng(0)
    p: dict[str, NDArray] = {"synthesis.const": rng.standard_normal((channels(4), 4, 4))}
    for size in (1 << log for log in range(2, resolution.bit_length())):
        for layer in ("conv0", "conv1", "torgb")[size == 4 :]:
            name = f"synthesis.b{size}.{layer}"
            into = channels(size // 2) if layer == "conv0" else channels(size)
            out, kernel = (3, 1) if layer == "torgb" else (channels(size), 3)
            p[f"{name}.weight"] = rng.standard_normal((out, into, kernel, kernel)) / (kernel * np.sqrt(into))
            p[f"{name}.bias"] = rng.standard_normal(out) * 0.1
            p[f"{name}.style.weight"] = rng.standard_normal((into, WIDTH)) / np.sqrt(WIDTH)
            p[f"{name}.style.bias"] = np.ones(into)
            if layer != "torgb":
                p[f"{name}.noise_strength"] = np.array(0.1)
                p[f"{name}.noise"] = rng.standard_normal((size, size))
    return p


def multiplications(p: dict[str, NDArray]) -> float:
    """Of the convolutions, per image: a transposed convolution multiplies as often as its input has pixels."""
    total = 0.0
    for name, weight in p.items():
        if name.endswith(".weight") and ".style" not in name:
            size = int(name.split(".")[1][1:])
            total += weight.size * (size // 2 if ".conv0." in name else size) ** 2
    return total


def session(model: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def published(module: Synthesis, batch: int, path: Path) -> float:
    """torch's export of the published formulation, and the seconds it took."""
    started = perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(
            module, (torch.zeros(batch, WIDTH),), str(path), dynamo=True, external_data=False, verbose=False
        )
    return perf_counter() - started


def one_convolution(path: Path) -> float:
    """A 512-channel 3x3 convolution at 32x32; returns its multiplications."""
    graph = Graph("convolution", 18)
    x = graph.input("x", [BATCH, 512, 32, 32])
    weight = graph.constant("weight", np.random.default_rng(0).standard_normal((512, 512, 3, 3)) / 68)
    graph.output(graph.node("Conv", [x, weight], "conv", pads=[1, 1, 1, 1]), "y", [BATCH, 512, 32, 32])
    onnx.save(graph.model({}), str(path))
    return 512 * 512 * 9 * 32 * 32


def race(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender, one call per round and turn; the first round is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, call in contenders.items():
            started = perf_counter()
            call()
            if number:
                seconds[name].append(perf_counter() - started)
    return seconds


def measure(size: int, batches: list[int], rounds: int, folder: Path) -> None:
    p = parameters(size)
    network = StyleGAN2(p, clamp=256.0)
    started = perf_counter()
    model = network.graphs(Options(latent=Latent.w))["generator"].model({})
    path = folder / "eqlr.onnx"
    path.write_bytes(model.SerializeToString())
    built = perf_counter() - started
    started = perf_counter()
    ours = session(path)
    loaded = perf_counter() - started
    module = Synthesis(p, network.sizes).eval()
    work = one_convolution(folder / "conv.onnx")
    convolution = session(folder / "conv.onnx")
    patch = np.zeros((1, 512, 32, 32), dtype=np.float32)
    print(f"\n{size} px: eqlr exports in {built:.2f} s, {path.stat().st_size / 1e6:.0f} MB, loads in {loaded:.2f} s")
    for batch in batches:
        other = folder / f"published{batch}.onnx"
        exported = published(module, batch, other)
        started = perf_counter()
        theirs = session(other)
        print(
            f"  published, batch {batch}: torch exports in {exported:.2f} s, {other.stat().st_size / 1e6:.0f} MB, "
            f"loads in {perf_counter() - started:.2f} s"
        )
        done = improve(other, folder / f"improved{batch}.onnx")
        mended = session(folder / f"improved{batch}.onnx")
        print(
            f"  that, improved by eqlr: {done.nodes[0]} nodes become {done.nodes[1]} in {done.build_seconds:.2f} s, "
            f"checked in {done.check_seconds:.2f} s"
        )
        w = np.random.default_rng(1).standard_normal((batch, WIDTH)).astype(np.float32)
        name = theirs.get_inputs()[0].name
        images = [ours.run(None, {"w": w})[0], mended.run(None, {name: w})[0]]
        expected = theirs.run(None, {name: w})[0]
        difference = max(np.abs(image - expected).max() for image in images) / np.abs(expected).max()
        assert difference < 1e-4, f"the contenders compute different images: {difference}"
        with torch.inference_mode():
            seconds = race(
                {
                    "convolution": lambda: convolution.run(None, {"x": patch}),
                    "eqlr": lambda w=w: ours.run(None, {"w": w}),
                    "published, improved": lambda w=w, name=name, mended=mended: mended.run(None, {name: w}),
                    "published, ONNX Runtime": lambda w=w, name=name, theirs=theirs: theirs.run(None, {name: w}),
                    "published, torch": lambda w=w: module(torch.from_numpy(w)),
                },
                rounds,
            )
        rate = work / min(seconds.pop("convolution"))
        bound = batch * multiplications(p) / rate
        reference = seconds["published, ONNX Runtime"]
        for contender, times in seconds.items():
            median, least = statistics.median(times), min(times)
            ratios = statistics.median(reference) / median, min(reference) / least
            print(
                f"  batch {batch}  {contender:24} median {median * 1e3:7.1f} ms ({ratios[0]:.2f}x)  "
                f"min {least * 1e3:7.1f} ms ({ratios[1]:.2f}x)  {bound / least:4.0%} of the bound"
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as folder:
        for size in arguments.sizes:
            measure(size, arguments.batches, arguments.rounds, Path(folder))


if __name__ == "__main__":
    main()
