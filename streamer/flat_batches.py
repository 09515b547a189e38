"""Batches as flat tensors, for files and snapshots, and batches without the items that have left the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from online_models.batch import PADDING, UNKNOWN, Batch, Candidates, Context

# fields of a batch that have an entry for each candidate, and what it is where there is none
_LISTS = {"labels": 0.0, "log_q": 0.0, "retrieved": False, "teacher_logits": torch.nan}


def flat(batch: Batch) -> dict[str, Tensor]:
    """Name every tensor of a batch by its place; what is missing is left out.

    >>> from online_models.checks import example_batch
    >>> batch = example_batch(examples=2)
    >>> sorted(flat(batch))[:2], torch.equal(unflat(flat(batch)).labels, batch.labels)
    (['actions', 'candidates.features'], True)
    """
    named = {f"context.{f.name}": getattr(batch.context, f.name) for f in fields(Context)}
    named |= {f"candidates.{f.name}": getattr(batch.candidates, f.name) for f in fields(Candidates)}
    rest = [f.name for f in fields(Batch) if f.name not in ("context", "candidates")]
    return named | {name: value for name in rest if (value := getattr(batch, name)) is not None}


def unflat(named: Mapping[str, Any]) -> Batch:
    """Rebuild the batch that :func:`flat` has taken apart."""
    groups: dict[str, dict[str, Any]] = {"context": {}, "candidates": {}, "": {}}
    for name, value in named.items():
        group, _, field = name.rpartition(".")
        groups[group][field] = torch.as_tensor(value)
    return Batch(context=Context(**groups["context"]), candidates=Candidates(**groups["candidates"]), **groups[""])


def without(batch: Batch, gone: Tensor) -> Batch:
    """Blank rows [K] of items that have left: whoever gets such a row must not learn what they did."""
    context, candidates = batch.context, batch.candidates
    left = torch.isin(candidates.items, gone)  # [B, N]
    known = replace(
        context,
        history_items=context.history_items.masked_fill(torch.isin(context.history_items, gone), UNKNOWN),
        source_item=context.source_item.masked_fill(torch.isin(context.source_item, gone), UNKNOWN),
    )
    rest = replace(candidates, items=candidates.items.masked_fill(left, PADDING))
    return replace(batch, context=known, candidates=rest, labels=batch.labels.masked_fill(left, 0))


def widened(batch: Batch, candidates: int) -> Batch:
    """Pad the lists of a batch to a number of candidates, so that batches can be joined.

    >>> from online_models.checks import example_batch
    >>> batch = widened(example_batch(examples=2, candidates=3), 5)
    >>> batch.candidates.items.shape, batch.candidates.mask.sum(1).tolist()
    (torch.Size([2, 5]), [3, 3])
    """
    missing = candidates - batch.labels.shape[1]
    if missing <= 0:
        return batch

    def padded(values: Tensor, value: float = 0) -> Tensor:
        filler = values.new_full((len(values), missing, *values.shape[2:]), value)
        return torch.cat([values, filler], 1)  # [B, N + missing, ...]

    rows = Candidates(**{f.name: padded(getattr(batch.candidates, f.name)) for f in fields(Candidates)})
    lists: dict[str, Any] = {
        name: padded(values, filler) for name, filler in _LISTS.items() if (values := getattr(batch, name)) is not None
    }
    return replace(batch, candidates=rows, **lists)
