"""What a learner sees: contexts, candidates and labels, listwise.

Notation used for tensor shapes in this package
    B   examples in a batch          N   candidates of an example
    L   history length               S   candidate sources
    D   embedding dimension          F   context features, G item features
    Q   tokens of a query

Row 0 of every table is padding; a catalogue row that is unknown is row 1 (see :mod:`online_models.catalog`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

PADDING = 0
UNKNOWN = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """What is known before the ranking. Histories are right-aligned: the newest event sits in column L - 1."""

    history_items: Tensor  # [B, L] int64 catalogue rows, 0 where padded
    history_actions: Tensor  # [B, L] int64 rows of the action table, 0 where padded
    history_ages_seconds: Tensor  # [B, L] float32, now minus event time, 0 where padded
    features: Tensor  # [B, F] float32
    surface: Tensor  # [B] int64
    source_item: Tensor  # [B] int64 catalogue row, 0 where there is none
    query: Tensor  # [B, Q] int64 hashed tokens, 0 where padded
    time_seconds: Tensor  # [B] float64 event time, seconds since 1970
    user: Tensor  # [B] int64 hashed user row (only learners with user tables read it)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """The items to be scored for each context."""

    items: Tensor  # [B, N] int64 catalogue rows, 0 where padded
    source_scores: Tensor  # [B, N, S] float32, 0 where a source does not know the item
    features: Tensor  # [B, N, G] float32

    @property
    def mask(self) -> Tensor:
        """True where there is a candidate. [B, N]."""
        return self.items != PADDING


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Contexts with their candidates and what happened.

    ``labels`` is 1 at what was taken. N = 1 is pointwise, 2 pairwise, 1 + K sampled softmax, the slate when it was
    logged. ``log_q`` is the log of the probability with which each candidate was drawn, 0 for what was not drawn.
    """

    context: Context
    candidates: Candidates
    labels: Tensor  # [B, N] float32
    log_q: Tensor  # [B, N] float32
    weights: Tensor  # [B] float32, one per example
    actions: Tensor  # [B] int64 action that was taken, 0 where none
    # [B, N] True where serving would have offered the candidate; None: everywhere. A target that no source retrieved
    # and the uniform negatives stand outside: a ranker that learnt from them would learn how the batch was made.
    retrieved: Tensor | None = None
    teacher_logits: Tensor | None = None  # [B, N] float32, NaN where the teacher said nothing
    # [B] float32 log Σ exp of the teacher's logits of what it scored and did not keep, -inf where that is nothing
    teacher_remainder: Tensor | None = None
    # [B] float32 the teacher's logit of "the item that is taken satisfies", NaN where it said nothing
    teacher_satisfaction: Tensor | None = None

    @property
    def offered(self) -> Tensor:
        """True where there is a candidate that serving would have offered. [B, N]."""
        return self.candidates.mask if self.retrieved is None else self.candidates.mask & self.retrieved

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.labels)


def concatenate(parts: list[Batch]) -> Batch:
    """Join batches of equal L, N and Q along the example axis (teacher logits only where every part has them)."""

    def joined(name: str, items: list[object]) -> object:
        values = [getattr(item, name) for item in items]
        return None if any(value is None for value in values) else torch.cat(values)

    def group(cls: type, items: list[object]) -> object:
        return cls(**{field.name: joined(field.name, items) for field in fields(cls)})

    context = group(Context, [part.context for part in parts])
    candidates = group(Candidates, [part.candidates for part in parts])
    rest = {f.name: joined(f.name, list(parts)) for f in fields(Batch) if f.name not in ("context", "candidates")}
    return Batch(context=context, candidates=candidates, **rest)  # type: ignore[arg-type]


def take(batch: Batch, index: Tensor) -> Batch:
    """Pick examples by index [K] -> a batch of K."""

    def picked(group: Context | Candidates) -> Context | Candidates:
        return replace(group, **{f.name: getattr(group, f.name)[index] for f in fields(group)})

    rest = {f.name: getattr(batch, f.name) for f in fields(Batch) if f.name not in ("context", "candidates")}
    rest = {name: value if value is None else value[index] for name, value in rest.items()}
    return Batch(context=picked(batch.context), candidates=picked(batch.candidates), **rest)  # type: ignore[arg-type]
