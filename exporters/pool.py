"""The candidates of a request, by their places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from exporters.item_tables import ItemTables
from exporters.row_catalog import UNKNOWN_ROW


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """The candidates of a request.

    ``prior`` is how well each fits the query or the source item by itself; None where nothing of that kind was asked.
    """

    item_ids: Sequence[str]  # [N]
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

    def places_of(self, item_ids: Sequence[str], rows: NDArray[np.int64]) -> list[int]:
        """Places of items with rows [K] among the candidates, in their order; others are left out.

        >>> pool = Pool(item_ids=("a", "b", "c"), rows=np.array([1, 8, 5]), source_scores=np.zeros((3, 0), np.float32))
        >>> pool.places_of(["c", "x", "a", "y"], np.array([5, 9, 1, 1]))
        [2, 0]
        """
        same = self.rows == rows[:, None]  # [K, N]
        nameless = {self.item_ids[place]: place for place in np.flatnonzero(self.rows <= UNKNOWN_ROW).tolist()}
        by_row = zip(item_ids, rows.tolist(), same.argmax(axis=1).tolist(), same.any(axis=1).tolist(), strict=True)
        places = [
            (place if held else None) if row > UNKNOWN_ROW else nameless.get(item_id)
            for item_id, row, place, held in by_row
        ]
        return [place for place in places if place is not None]


class Named(Sequence[str]):
    """Ids of candidates, looked up where somebody asks: of the hundreds that are ranked few are shown.

    Parameters
    ----------
    first
        Ids of the first candidates, which have no row.
    rows
        [N] rows of all of them.
    tables
        Who knows the others.
    """

    def __init__(self, first: Sequence[str], rows: NDArray[np.int64], tables: ItemTables) -> None:
        self._first, self._rows, self._tables = first, rows, tables

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        place = range(len(self))[place]  # from the end, or not there at all
        if place < len(self._first):
            return self._first[place]
        return self._tables.item_id(int(self._rows[place])) or ""
