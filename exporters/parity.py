"""Parity: the same inputs through torch and through ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from exporters.errors import ParityError

TOLERANCE = 1e-4


class Session(Protocol):
    """What parity needs of a loaded graph (:class:`exporters.runtime.RankerSession`)."""

    def run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute the outputs by name."""
        ...


class OutputParity(msgspec.Struct, frozen=True, kw_only=True):
    """One output compared: the largest difference and the row (first axis) where it is."""

    name: str
    max_abs: float
    worst_row: int
    excess: float  # largest difference over what is allowed there; above 1 fails


class ParityReport(msgspec.Struct, frozen=True, kw_only=True):
    """All outputs of a graph compared.

    A difference ``|a - b|`` is allowed up to ``tolerance · max(1, |b|)``; equal infinities agree, NaN never does.

    >>> output = OutputParity(name="logits", max_abs=2e-3, worst_row=4, excess=20.)
    >>> print(ParityReport(tolerance=1e-4, outputs=(output,)))
    logits: max abs 0.002, worst row 4 (20x allowed)
    """

    tolerance: float
    outputs: tuple[OutputParity, ...]

    @property
    def max_abs(self) -> float:
        """The largest difference over all outputs."""
        return max((output.max_abs for output in self.outputs), default=0.0)

    @property
    def passed(self) -> bool:
        """Whether every output is within the tolerance."""
        return all(output.excess <= 1 for output in self.outputs)

    def __str__(self) -> str:
        """Describe every output in one line."""
        return "; ".join(
            f"{output.name}: max abs {output.max_abs:.3g}, worst row {output.worst_row} ({output.excess:.3g}x allowed)"
            for output in self.outputs
        )


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A module with the inputs to compare on and the names of its outputs."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


def compare(reference: Reference, session: Session, tolerance: float = TOLERANCE) -> ParityReport:
    """Run both and compare every output.

    Raises
    ------
    ParityError
        When the number or the shapes of the outputs differ.
    """
    expected = torch_outputs(reference)
    answered = session.run({name: tensor.detach().cpu().numpy() for name, tensor in reference.inputs.items()})
    pairs = ((name, answered[name], expected[name]) for name in reference.outputs)
    return ParityReport(tolerance=tolerance, outputs=tuple(_difference(*pair, tolerance) for pair in pairs))


def torch_outputs(reference: Reference) -> dict[str, NDArray[Any]]:
    """Compute the outputs of the module by name; it must be in evaluation mode on the CPU."""
    with torch.no_grad():
        leaves = tree_leaves(reference.module(**{name: tensor.cpu() for name, tensor in reference.inputs.items()}))
    if len(leaves) != len(reference.outputs):
        raise ParityError(
            f"{type(reference.module).__name__} returns {len(leaves)} tensors, but {len(reference.outputs)} outputs "
            f"are named: {', '.join(reference.outputs)}"
        )
    return {name: leaf.numpy() for name, leaf in zip(reference.outputs, leaves, strict=True)}


def _difference(name: str, answered: NDArray[Any], expected: NDArray[Any], tolerance: float) -> OutputParity:
    if answered.shape != expected.shape:
        raise ParityError(f"output {name!r}: ONNX Runtime gives {answered.shape}, torch {expected.shape}")
    if expected.size == 0:
        return OutputParity(name=name, max_abs=0.0, worst_row=0, excess=0.0)
    left, right = np.float64(answered), np.float64(expected)
    with np.errstate(invalid="ignore"):
        gap = np.where(left == right, 0.0, np.abs(left - right))
    gap = np.where(np.isnan(gap), np.inf, gap)
    allowed = tolerance * np.maximum(1.0, np.where(np.isfinite(right), np.abs(right), 1.0))
    ratio = (gap / allowed).reshape(len(np.atleast_1d(gap)), -1).max(axis=1)  # [rows]
    worst = int(ratio.argmax())
    return OutputParity(name=name, max_abs=float(gap.max()), worst_row=worst, excess=float(ratio[worst]))
