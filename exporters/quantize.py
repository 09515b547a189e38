"""Graphs with 8-bit weights: quantised from the values that are published, beside the float32 graph.

The float32 graph is always published. An int8 graph comes with it where it stays close and ranks the recent examples
no worse; a server that wants int8 takes it where it is there.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from exporters.errors import ExporterError, ExportError, GateRefused
from exporters.gate import Gate, RecentExamples
from exporters.parity import Reference, Session, compare
from exporters.precision import int8_name
from exporters.registry import GraphFile
from exporters.session import Execution, RankerSession

TOLERANCE = 0.25
"""Largest difference between int8 and torch, as in :class:`exporters.parity.ParityReport`."""


def quantized(content: bytes) -> bytes:
    """Quantise the weights of matrix products to 8 bits, symmetrically and by column; activations at run time.

    Ranges of activations are taken at run time (dynamic quantisation), because they move with a model that learns: a
    range calibrated at one publish would cut off values at the next.

    Raises
    ------
    ExportError
        When ONNX Runtime's quantiser does not take the graph.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        try:
            _folded(content, plain)
            _quietly(str(plain), str(small))
        except Exception as error:  # ONNX Runtime raises bare exceptions of its own
            raise ExportError(f"the graph could not be quantised: {error}") from error
        return small.read_bytes()


def _folded(content: bytes, path: Path) -> None:
    """Compute what is constant, so that the quantiser sees weights where they are used transposed."""
    graph: Any = onnx.load_model_from_string(content)
    del graph.graph.value_info[:]  # shapes as they were traced; the quantiser infers its own
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _quietly(source: str, target: str) -> None:
    root = logging.getLogger()
    root.addFilter(_not_a_hint)
    try:
        quantize_dynamic(
            source, target, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul", "Gemm"]
        )
    finally:
        root.removeFilter(_not_a_hint)


def _not_a_hint(record: logging.LogRecord) -> bool:
    """Leave out the quantiser's hint to fold constants, which has been done."""
    return "onnxruntime" not in record.pathname


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A float32 graph that is about to be published, with what it is checked against."""

    file: GraphFile
    reference: Reference
    session: Session


@dataclass(frozen=True, kw_only=True)
class Int8Forms:
    """Int8 forms by their names, how far each is from torch, and why there are none or fewer."""

    files: dict[str, GraphFile] = field(default_factory=dict)
    parity: dict[str, float] = field(default_factory=dict)
    note: str = ""


def int8_forms(
    plain: Mapping[str, Plain], gate: Gate, checks: RecentExamples | None, vectors: NDArray[np.float32] | None
) -> Int8Forms:
    """Quantise all graphs of a version, or none: a version serves in one precision.

    Parameters
    ----------
    plain
        The float32 graphs by name.
    gate
        Judges the int8 form on recent examples as it would judge a new model while the float32 form serves.
    checks
        Recent examples; without them only the distance counts.
    vectors
        Item vectors [R, D] of the version.
    """
    files, parity = {}, {}
    for name, graph in plain.items():
        try:
            content = quantized(graph.file.content)
            session = RankerSession(content, Execution(providers=("CPU",)))
            report = compare(graph.reference, session, TOLERANCE)
            if not report.passed:
                return Int8Forms(note=f"int8 refused: graph {name!r} is too far from torch: {report}")
            if checks is not None and checks.graph == name:
                gate.check_outputs(checks, session, graph.session, vectors, vectors)
        except (ExporterError, GateRefused) as refusal:
            return Int8Forms(note=f"int8 refused: graph {name!r}: {refusal}")
        files[int8_name(name)] = replace(graph.file, content=content)
        parity[int8_name(name)] = report.max_abs
    return Int8Forms(files=files, parity=parity)
