"""ONNX Runtime, where it is installed."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eqlr_tools.errors import UsageError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class Provider(StrEnum):
    """What runs the graph."""

    cpu = "cpu"
    cuda = "cuda"
    tensorrt = "tensorrt"


_NAMES = {
    Provider.cpu: "CPUExecutionProvider",
    Provider.cuda: "CUDAExecutionProvider",
    Provider.tensorrt: "TensorrtExecutionProvider",
}


def session(model: bytes | Path, provider: Provider = Provider.cpu, *, threads: int | None = None) -> InferenceSession:
    """Load a model. Raises UsageError if ONNX Runtime is missing, or cannot run this model on that provider."""
    runtime = _runtime()
    name = _NAMES[provider]
    if name not in runtime.get_available_providers():
        raise UsageError(
            f"--provider {provider}: this ONNX Runtime has no {name}",
            hint="pip uninstall onnxruntime, then pip install -c constraints.txt 'eqlr-tools[gpu]'",
        )
    choices = runtime.SessionOptions()
    choices.log_severity_level = 4
    if threads is not None:
        choices.intra_op_num_threads = threads
    providers = [name] if provider is Provider.cpu else [name, _NAMES[Provider.cpu]]
    try:
        return runtime.InferenceSession(model if isinstance(model, bytes) else str(model), choices, providers=providers)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(
            f"ONNX Runtime's {provider} provider does not run this model: {reason}",
            hint="--provider chooses another, --precision another type",
        ) from error


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            "running a model needs onnxruntime, which is not installed",
            hint="pip install -c constraints.txt 'eqlr-tools[run]'",
        ) from error
    return onnxruntime
