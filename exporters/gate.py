r"""The sanity gate: what is wrong with a model is found before it serves.

Weights and outputs must be finite and of a sane size, and the new model is scored beside the one that serves, on the
same recent examples. It is refused only when it is *clearly* worse, by the paired difference of reciprocal ranks: for
examples e with :math:`d_e = rr_{serving}(e) - rr_{new}(e)`, when

.. math:: \bar d - z \cdot s_d / \sqrt{n} > \delta .
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporters.errors import GateRefused

if TYPE_CHECKING:
    from exporters.parity import Session

HIT_DEPTH = 10


@dataclass(frozen=True, kw_only=True)
class GateLimits:
    """What is still sane.

    Parameters
    ----------
    max_weight, max_output
        Largest magnitude of a weight and of an output.
    min_examples
        With fewer recent examples nothing is said about quality.
    margin
        delta: the loss of mean reciprocal rank that is put up with.
    z
        Standard errors of doubt in favour of the new model.
    """

    max_weight: float = 1e3
    max_output: float = 1e4
    min_examples: int = 30
    margin: float = 0.02
    z: float = 2.5


@dataclass(frozen=True, kw_only=True)
class RecentExamples:
    """The latest examples as inputs of a graph. Take them before they are learned, or the new model has seen them.

    ``labels`` [B, N] is above 0 at what was taken; ``mask`` [B, N] is True where there is a candidate. ``rows`` says
    which feeds hold item vectors, and of which rows: each version is then judged with its own vectors.
    """

    feeds: Mapping[str, NDArray[Any]]
    labels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    graph: str = "rank"
    output: str = "logits"
    rows: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)

    def feeds_with(self, vectors: NDArray[np.float32] | None) -> dict[str, NDArray[Any]]:
        """Give the feeds with the vectors [R, D] of a version; as they were taken where it has none."""
        if vectors is None:
            return dict(self.feeds)
        gathered = {
            name: np.where((rows < len(vectors))[..., None], vectors[np.minimum(rows, len(vectors) - 1)], 0)
            for name, rows in self.rows.items()
        }
        return {**self.feeds, **{name: found.astype(np.float32) for name, found in gathered.items()}}


@dataclass(frozen=True, kw_only=True)
class ShadowScore:
    """List-wise quality on recent examples.

    >>> logits, labels = np.array([[3., 1., 2.]]), np.array([[0., 0., 1.]])
    >>> ShadowScore.of(logits, labels, np.ones((1, 3), bool)).reciprocal_ranks.tolist()
    [0.5]
    """

    hit_rate: float
    loss: float
    reciprocal_ranks: NDArray[np.float64]  # [E] examples with something taken

    @classmethod
    def of(cls, logits: NDArray[Any], labels: NDArray[Any], mask: NDArray[np.bool_]) -> ShadowScore:
        """Score logits [B, N]; a tie counts as the worse place, so a model that says nothing gains nothing."""
        taken = (labels > 0) & mask
        judged = taken.any(axis=1)
        scores = np.where(mask, np.float64(logits), -np.inf)[judged]  # [E, N]
        taken, mask = taken[judged], mask[judged]
        best = np.where(taken, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
        ranks = np.maximum(((scores >= best) & mask & ~taken).sum(axis=1) + 1, 1)
        top = scores.max(axis=1, keepdims=True, initial=-np.inf)
        partition = top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))
        return cls(hit_rate=_mean(ranks <= HIT_DEPTH), loss=_mean(partition - best[:, 0]), reciprocal_ranks=1.0 / ranks)

    @property
    def reciprocal_rank(self) -> float:
        """Mean reciprocal rank."""
        return _mean(self.reciprocal_ranks)


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """What the gate measured on a model that it let through."""

    examples: int = 0
    score: ShadowScore | None = None
    serving: ShadowScore | None = None
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Numbers for the manifest."""
        numbers: dict[str, Any] = {"examples": self.examples, "note": self.note}
        for name, score in (("new", self.score), ("serving", self.serving)):
            if score is not None:
                numbers[f"{name}_hr@{HIT_DEPTH}"] = score.hit_rate
                numbers[f"{name}_mrr"], numbers[f"{name}_loss"] = score.reciprocal_rank, score.loss
        return numbers


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Lets a model through or raises :class:`~exporters.errors.GateRefused`."""

    limits: GateLimits = field(default_factory=GateLimits)

    def check_values(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Refuse weights that are not finite or too large."""
        self.check_finite(values, "weights")
        for name, value in values.items():
            largest = float(np.abs(value).max(initial=0)) if np.issubdtype(value.dtype, np.floating) else 0.0
            if largest > self.limits.max_weight:
                raise GateRefused(
                    "weights_too_large",
                    f"{name!r} has a value of magnitude {largest:.3g}; up to {self.limits.max_weight:g} is allowed",
                )

    def check_finite(self, values: Mapping[str, NDArray[Any]], what: str) -> None:
        """Refuse values that are not finite. Counts, prices and ages in tables may be as large as they are."""
        for name, value in values.items():
            if not np.issubdtype(value.dtype, np.floating) or value.size == 0:
                continue
            if not np.isfinite(value).all():
                bad = int((~np.isfinite(value)).sum())
                raise GateRefused(f"{what}_not_finite", f"{bad} of {value.size} values of {name!r} are NaN or infinite")

    def check_outputs(
        self,
        recent: RecentExamples,
        session: Session,
        serving: Session | None,
        vectors: NDArray[np.float32] | None = None,
        serving_vectors: NDArray[np.float32] | None = None,
    ) -> GateReport:
        """Refuse a model whose outputs are not sane, or that is clearly worse than the one that serves.

        Item vectors [R, D] are part of a version: where they are given, each of the two is judged with its own.
        """
        logits = session.run(recent.feeds_with(vectors))[recent.output]
        self._check_scale(logits, recent)
        score = ShadowScore.of(logits, recent.labels, recent.mask)
        examples = len(score.reciprocal_ranks)
        if serving is None:
            return GateReport(examples=examples, score=score, note="nothing serves yet")
        try:
            theirs = serving.run(recent.feeds_with(serving_vectors))[recent.output]
        except Exception as error:  # an older version may take other inputs: no comparison, no refusal
            return GateReport(examples=examples, score=score, note=f"the serving version cannot be compared: {error}")
        shadow = ShadowScore.of(theirs, recent.labels, recent.mask)
        self._check_quality(score, shadow)
        note = "" if examples >= self.limits.min_examples else "too few examples to compare"
        return GateReport(examples=examples, score=score, serving=shadow, note=note)

    def _check_scale(self, logits: NDArray[Any], recent: RecentExamples) -> None:
        if logits.shape != recent.mask.shape:
            raise GateRefused(
                "outputs_not_finite", f"{recent.output!r} has shape {logits.shape}, not {recent.mask.shape}"
            )
        real = logits[recent.mask]
        if not np.isfinite(real).all():
            bad = int((~np.isfinite(real)).sum())
            raise GateRefused(
                "outputs_not_finite", f"{bad} of {real.size} scores of recent candidates are NaN or infinite"
            )
        largest = float(np.abs(real).max(initial=0))
        if largest > self.limits.max_output:
            raise GateRefused(
                "outputs_too_large",
                f"a recent candidate's score has magnitude {largest:.3g}; up to {self.limits.max_output:g} is allowed",
            )

    def _check_quality(self, score: ShadowScore, serving: ShadowScore) -> None:
        loss = serving.reciprocal_ranks - score.reciprocal_ranks  # [E]
        if len(loss) < self.limits.min_examples:
            return
        doubt = self.limits.z * float(loss.std(ddof=1)) / math.sqrt(len(loss))
        if loss.mean() - doubt > self.limits.margin:
            raise GateRefused(
                "worse_than_serving",
                f"on the latest {len(loss)} examples the mean reciprocal rank is {score.reciprocal_rank:.4f}, the "
                f"serving version's {serving.reciprocal_rank:.4f} (hit rate at {HIT_DEPTH} "
                f"{score.hit_rate:.3f} against {serving.hit_rate:.3f}); up to {self.limits.margin:g} less, with "
                f"{doubt:.4f} of doubt, is allowed",
            )


def row_problem(values: NDArray[np.floating[Any]], largest: float) -> str:
    """Name what is wrong with one row of a table; empty where nothing is.

    >>> row_problem(np.array([1., np.nan]), 10.), row_problem(np.array([11.]), 10.), row_problem(np.array([1.]), 10.)
    ('not_finite', 'too_large', '')
    """
    if not np.isfinite(values).all():
        return "not_finite"
    return "too_large" if float(np.abs(values).max(initial=0)) > largest else ""


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else 0.0
