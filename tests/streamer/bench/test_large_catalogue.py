from __future__ import annotations

import numpy as np
import pytest

from exporters.item_tables import ItemTables
from feature_store.vectors import ITEM_NAMES
from online_models.sources import TABLES, CandidateSources
from streamer.bench.large_catalogue import LargeCatalogue
from streamer.events import Limits, validate

SMALL = LargeCatalogue(items=950, group=100, neighbours=30, dimension=8)


def test_a_server_takes_the_tables_over() -> None:
    tables = ItemTables(16, SMALL.dimension, len(ITEM_NAMES), TABLES, SMALL.neighbours)
    tables.load(SMALL.tables(), SMALL.item_ids(), 1)
    assert tables.row("i949") == 951 and len(tables.live_rows()) == SMALL.items
    rows, scores = CandidateSources(tables.neighbours).gather(tables.rows(["i5", "i307"]), limit=60)
    assert len(rows) == 60 and (rows > 1).all() and (scores.max(axis=0) > 0).all()  # every source speaks


@pytest.mark.parametrize("table", [name for name in TABLES if name != "popularity"])
def test_neighbours_lie_mostly_in_the_group_and_never_outside_the_catalogue(table: str) -> None:
    lists = SMALL.lists(table)
    items, weights = lists[f"{table}.items"][2:] - 2, lists[f"{table}.weights"][2:]
    assert items.min() >= 0 and items.max() < SMALL.items
    same = items // SMALL.group == np.arange(SMALL.items)[:, None] // SMALL.group
    assert 0.85 < same[:900].mean() < 0.97  # the last group is half empty
    assert (np.diff(weights, axis=1) < 0).all()  # best first


def test_tables_differ_from_each_other_and_not_from_themselves() -> None:
    again = LargeCatalogue(items=950, group=100, neighbours=30, dimension=8)
    for name, table in SMALL.tables().items():
        assert np.array_equal(table, again.tables()[name]), name
    assert not np.array_equal(
        SMALL.lists("item_knn")["item_knn.items"], SMALL.lists("transitions")["transitions.items"]
    )


def test_vectors_are_nearest_to_their_group() -> None:
    vectors = SMALL.vectors()[2:902].reshape(9, 100, 8)  # [groups, items, D]
    centres = vectors.mean(axis=1)
    own = np.linalg.norm(vectors - centres[:, None], axis=-1).mean()
    other = np.linalg.norm(vectors - np.roll(centres, 1, axis=0)[:, None], axis=-1).mean()
    assert own < 0.8 * other


def test_item_events_keep_the_contract() -> None:
    events = list(SMALL.item_events(1_700_000_000_000))
    assert len({event.item_id for event in events}) == SMALL.items
    for event in events[:50]:
        validate(event, Limits())
