"""Export a module once, then publish its values many times.

Tracing and converting a module takes seconds; putting new numbers into the graph that came out takes milliseconds. So
:func:`export` runs once for an architecture and remembers which initializer of the graph holds which tensor of the
module, and :func:`with_values` writes current tensors into those initializers. The exporter's own optimiser stays off,
because it folds and renames initializers; ONNX Runtime optimises when it loads the graph.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.helper import tensor_dtype_to_np_dtype
from torch import Tensor, nn

from exporters.errors import ExportError
from exporters.modules import values_of
from online_models.learner import Graph

_EXPORTER_LOGS = ("torch.onnx", "torch.onnx._internal.exporter._registration")


@dataclass(frozen=True, kw_only=True)
class Binding:
    """Which tensor of the module an initializer of the graph holds."""

    initializer: str
    source: str
    transposed: bool = False


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A graph without values, and where the values go.

    ``constants`` are the initializers that belong to the architecture (made inside ``forward``), not to the weights.
    """

    template: Any  # onnx.ModelProto
    bindings: tuple[Binding, ...]
    constants: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in order."""
        return tuple(value.name for value in self.template.graph.input)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs, in order."""
        return tuple(value.name for value in self.template.graph.output)


def export(graph: Graph, module: nn.Module) -> Exported:
    """Trace ``module`` on the graph's inputs and convert it to ONNX.

    Parameters
    ----------
    graph
        Names, example inputs and dynamic axes.
    module
        The module to trace: a frozen copy of ``graph.module`` (see :func:`exporters.modules.frozen_copy`).

    Raises
    ------
    ExportError
        When the exporter fails, fixes an axis that was to stay dynamic, or leaves an initializer that belongs to no
        tensor of the module.
    """
    program = _converted(graph, module)
    proto = program.model_proto
    _check_axes(proto, graph)
    constants = set(program.exported_program.constants)
    values = {name: _array(tensor) for name, tensor in values_of(module).items()}
    bindings, fixed = [], []
    for initializer in proto.graph.initializer:
        binding = _bind(initializer, values, constants)
        if binding is None:
            fixed.append(initializer.name)
        else:
            bindings.append(binding)
            initializer.ClearField("raw_data")
    return Exported(template=proto, bindings=tuple(bindings), constants=tuple(fixed))


def with_values(exported: Exported, parameters: Mapping[str, Tensor | NDArray[Any]]) -> bytes:
    """Write values into the graph that was exported before, without exporting again.

    Parameters
    ----------
    exported
        The graph and its bindings.
    parameters
        Every parameter and buffer of the module by its name (:func:`exporters.modules.values_of`).

    Raises
    ------
    ExportError
        When a bound tensor is missing or has another shape, or an initializer is bound to nothing.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(exported.template)
    bindings = {binding.initializer: binding for binding in exported.bindings}
    for initializer in proto.graph.initializer:
        binding = bindings.get(initializer.name)
        if binding is not None:
            initializer.raw_data = _bytes_for(initializer, binding, parameters)
        elif initializer.name not in exported.constants:
            raise ExportError(
                f"initializer {initializer.name!r} of the exported graph belongs to no tensor; export again"
            )
    return bytes(proto.SerializeToString())


def _converted(graph: Graph, module: nn.Module) -> Any:
    inputs = {name: _widened(tensor.cpu(), graph.dynamic.get(name, {})) for name, tensor in graph.inputs.items()}
    shapes = {name: dict(graph.dynamic.get(name, {})) or None for name in graph.inputs}
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module, (), kwargs=inputs, dynamo=True, optimize=False, verbose=False,
                dynamic_shapes=shapes, output_names=list(graph.outputs),
            )  # fmt: skip
    except Exception as error:
        raise ExportError(f"{type(module).__name__} could not be exported to ONNX: {error}") from error
    if program is None:
        raise ExportError(f"{type(module).__name__} could not be exported to ONNX: the exporter returned nothing")
    return program


def _widened(tensor: Tensor, axes: Mapping[int, str]) -> Tensor:
    """Repeat dynamic axes of size 1: the tracer would take a 1 for a constant."""
    for axis in axes:
        if tensor.shape[axis] == 1:
            tensor = torch.cat([tensor, tensor], dim=axis)
    return tensor


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence notes about packages that are not installed; errors still raise."""
    loggers = [logging.getLogger(name) for name in _EXPORTER_LOGS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _check_axes(proto: Any, graph: Graph) -> None:
    for value in proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        for axis, name in graph.dynamic.get(value.name, {}).items():
            if dims[axis].HasField("dim_value"):
                raise ExportError(
                    f"axis {axis} ({name}) of input {value.name!r} was fixed to {dims[axis].dim_value} while tracing; "
                    "take sizes from tensor.shape and branch on no size"
                )


def _bind(initializer: Any, values: Mapping[str, NDArray[Any]], constants: set[str]) -> Binding | None:
    """Find the tensor that an initializer was made of: by name, else by value; None for a constant of the graph."""
    held = onnx.numpy_helper.to_array(initializer)
    candidates = [initializer.name] if initializer.name in values else list(values)
    found = [match for name in candidates if (match := _match(initializer.name, held, name, values[name]))]
    if found and (len(found) == 1 or _one_tensor([values[match.source] for match in found])):
        return found[0]
    if initializer.name in constants and initializer.name not in values:
        return None
    raise ExportError(
        f"initializer {initializer.name!r} {list(held.shape)} of the exported graph "
        f"{'fits several tensors' if found else 'fits no tensor'} of the module; register it as a parameter or buffer"
    )


def _match(initializer: str, held: NDArray[Any], name: str, value: NDArray[Any]) -> Binding | None:
    def same(left: NDArray[Any]) -> bool:
        numbers = np.issubdtype(held.dtype, np.floating)
        return left.shape == held.shape and np.array_equal(left.astype(held.dtype), held, equal_nan=numbers)

    if same(value):
        return Binding(initializer=initializer, source=name)
    if value.ndim == 2 and same(value.T):
        return Binding(initializer=initializer, source=name, transposed=True)
    return None


def _one_tensor(values: list[NDArray[Any]]) -> bool:
    """Whether the tensors that fit are one tensor under several names (a tied weight)."""
    return all(value.__array_interface__["data"][0] == values[0].__array_interface__["data"][0] for value in values)


def _bytes_for(initializer: Any, binding: Binding, parameters: Mapping[str, Tensor | NDArray[Any]]) -> bytes:
    if binding.source not in parameters:
        raise ExportError(
            f"tensor {binding.source!r} is missing; the exported graph needs it for {binding.initializer!r}"
        )
    value = _array(parameters[binding.source])
    value = value.T if binding.transposed else value
    if list(value.shape) != list(initializer.dims):
        raise ExportError(
            f"tensor {binding.source!r} has shape {list(value.shape)}, but the exported graph holds "
            f"{list(initializer.dims)}: the architecture has changed; export again"
        )
    dtype = np.dtype(tensor_dtype_to_np_dtype(initializer.data_type)).newbyteorder("<")
    return np.ascontiguousarray(value, dtype=dtype).tobytes()


def _array(value: Tensor | NDArray[Any]) -> NDArray[Any]:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return value
