"""Candidates of one request: neighbour tables, ANN around the user vector, new items; or the ones that were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from exporters.asks import Ask, RankAsk, RecommendAsk, SearchAsk, SimilarAsk
from exporters.catalogue import Catalogue
from exporters.filters import Filters
from exporters.item_tables import ItemTables
from exporters.limits import Limits
from exporters.pool import Named, Pool
from exporters.retrieval import VectorIndex
from exporters.row_catalog import UNKNOWN_ROW
from online_models.sources import CandidateSources

_NEW_ITEMS = 20
_NEAREST = 20
_SPARE = 8  # of so many candidates one may be unavailable before it costs more
_MOST_CLOSED = 2_000  # unavailable items that are looked up anew whenever rows or availability change
_EVER = 1 << 62


class CandidateFinder:
    """Finds what may be ranked.

    Parameters
    ----------
    tables
        Rows, vectors and neighbour lists.
    index
        Item vectors for the search around the user vector.
    catalogue
        Titles, categories, availability.
    limits
        Bounds of a request, asked for at each one.
    """

    def __init__(
        self, tables: ItemTables, index: VectorIndex, catalogue: Catalogue, limits: Callable[[], Limits]
    ) -> None:
        self._tables = tables
        self._index = index
        self._sources = CandidateSources(tables.neighbours)
        self._catalogue = catalogue
        self._limits = limits
        self._open_as_of: object = None
        self._open = np.zeros(0, np.bool_)  # [R]

    @property
    def source_names(self) -> tuple[str, ...]:
        """What the columns of ``source_scores`` are."""
        return self._sources.names

    def score(self, history_rows: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score rows [K] by every source -> [K, S]."""
        return self._sources.score(history_rows, rows)

    def find(
        self,
        ask: Ask,
        history_rows: NDArray[np.int64],
        user_vector: NDArray[np.float32] | None,
        seen: Sequence[str],
        now_ms: int,
        known: Sequence[str] = (),
    ) -> Pool:
        """Find candidates and drop what must not be shown.

        Parameters
        ----------
        ask
            The request; its kind decides where candidates come from.
        history_rows
            [H] catalogue rows, newest last.
        user_vector
            [D] from the ``encode`` graph, for the ANN; None without one.
        seen
            Items of the user, left out where the request says so.
        now_ms
            The moment to rank for; newer items are not offered as new.
        known
            Items that a model of long histories finds for the user, best first.
        """
        filters = Filters.of(ask, seen if ask.exclude_seen else ())
        if searches_everywhere(ask):
            return self._everywhere(ask, filters, history_rows, user_vector, now_ms, known)
        pool = self._asked_for(ask, history_rows)
        mask = filters.mask(pool.item_ids, self._catalogue)
        kept = pool if mask.all() else pool.take(mask)
        limit = self._limits().candidates
        return kept if len(kept) <= limit else kept.take(np.arange(limit))

    def _asked_for(self, ask: Ask, history_rows: NDArray[np.int64]) -> Pool:
        match ask:
            case RankAsk():
                return self.given(ask.candidates, history_rows)
            case SearchAsk():
                found = self._catalogue.search(ask.query, 2 * self._limits().candidates)
                return self.given([name for name, _ in found], history_rows, [score for _, score in found])
            case SimilarAsk():
                return self._around(ask.source_item_id, history_rows)
        return self.given(ask.allow or (), history_rows)

    def given(
        self, item_ids: Sequence[str], history_rows: NDArray[np.int64], prior: Sequence[float] | None = None
    ) -> Pool:
        """Score given items by every source; repeats are dropped, unknown items score 0."""
        kept = tuple(dict.fromkeys(item_ids))
        rows = self._tables.rows(kept)
        scores = self.score(history_rows, rows)
        if prior is None:
            return Pool(item_ids=kept, rows=rows, source_scores=scores)
        first = dict(zip(reversed(item_ids), reversed(prior), strict=True))
        fit = np.array([first[item_id] for item_id in kept], np.float32)  # [N]
        return Pool(item_ids=kept, rows=rows, source_scores=scores, prior=fit)

    def popular(self, limit: int) -> list[str]:
        """Items that are popular now, then the newest."""
        rows, _ = self._sources.gather(np.zeros(0, np.int64), limit)
        popular = [item_id for item_id in self._tables.item_ids(rows) if item_id is not None]
        return popular or self._catalogue.newest(limit, _EVER)

    def _around(self, source_item_id: str, history_rows: NDArray[np.int64]) -> Pool:
        """Neighbours of the source item in every table and in vector space, with their share of each source's best."""
        source = self._tables.rows([source_item_id])
        nearest, _ = self._index.similar(int(source[0]), _NEAREST)
        rows, scores = self._sources.gather(source, self._limits().candidates, exclude=source, extra=nearest)
        personal = [column for column, name in enumerate(self.source_names) if name != "popularity"]
        share = scores[:, personal] / np.maximum(scores[:, personal].max(axis=0, initial=0), 1e-9)  # [N, S']
        closeness = np.isin(rows, nearest).astype(np.float32)
        prior = (share.sum(axis=1) + closeness).astype(np.float32)
        ids = self._tables.item_ids(rows)
        held = np.array([item_id is not None for item_id in ids], np.bool_)  # one may just have left the catalogue
        return Pool(
            item_ids=tuple([item_id for item_id in ids if item_id is not None]),
            rows=rows[held],
            source_scores=self.score(history_rows, rows[held]),
            prior=prior[held],
        )

    def _everywhere(
        self,
        ask: Ask,
        filters: Filters,
        history_rows: NDArray[np.int64],
        user_vector: NDArray[np.float32] | None,
        now_ms: int,
        known: Sequence[str],
    ) -> Pool:
        nearest = np.zeros(0, np.int64) if user_vector is None else self._index.search(user_vector, _NEAREST)[0]
        named = tuple(dict.fromkeys([*self._named(ask, now_ms), *known]))
        named_rows = self._tables.rows(named)
        extra = np.concatenate([nearest, named_rows[named_rows > UNKNOWN_ROW]])
        blocked = self._tables.rows(tuple(filters.deny))
        read = self._sources.read(history_rows)
        without_row = [name for name, row in zip(named, named_rows.tolist(), strict=True) if row <= UNKNOWN_ROW]
        without_row = without_row[:_NEW_ITEMS]
        limit = self._limits().candidates
        mask = filters.mask(without_row, self._catalogue)
        first = [name for name, admitted in zip(without_row, mask, strict=True) if admitted][:limit]
        for most in self._depths(ask, limit):
            rows = read.best(most, blocked, extra)  # [N']
            kept = rows[self._admitted(filters, rows)][: limit - len(first)]
            if len(first) + len(kept) == limit or len(rows) < most:
                break
        rows = np.concatenate([np.full(len(first), UNKNOWN_ROW, np.int64), kept])  # [N]
        return Pool(item_ids=Named(first, rows, self._tables), rows=rows, source_scores=read.of(rows))

    def _admitted(self, filters: Filters, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some rows [K] hold an item that may be shown; none of them is on the deny list."""
        if filters.categories is not None or (filters.available and len(self._catalogue.unavailable) > _MOST_CLOSED):
            return filters.mask(self._tables.item_ids(rows), self._catalogue)
        state = self._tables.catalog_state, self._catalogue.availability_changes, filters.available
        if state != self._open_as_of:
            open_rows = self._tables.holding()
            if filters.available:
                open_rows[self._tables.rows(tuple(self._catalogue.unavailable))] = False
            self._open, self._open_as_of = open_rows, state
        return self._open[np.where(rows < len(self._open), rows, 0)]

    def _depths(self, ask: Ask, limit: int) -> tuple[int, ...]:
        """How many rows to look at: more than are ranked where some may not be shown, many more if those are many."""
        if ask.categories is not None:
            return (2 * limit,)
        if ask.available and self._catalogue.unavailable:
            return (limit + limit // _SPARE, 2 * limit)
        return (limit,)

    def _named(self, ask: Ask, now_ms: int) -> list[str]:
        """Items that no table may know yet: the newest, and those of the categories that were asked for."""
        if ask.categories is not None:
            return self._catalogue.in_categories(ask.categories, self._limits().candidates)
        return self._catalogue.newest(_NEW_ITEMS, now_ms)


def searches_everywhere(ask: Ask) -> bool:
    """Whether candidates come from the whole catalogue, and not from the request."""
    return isinstance(ask, RecommendAsk) and ask.allow is None
