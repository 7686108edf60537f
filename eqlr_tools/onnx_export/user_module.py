"""A module of the user's own as an ONNX graph, by torch's exporter, with the checkpoint's baked weights.

Importing the module that `--model` names runs its code: that is the user's explicit wish, and the only place where
eqlr imports what it is told to. The checkpoint is read as ever, without executing anything in it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eqlr_tools.checkpoints.checkpoint import Checkpoint
from eqlr_tools.errors import AmbiguousError, UsageError
from eqlr_tools.families.registry import Recognition
from eqlr_tools.onnx_export.fold import fold_model
from eqlr_tools.onnx_export.graph import BATCH, Graph, Port
from eqlr_tools.onnx_export.improving.constants import fold_constants
from eqlr_tools.onnx_export.improving.editing import Editor
from eqlr_tools.onnx_export.network import Fact
from eqlr_tools.onnx_export.subject import Subject
from eqlr_tools.rewriting.canonical import stored_scales
from eqlr_tools.rewriting.selection import Selection, recognise_all

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import ModelProto
    from torch import nn

    from eqlr_tools.onnx_export.options import Options

_EXAMPLES = 2
"""Samples in the example inputs: with one, torch.export would take the batch for a constant."""


@dataclass(frozen=True)
class ModuleNetwork:
    """What the graph is compared with: the module in double precision, or in single if it does not run in double."""

    module: nn.Module
    inputs: tuple[Port, ...]
    dtype: type[np.floating[Any]]
    mixes_samples = True

    @property
    def facts(self) -> dict[str, Fact]:
        return {
            "module": type(self.module).__name__,
            "parameters": sum(parameter.numel() for parameter in self.module.parameters()),
        }

    def graphs(self, options: Options) -> dict[str, Graph]:
        """The ports alone; what is between them comes from torch."""
        graph = Graph("module", options.opset)
        graph.inputs.extend(self.inputs)
        outputs = self.run_examples()
        graph.outputs.extend(Port(name, (BATCH, *value.shape[1:]), np.dtype(np.float32)) for name, value in outputs)
        return {"module": graph}

    def run_examples(self) -> list[tuple[str, NDArray]]:
        """Names and values of the outputs for inputs of zeros."""
        return self._outputs({port.name: np.zeros(port.sized(_EXAMPLES)) for port in self.inputs})

    def half_weights(self) -> dict[str, NDArray]:
        return {}

    def computed(self, part: str, inputs: Mapping[str, NDArray], options: Options) -> dict[str, NDArray]:
        return dict(self._outputs(inputs))

    def _outputs(self, inputs: Mapping[str, NDArray]) -> list[tuple[str, NDArray]]:
        import torch

        with torch.inference_mode():
            found = self.module(*(torch.from_numpy(inputs[port.name].astype(self.dtype)) for port in self.inputs))
        values = list(found) if isinstance(found, tuple | list) else [found]
        names = ["output"] if len(values) == 1 else [f"output{number}" for number in range(len(values))]
        return [(name, value.numpy()) for name, value in zip(names, values, strict=True)]


def parse_shapes(texts: Sequence[str]) -> tuple[Port, ...]:
    """`z=512` and `image=3,64,64`: the inputs in order, without the batch. Raises UsageError."""
    ports = []
    for text in texts:
        name, _, sizes = text.partition("=")
        numbers = sizes.split(",")
        if not name.isidentifier() or not all(number.isdigit() and int(number) > 0 for number in numbers):
            raise UsageError(f"--shape {text!r} is no input", hint="write --shape z=512 or --shape image=3,64,64")
        ports.append(Port(name, (BATCH, *map(int, numbers)), np.dtype(np.float32)))
    if not ports:
        raise UsageError(
            "--model needs the module's inputs", hint="--shape z=512 for each, without the batch, in order"
        )
    return tuple(ports)


def module_subject(
    checkpoint: Checkpoint, selection: Selection, factory: str, ports: tuple[Port, ...]
) -> tuple[Subject, nn.Module]:
    """The module with the weights of the checkpoint's network, in single precision and, as the subject, in double."""
    import copy

    recognition = _chosen(checkpoint, selection)
    module = _made(factory)
    _load(module, recognition, checkpoint)
    module = module.eval().float()
    network = ModuleNetwork(copy.deepcopy(module).double(), ports, np.float64)
    notes = []
    if not _runs(network):
        network = ModuleNetwork(module, ports, np.float32)
        _runs(network)
        notes.append("the module does not run in double precision; its graph is compared with it in single")
    if recognition.equalized:
        count = len(recognition.equalized)
        notes.append(f"{count} equalized layers were baked: the module must apply its weights as they are")
    name = recognition.network.name
    return Subject(name, recognition.family, "module", factory, network, network.facts, tuple(notes)), module


def torch_model(module: nn.Module, graph: Graph, metadata: Mapping[str, str]) -> ModelProto:
    """What torch's exporter makes of a module, batch free, less the source lines that it puts on nodes."""
    import torch
    from onnx import helper

    _require_onnxscript()
    batch = torch.export.Dim("batch")
    examples = tuple(torch.zeros(port.sized(_EXAMPLES)) for port in graph.inputs)
    silence = contextlib.ExitStack()
    with silence:
        silence.enter_context(contextlib.redirect_stdout(io.StringIO()))
        silence.enter_context(contextlib.redirect_stderr(io.StringIO()))
        silence.enter_context(warnings.catch_warnings())
        silence.callback(logging.disable, logging.root.manager.disable)
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            program = torch.onnx.export(
                module,
                examples,
                dynamo=True,
                input_names=[port.name for port in graph.inputs],
                output_names=[port.name for port in graph.outputs],
                dynamic_shapes=tuple({0: batch} for _ in graph.inputs),
                opset_version=graph.opset,
                verbose=False,
            )
        except Exception as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise UsageError(
                f"torch cannot export the module with a free batch: {type(error).__name__}: {reason}",
                hint="a convolution whose groups follow the batch is the usual cause; see docs/gpu.md",
            ) from error
    assert program is not None
    model: ModelProto = program.model_proto
    # What is left of scales and norms of constants, say of weight norm, is computed now: weights become constants.
    fold_model(model, lambda _: True)
    fold_constants(Editor(model))
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for info in model.graph.value_info:
        del info.metadata_props[:]
    helper.set_model_props(model, dict(metadata))
    return model


def _runs(network: ModuleNetwork) -> bool:
    """True if the module takes such inputs. Raises UsageError if it takes them in neither precision."""
    try:
        network.run_examples()
    except Exception as error:
        if network.dtype is np.float64 and not isinstance(error, TypeError):
            return False
        shapes = ", ".join(f"{port.name} {port.sized(_EXAMPLES)}" for port in network.inputs)
        raise UsageError(
            f"the module fails on inputs {shapes}: {type(error).__name__}: {str(error).splitlines()[0]}",
            hint="--shape gives every input of forward, in order, without the batch",
        ) from error
    return True


def _chosen(checkpoint: Checkpoint, selection: Selection) -> Recognition:
    found = recognise_all(checkpoint, selection)
    if len(found) > 1:
        names = ", ".join(recognition.network.name for recognition in found)
        raise AmbiguousError(f"{checkpoint.path} holds several networks: {names}", hint="--network NAME decides")
    return found[0]


def _made(factory: str) -> nn.Module:
    from torch import nn

    package, colon, name = factory.partition(":")
    if not colon or not package or not name:
        raise UsageError(f"--model {factory!r} names no factory", hint="write --model package.module:factory")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        made: Any = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"--model {factory}: {error}", hint="the module is looked for from here, as Python does"
        ) from (error)
    module = made if isinstance(made, nn.Module) else made()
    if not isinstance(module, nn.Module):
        raise UsageError(f"--model {factory} returns a {type(module).__name__}, not a torch module")
    return module


def _load(module: nn.Module, recognition: Recognition, checkpoint: Checkpoint) -> None:
    """Baked weights into a plain module; or stored ones into one that scales by hooks, which are then baked."""
    stored = {name: tensor.values() for name, tensor in recognition.network.tensors.items()}
    baked = _baked(recognition, stored)
    wanted = set(module.state_dict())
    state = stored if wanted == set(stored) and wanted != set(baked) else baked
    try:
        module.load_state_dict({name: _tensor(values) for name, values in state.items()}, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{checkpoint.path}: network {recognition.network.name} does not fit the module: {reason[:300]}",
            hint=f"eqlr bake {checkpoint.path} plain.pt --dry-run shows the baked names",
        ) from error
    _bake_hooks(module)


def _baked(recognition: Recognition, stored: Mapping[str, NDArray]) -> dict[str, NDArray]:
    scales = stored_scales(recognition.equalized)
    names = {layer.weight: layer.baked_weight for layer in recognition.equalized}
    constants = {name for layer in recognition.equalized for name in layer.scale_tensors}
    normalised = {layer.weight: layer for layer in recognition.equalized if layer.row_epsilon is not None}
    applied = {name: layer.applied(recognition.network.tensors[name]) for name, layer in normalised.items()}
    stored = {**stored, **{name: tensor[0].values() for name, tensor in applied.items() if tensor}}
    return {
        names.get(name, name): values * np.float64(scales[name]) if name in scales else values
        for name, values in stored.items()
        if name not in constants
    }


def _tensor(values: NDArray) -> Any:
    import torch

    kept = values if values.dtype.kind in "iub" else values.astype(np.float32)
    return torch.from_numpy(np.array(kept))


def _bake_hooks(module: nn.Module) -> None:
    """Replace weights that are computed at every call by what they are: parametrizations, and hooks on `X_orig`."""
    from torch import nn
    from torch.nn.utils import parametrize, remove_weight_norm
    from torch.nn.utils.weight_norm import WeightNorm

    for layer in module.modules():
        if parametrize.is_parametrized(layer):
            for name in list(layer.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
        for hook in list(layer._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):  # Keeps `X_g` and `X_v`, and a weight that no copy can be made of.
                remove_weight_norm(layer, hook.name)
        originals = [name for name in dict(layer.named_parameters(recurse=False)) if name.endswith("_orig")]
        if originals:
            for hook in layer._forward_pre_hooks.values():
                hook(layer, ())
            layer._forward_pre_hooks.clear()
        for original in originals:
            name = original.removesuffix("_orig")
            value = getattr(layer, name).detach().clone()
            delattr(layer, original)
            if name in layer.__dict__:
                delattr(layer, name)
            layer.register_parameter(name, nn.Parameter(value))


def _require_onnxscript() -> None:
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "torch's exporter needs onnxscript, which is not installed",
            hint="pip install -c constraints.txt 'eqlr-tools[export]'",
        ) from error
