"""Stochastic length: long histories are mostly trained on in part, so attention costs N^α instead of N².

A history of n events stays whole if n ≤ N^(α/2). A longer one is cut to N^(α/2) events, but with probability N^α / n²
stays whole, so that its attention costs ``≤ 2 N^α`` in expectation. For training only: serving reads whole histories.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from online_models.bucketing import sequences as as_sequences
from online_models.evaluation.interactions import Histories
from online_models.sequences import Sequences

_ROWS_AT_ONCE = 4_096  # so many histories are padded together, 20 MB at a length of 200

# (sequences [B, T], generator) -> how eagerly each event is kept [B, T]; the largest are
Choice = Callable[[Sequences, torch.Generator], Tensor]


def kept_lengths(lengths: Tensor, maximum: int, alpha: float, generator: torch.Generator) -> Tensor:
    """Draw how many events of each history are kept. [B] -> [B].

    >>> kept_lengths(torch.tensor([5, 10]), 100, 1.0, torch.Generator()).tolist()
    [5, 10]

    Raises
    ------
    ValueError
        ``alpha`` is not in [1, 2].
    """
    short = short_length(maximum, alpha)
    whole = torch.rand(len(lengths), generator=generator) < _chance_of_whole(lengths, maximum, alpha)
    return torch.where(whole, lengths, lengths.clamp(max=short))


def short_length(maximum: int, alpha: float) -> int:
    """Events that a cut history keeps, ``⌊N^(α/2)⌋``.

    >>> short_length(200, 1.6), short_length(200, 2.0)
    (69, 200)

    Raises
    ------
    ValueError
        ``alpha`` is not in [1, 2].
    """
    if not 1 <= alpha <= 2:
        raise ValueError(f"alpha is {alpha}; it must lie in [1, 2], where 2 keeps every history whole")
    return int(maximum ** (alpha / 2) + 1e-9)


def expected_tokens(lengths: Tensor, maximum: int, alpha: float, power: int = 1) -> Tensor:
    """Mean number of events kept of each history, or of its square (``power=2``: what attention costs). [B].

    >>> expected_tokens(torch.tensor([8192]), 8192, 1.6).round().tolist()
    [1537.0]
    """
    whole = _chance_of_whole(lengths, maximum, alpha)
    short = lengths.clamp(max=short_length(maximum, alpha)).double() ** power
    return whole * lengths.double() ** power + (1 - whole) * short


def newest(sequences: Sequences, generator: torch.Generator) -> Tensor:
    """Keep the newest events."""
    return torch.arange(sequences.items.shape[1], dtype=torch.float64).expand(sequences.items.shape)


def uniform(sequences: Sequences, generator: torch.Generator) -> Tensor:
    """Keep a random subset, every event alike."""
    return torch.rand(sequences.items.shape, generator=generator, dtype=torch.float64)


def by_recency(sequences: Sequences, generator: torch.Generator) -> Tensor:
    """Keep a random subset, weighted by ``1 - Δ_i / Σ Δ`` with Δ the time from an event to the newest one."""
    gaps = (sequences.times_seconds[:, -1:] - sequences.times_seconds).clamp(min=0) * sequences.mask  # [B, T]
    weights = 1 - gaps / gaps.sum(1, keepdim=True).clamp(min=1e-9)  # [B, T]
    # the k largest of u^(1/w) are a weighted sample without replacement (Efraimidis, Spirakis 2006)
    draws = torch.rand(sequences.items.shape, generator=generator, dtype=torch.float64)
    return draws ** (1 / weights.clamp(min=1e-9))


def stochastic_length(
    sequences: Sequences,
    maximum: int,
    alpha: float,
    generator: torch.Generator,
    choose: Choice = by_recency,
) -> Sequences:
    """Keep a subsequence of each history by the rule above, in order, the newest event always among it. [B, T'].

    The oldest event kept is no target, for nothing is left to predict it from.

    References
    ----------
    J. Zhai et al., "Actions Speak Louder than Words", ICML 2024 (2402.17152), section 3.1 and appendix D. What differs:
    the newest event is never dropped, since on a stream it is what the example is for.

    Examples
    --------
    >>> from dataclasses import replace
    >>> times = torch.arange(1.0, 101.0, dtype=torch.float64)[None]
    >>> history = Sequences(items=torch.arange(1, 101)[None], actions=torch.ones(1, 100, dtype=torch.int64),
    ...                     times_seconds=times, target_weights=torch.ones(1, 100), users=torch.zeros(1),
    ...                     asked_seconds=times[:, -1])
    >>> stochastic_length(history, 100, 1.0, torch.Generator().manual_seed(1), newest).items[0].tolist()
    [91, 92, 93, 94, 95, 96, 97, 98, 99, 100]
    """
    return _select(sequences, _kept(sequences, maximum, alpha, generator, choose))


def shortened(
    histories: Histories, maximum: int, alpha: float, generator: torch.Generator, choose: Choice = by_recency
) -> Histories:
    """Keep a subsequence of each ragged history by the rule above; what is no longer than ``N^(α/2)`` is not touched.

    Histories are cut before they are put into batches, so that a batch is as wide as what is left of them.

    Parameters
    ----------
    histories
        None longer than ``maximum``.
    maximum
        N of the rule.
    alpha
        See :func:`short_length`.
    generator
        Draws which histories are cut, and what is dropped.
    choose
        How eagerly each event is kept.

    Examples
    --------
    >>> two = Histories.of([[2, 3, 4], list(range(2, 102))])
    >>> shortened(two, 100, 1.0, torch.Generator().manual_seed(1), newest).lengths.tolist()
    [3, 10]
    """
    long = np.flatnonzero(histories.lengths > short_length(maximum, alpha))
    kept = np.ones(len(histories.items), bool)  # [E]
    for first in range(0, len(long), _ROWS_AT_ONCE):
        places = long[first : first + _ROWS_AT_ONCE]
        padded = as_sequences(histories.take(places), maximum)  # [b, T]
        mask = _kept(padded, maximum, alpha, generator, choose)[padded.mask]
        starts, lengths = histories.offsets[places], histories.lengths[places]
        steps = np.arange(len(mask)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        kept[np.repeat(starts, lengths) + steps] = mask.numpy()
    left = np.concatenate([[0], np.cumsum(kept)])[histories.offsets]  # [B + 1]
    columns = {name: getattr(histories, name)[kept] for name in ("items", "actions", "times_seconds")}
    return replace(histories, offsets=left.astype(np.int64), **columns)


def _kept(sequences: Sequences, maximum: int, alpha: float, generator: torch.Generator, choose: Choice) -> Tensor:
    """Which events are kept. [B, T]."""
    mask = sequences.mask
    kept = kept_lengths(mask.sum(1), maximum, alpha, generator)  # [B]
    eagerness = choose(sequences, generator).masked_fill(~mask, -torch.inf)  # [B, T]
    eagerness[:, -1] = torch.inf
    ranks = eagerness.argsort(stable=True, dim=1, descending=True).argsort(1)  # [B, T], 0 is kept first
    return (ranks < kept[:, None]) & mask


def _select(sequences: Sequences, keep: Tensor) -> Sequences:
    """Pack the kept events [B, T] to the right, in their order, no longer than the longest needs."""
    length = max(int(keep.sum(1).max()), 1) if len(keep) else 1
    order = keep.long().argsort(stable=True, dim=1)[:, -length:]  # [B, T'], what is dropped comes first
    kept = keep.gather(1, order)
    names = [f.name for f in fields(sequences) if f.name not in ("users", "asked_seconds")]
    columns = {name: getattr(sequences, name).gather(1, order) * kept for name in names}
    columns["target_weights"] *= kept.cumsum(1) > 1  # nothing is known before the first of what is left
    return replace(sequences, **columns)


def _chance_of_whole(lengths: Tensor, maximum: int, alpha: float) -> Tensor:
    short_length(maximum, alpha)  # checks alpha
    chance: Tensor = (maximum**alpha / lengths.double().clamp(min=1) ** 2).clamp(max=1)
    return chance
