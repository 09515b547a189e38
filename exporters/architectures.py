"""Exported graphs by architecture: traced once, kept in memory and in the registry."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import msgspec
import onnx
import torch
from torch import nn

from exporters import files
from exporters.errors import ExportError, ParityError
from exporters.modules import shaken_copy, values_of
from exporters.onnx import Binding, Exported, export, with_values
from exporters.parity import Reference, compare
from exporters.session import Execution, RankerSession
from online_models.learner import Graph

_PLAIN = (bool, int, float, str, bytes, tuple, type(None))
_PROOF_TOLERANCE = 1e-3


class _Bindings(msgspec.Struct, frozen=True):
    bindings: tuple[Binding, ...]
    constants: tuple[str, ...]


class Architectures:
    """A cache of exported graphs in ``directory``.

    A graph that is new is traced and then proven live: the module's tensors are moved a little, written into the graph,
    and both must still agree. So nothing was baked into it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._held: dict[str, Exported] = {}
        self.exports = 0

    def get(self, key: str, graph: Graph, module: nn.Module) -> Exported:
        """Give the graph of an architecture: from memory, from disk, or traced now."""
        if key not in self._held:
            self._held[key] = self._read(key) or self.fresh(key, graph, module)
        return self._held[key]

    def fresh(self, key: str, graph: Graph, module: nn.Module) -> Exported:
        """Trace an architecture now, prove it, and keep it in place of what was kept before.

        Raises
        ------
        ExportError
            When the module cannot be exported, or a value of it was baked into the graph.
        """
        exported = export(graph, module)
        self.exports += 1
        _prove(exported, graph, module)
        self._held[key] = exported
        kept = _Bindings(exported.bindings, exported.constants)
        if (self.directory / key).exists():
            files.remove_folder(self.directory / key)
        contents = {"graph.onnx": exported.template.SerializeToString(), "bindings.json": msgspec.json.encode(kept)}
        files.write_folder(self.directory / key, contents)
        return exported

    def _read(self, key: str) -> Exported | None:
        try:
            template = onnx.load_model_from_string((self.directory / key / "graph.onnx").read_bytes())
            kept = msgspec.json.decode((self.directory / key / "bindings.json").read_bytes(), type=_Bindings)
        except Exception:  # whatever is wrong with the cache, the graph can be traced again
            return None
        return Exported(template=template, bindings=kept.bindings, constants=kept.constants)


def architecture_key(graph: Graph, module: nn.Module) -> str:
    """Hash everything that decides what the exported graph looks like, but no value of a tensor.

    That is: classes with their sources, plain attributes of every submodule, names, shapes and types of tensors, inputs
    with their dynamic axes, outputs, and the versions of the exporter.
    """
    digest = hashlib.sha256()
    for line in _description(graph, module):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:20]


def _description(graph: Graph, module: nn.Module) -> Iterator[str]:
    yield f"torch {torch.__version__} onnx {onnx.__version__}"
    yield f"outputs {graph.outputs}"
    for name, tensor in graph.inputs.items():
        axes = graph.dynamic.get(name, {})
        sizes = [axes.get(axis, size) for axis, size in enumerate(tensor.shape)]
        yield f"input {name} {tensor.dtype} {sizes}"
    for name, tensor in values_of(module).items():
        yield f"tensor {name} {tensor.dtype} {list(tensor.shape)}"
    for name, part in module.named_modules():
        plain = {key: value for key, value in vars(part).items() if isinstance(value, _PLAIN) and key != "training"}
        yield f"module {name} {type(part).__module__}.{type(part).__qualname__} {sorted(plain.items())}"
    for kind in dict.fromkeys(type(part) for part in module.modules()):
        if not kind.__module__.startswith("torch."):
            yield _source(kind)


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return kind.__qualname__


def _prove(exported: Exported, graph: Graph, module: nn.Module) -> None:
    shaken = shaken_copy(module)
    session = RankerSession(with_values(exported, values_of(shaken)), Execution(providers=("CPU",)))
    try:
        report = compare(
            Reference(module=shaken, inputs=graph.inputs, outputs=graph.outputs), session, _PROOF_TOLERANCE
        )
    except ParityError as error:
        raise ExportError(f"{type(module).__name__} does not export faithfully: {error}") from error
    if not report.passed:
        raise ExportError(
            f"{type(module).__name__} was exported with values baked in ({report}); "
            "keep what is learnt in parameters and buffers, and never call .item() or float() on it in forward"
        )
