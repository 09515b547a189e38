"""From logits to the order of a list: fusion with the fit to a query, lists that keep still, exploration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.asks import Ask, RecommendAsk
from exporters.limits import Limits
from exporters.pool import Pool
from exporters.stability import ShownLists, steadied

_FUSION = 60.0  # the constant of reciprocal rank fusion (Cormack et al. 2009)


class Ordering:
    """Puts candidates in order.

    Parameters
    ----------
    shown
        Lists that were shown last.
    limits
        Margin of stable lists and temperature of exploration, asked for at each list.
    rows_of
        Catalogue rows of items.
    """

    def __init__(
        self, shown: ShownLists, limits: Callable[[], Limits], rows_of: Callable[[Sequence[str]], NDArray[np.int64]]
    ) -> None:
        self._shown, self._limits, self._rows_of = shown, limits, rows_of
        self._random = np.random.default_rng()

    def order(
        self, ask: Ask, session_id: str | None, pool: Pool, logits: NDArray[np.float32]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Order the pool by its logits [N]: places of the items of the list [K], and their propensities [K]."""
        scores = logits if pool.prior is None else _fused(logits, pool.prior)
        count = min(ask.count or len(pool), len(pool))
        temperature = self._limits().exploration_temperature
        if temperature <= 0:
            order = self._steady(ask, session_id, pool, scores, count)
            return order, np.ones(count, np.float32)
        noisy = scores / temperature + self._random.gumbel(size=len(scores))
        order = np.argsort(-noisy, kind="stable")[:count]
        return order, plackett_luce(scores / temperature, order)

    def _steady(
        self, ask: Ask, session_id: str | None, pool: Pool, scores: NDArray[np.float32], count: int
    ) -> NDArray[np.intp]:
        """Best first; where a list was shown in this session, starting from it (see :mod:`exporters.stability`)."""
        margin = self._limits().stability_margin
        shown = self._shown.get(ask.user_id, ask.surface, session_id) if margin > 0 and is_shown(ask) else ()
        if not shown:
            return np.argsort(-scores, kind="stable")[:count]
        return steadied(scores, pool.places_of(shown, self._rows_of(shown)), count, margin)


def is_shown(ask: Ask) -> bool:
    """Whether this is a list that follows the user through a session: not a search, not a list beside an item."""
    return isinstance(ask, RecommendAsk) and ask.log and ask.query is None and ask.source_item_id is None


def _fused(logits: NDArray[np.float32], prior: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reciprocal rank fusion of the ranker with the fit to the query or source item, [N]."""
    return (1 / (_FUSION + _ranks(logits)) + 1 / (_FUSION + _ranks(prior))).astype(np.float32)


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rank of each value, 1 for the largest; equal values share the last of their ranks, [N]."""
    return np.searchsorted(np.sort(-values), -values, side="right").astype(np.float64)


def plackett_luce(scores: NDArray[np.floating[Any]], order: NDArray[np.intp]) -> NDArray[np.float32]:
    r"""Probability of each drawn item at its place, :math:`e^{s_k} / \sum_{j \text{ left}} e^{s_j}`.

    >>> plackett_luce(np.zeros(2), np.array([1, 0])).tolist()
    [0.5, 1.0]
    """
    mass = np.exp(scores - scores.max())
    drawn = mass[order]
    left = mass.sum() - np.concatenate([[0.0], np.cumsum(drawn)[:-1]])
    return np.asarray(np.clip(drawn / np.maximum(left, 1e-30), 0, 1), np.float32)
