"""Reading exported files in tests, and a small generator to export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray


def run(path: Path, **inputs: NDArray) -> NDArray:
    """The first output of a file for inputs, of which scalars may be missing: then they are 1."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    missing = {port.name: np.array(1.0, np.float32) for port in session.get_inputs() if port.name not in inputs}
    result: NDArray = session.run(None, {**missing, **inputs})[0]
    return result


def load(path: Path, *, data: bool = True) -> onnx.ModelProto:
    return onnx.load(str(path), load_external_data=data)


def constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def parameters(
    resolution: int = 32, width: int = 16, *, labels: int = 0, channels: int = 3, seed: int = 0
) -> dict[str, NDArray]:
    """Canonical parameters of a small StyleGAN2 generator. Styles reach from 0.03 to 30, as trained ones do."""
    rng = np.random.default_rng(seed)
    p: dict[str, NDArray] = {}

    def dense(name: str, out: int, into: int) -> None:
        p[f"{name}.weight"] = rng.standard_normal((out, into)) / np.sqrt(into)
        p[f"{name}.bias"] = rng.standard_normal(out) * 0.1

    if labels:
        dense("mapping.label", width, labels)
    dense("mapping.fc0", width, width * (2 if labels else 1))
    dense("mapping.fc1", width, width)
    p["mapping.w_avg"] = rng.standard_normal(width) * 0.1
    p["synthesis.const"] = rng.standard_normal((width, 4, 4))
    for size in (1 << log for log in range(2, resolution.bit_length())):
        for layer in ("conv0", "conv1", "torgb")[size == 4 :]:
            name = f"synthesis.b{size}.{layer}"
            out, kernel = (channels, 1) if layer == "torgb" else (width, 3)
            p[f"{name}.weight"] = rng.standard_normal((out, width, kernel, kernel)) / (kernel * np.sqrt(width))
            p[f"{name}.bias"] = rng.standard_normal(out) * 0.1
            dense(f"{name}.style", width, width)
            p[f"{name}.style.bias"] += 1
            if layer != "torgb":
                p[f"{name}.noise_strength"] = np.array(0.2)
                p[f"{name}.noise"] = rng.standard_normal((size, size))
    return p


def discriminator_parameters(resolution: int, width: int, *, seed: int = 0) -> dict[str, NDArray]:
    """Canonical parameters of a small StyleGAN2 discriminator."""
    rng = np.random.default_rng(seed)
    p: dict[str, NDArray] = {}

    def layer(name: str, *shape: int) -> None:
        p[f"{name}.weight"] = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        p[f"{name}.bias"] = rng.standard_normal(shape[0]) * 0.1

    layer(f"b{resolution}.fromrgb", width, 3, 1, 1)
    for size in (1 << log for log in range(3, resolution.bit_length())):
        layer(f"b{size}.conv0", width, width, 3, 3)
        layer(f"b{size}.conv1", width, width, 3, 3)
        p[f"b{size}.skip.weight"] = rng.standard_normal((width, width, 1, 1)) / np.sqrt(width)
    layer("b4.conv", width, width + 1, 3, 3)
    layer("b4.fc", width, 16 * width)
    layer("b4.out", 1, width)
    return p


def with_style_scale(p: dict[str, NDArray], factor: float) -> dict[str, NDArray]:
    """The same network with larger styles where demodulation takes them out again: its images stay as they are."""
    scaled = {name for name in p if ".conv" in name and ".style." in name}
    return {name: values * factor if name in scaled else values for name, values in p.items()}
