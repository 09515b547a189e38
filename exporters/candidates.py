"""Candidates of one request: neighbour tables, ANN around the user vector, new items; or the ones that were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporters.asks import Ask, RankAsk, SearchAsk, SimilarAsk
from exporters.catalogue import Catalogue
from exporters.filters import Filters
from exporters.item_tables import ItemTables
from exporters.limits import Limits
from exporters.retrieval import VectorIndex
from online_models.sources import CandidateSources

UNKNOWN = 1
_NEW_ITEMS = 20
_NEAREST = 20
_EVER = 1 << 62


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """The candidates of a request.

    ``prior`` is how well each fits the query or the source item by itself; None where nothing of that kind was asked.
    """

    item_ids: tuple[str, ...]
    rows: NDArray[np.int64]  # [N] catalogue rows, 1 where the item has none
    source_scores: NDArray[np.float32]  # [N, S]
    prior: NDArray[np.float32] | None = None  # [N]

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self.item_ids)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Pool:
        """Pick candidates by index or mask."""
        places = np.arange(len(self))[index]
        return Pool(
            item_ids=tuple([self.item_ids[place] for place in places.tolist()]),
            rows=self.rows[places],
            source_scores=self.source_scores[places],
            prior=None if self.prior is None else self.prior[places],
        )


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
        Bounds of a request.
    known_of
        Items that a model of long histories finds for a user, best first.
    """

    def __init__(
        self,
        tables: ItemTables,
        index: VectorIndex,
        catalogue: Catalogue,
        limits: Limits,
        known_of: Callable[[str], Sequence[str]] = lambda user_id: (),
    ) -> None:
        self._tables = tables
        self._index = index
        self._sources = CandidateSources(tables.neighbours)
        self._catalogue = catalogue
        self._limits = limits
        self._known_of = known_of

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
        """
        filters = Filters.of(ask, seen if ask.exclude_seen else ())
        pool = self._pool(ask, filters, history_rows, user_vector, now_ms)
        mask = filters.mask(pool.item_ids, self._catalogue)
        kept = pool if mask.all() else pool.take(mask)
        return kept if len(kept) <= self._limits.candidates else kept.take(np.arange(self._limits.candidates))

    def _pool(
        self,
        ask: Ask,
        filters: Filters,
        history_rows: NDArray[np.int64],
        user_vector: NDArray[np.float32] | None,
        now_ms: int,
    ) -> Pool:
        match ask:
            case RankAsk():
                return self.given(ask.candidates, history_rows)
            case SearchAsk():
                found = self._catalogue.search(ask.query, 2 * self._limits.candidates)
                return self.given([name for name, _ in found], history_rows, [score for _, score in found])
            case SimilarAsk():
                return self._around(ask.source_item_id, history_rows)
        if ask.allow is not None:
            return self.given(ask.allow, history_rows)
        return self._everywhere(ask, filters, history_rows, user_vector, now_ms)

    def given(
        self, item_ids: Sequence[str], history_rows: NDArray[np.int64], prior: Sequence[float] | None = None
    ) -> Pool:
        """Score given items by every source; repeats are dropped, unknown items score 0."""
        first = {item_id: place for place, item_id in reversed(list(enumerate(item_ids)))}
        places = sorted(first.values())
        kept = tuple(item_ids[place] for place in places)
        rows = self._tables.rows(kept)
        return Pool(
            item_ids=kept,
            rows=rows,
            source_scores=self.score(history_rows, rows),
            prior=None if prior is None else np.array([prior[place] for place in places], np.float32),
        )

    def popular(self, limit: int) -> list[str]:
        """Items that are popular now, then the newest."""
        rows, _ = self._sources.gather(np.zeros(0, np.int64), limit)
        popular = [item_id for item_id in self._tables.item_ids(rows) if item_id is not None]
        return popular or self._catalogue.newest(limit, _EVER)

    def _around(self, source_item_id: str, history_rows: NDArray[np.int64]) -> Pool:
        """Neighbours of the source item in every table and in vector space, with their share of each source's best."""
        source = self._tables.rows([source_item_id])
        nearest, _ = self._index.similar(int(source[0]), _NEAREST)
        rows, scores = self._sources.gather(source, self._limits.candidates, exclude=source, extra=nearest)
        personal = [column for column, name in enumerate(self.source_names) if name != "popularity"]
        share = scores[:, personal] / np.maximum(scores[:, personal].max(axis=0, initial=0), 1e-9)  # [N, S']
        closeness = np.isin(rows, nearest).astype(np.float32)
        prior = (share.sum(axis=1) + closeness).astype(np.float32)
        return self._named_pool(rows, self.score(history_rows, rows), prior)

    def _everywhere(
        self,
        ask: Ask,
        filters: Filters,
        history_rows: NDArray[np.int64],
        user_vector: NDArray[np.float32] | None,
        now_ms: int,
    ) -> Pool:
        nearest = np.zeros(0, np.int64) if user_vector is None else self._index.search(user_vector, _NEAREST)[0]
        named = list(dict.fromkeys([*self._named(ask, now_ms), *self._known_of(ask.user_id)]))
        named_rows = self._tables.rows(named)
        extra = np.concatenate([nearest, named_rows[named_rows > UNKNOWN]])
        blocked = self._tables.rows(sorted(filters.deny))
        # Availability and categories are looked at afterwards, so then ask for more than will be ranked.
        filtered = ask.categories is not None or (ask.available and bool(self._catalogue.unavailable))
        limit = self._limits.candidates * (2 if filtered else 1)
        without_row = tuple(name for name, row in zip(named, named_rows, strict=True) if row <= UNKNOWN)[:_NEW_ITEMS]
        rows, scores = self._sources.gather(history_rows, limit, exclude=blocked, extra=extra)
        pool = self._named_pool(rows, scores)
        return pool if not without_row else _joined(self.given(without_row, history_rows), pool)

    def _named_pool(
        self, rows: NDArray[np.int64], scores: NDArray[np.float32], prior: NDArray[np.float32] | None = None
    ) -> Pool:
        """Name the rows; one whose item has just left the catalogue is dropped."""
        ids = self._tables.item_ids(rows)
        held = np.fromiter((item_id is not None for item_id in ids), np.bool_, len(ids))
        return Pool(
            item_ids=tuple(item_id for item_id in ids if item_id is not None),
            rows=rows[held],
            source_scores=scores[held],
            prior=None if prior is None else prior[held],
        )

    def _named(self, ask: Ask, now_ms: int) -> list[str]:
        """Items that no table may know yet: the newest, and those of the categories that were asked for."""
        if ask.categories is not None:
            return self._catalogue.in_categories(ask.categories, self._limits.candidates)
        return self._catalogue.newest(_NEW_ITEMS, now_ms)


def _joined(first: Pool, second: Pool) -> Pool:
    return Pool(
        item_ids=first.item_ids + second.item_ids,
        rows=np.concatenate([first.rows, second.rows]),
        source_scores=np.concatenate([first.source_scores, second.source_scores]),
    )
