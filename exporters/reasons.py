"""Which event of the history made a source speak, and the explanation of each item of a list."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.asks import Ask, SearchAsk, SimilarAsk
from exporters.candidates import CandidateFinder
from exporters.catalogue import Catalogue
from exporters.explain import Contributions, why_lines
from exporters.item_tables import ItemTables
from exporters.pool import Pool

_LOOK_BACK = 10


class Reasons:
    """Explains lists.

    Parameters
    ----------
    finder
        Scores of the sources.
    tables
        Ids of the rows.
    catalogue
        Titles.
    """

    def __init__(self, finder: CandidateFinder, tables: ItemTables, catalogue: Catalogue) -> None:
        self._finder = finder
        self._tables = tables
        self._catalogue = catalogue

    def explain(
        self,
        ask: Ask,
        history_rows: NDArray[np.int64],
        pool: Pool,
        parts: Contributions,
        features: NDArray[np.float32],
        order: NDArray[np.intp],
    ) -> list[dict[str, Any]]:
        """Explain the items at ``order`` [K] of a pool.

        Parameters
        ----------
        ask
            The request.
        history_rows
            [H] rows, newest last.
        pool
            The N candidates that were ranked.
        parts
            Contributions [N, signals].
        features
            [N, G] item features.
        order
            [K] places in the pool.
        """
        names = self._finder.source_names
        loudest = self._loudest(history_rows, pool.rows[order])  # [K, S]
        return [
            {
                "why": self._why(ask, pool, parts, place, dict(zip(names, heard, strict=True))),
                "sources": dict(zip(names, pool.source_scores[place].tolist(), strict=True)),
                "contributions": dict(zip(parts.names, parts.values[place].tolist(), strict=True)),
                "features": features[place].tolist(),
            }
            for place, heard in zip(order, loudest, strict=True)
        ]

    def _why(
        self, ask: Ask, pool: Pool, parts: Contributions, place: np.intp, heard: dict[str, str | None]
    ) -> list[dict[str, Any]]:
        lines = why_lines(parts.names, parts.values[place], heard)
        if pool.prior is None or not isinstance(ask, SearchAsk | SimilarAsk):
            return lines
        fit = round(float(pool.prior[place]), 4)
        if isinstance(ask, SearchAsk):
            text = f"matches “{ask.query}”"
        else:
            text = f"goes with “{self._title(ask.source_item_id)}”"
        return [{"signal": ask.surface, "contribution": fit, "share": 1.0, "text": text}, *lines]

    def _loudest(self, history_rows: NDArray[np.int64], rows: NDArray[np.int64]) -> list[list[str | None]]:
        """Title of the history item that speaks loudest for each of ``rows`` [K] in each source; None: none does."""
        recent = history_rows[history_rows > 1][-_LOOK_BACK:][::-1]  # newest first, so that it wins a tie
        if not len(recent) or not len(rows):
            return [[None] * len(self._finder.source_names) for _ in rows]
        alone = np.stack(
            [self._finder.score(recent[step : step + 1], rows) for step in range(len(recent))]
        )  # [H, K, S]
        best, spoke = alone.argmax(axis=0), alone.max(axis=0) > 0
        titles = [self._title(item_id) for item_id in self._tables.item_ids(recent)]
        return [
            [titles[step] if heard else None for step, heard in zip(*row, strict=True)]
            for row in zip(best, spoke, strict=True)
        ]

    def _title(self, item_id: str | None) -> str:
        item = self._catalogue.get(item_id) if item_id else None
        return item.title if item and item.title else f"item {item_id}"
