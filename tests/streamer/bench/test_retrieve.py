from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from online_models.evaluation.interactions import Interactions
from streamer.bench import searchers
from streamer.bench.item_vectors import MADE_UP, learnt
from streamer.bench.retrieve import RetrieveOptions, measure, run
from streamer.errors import HeadwaterError


def test_the_served_index_finds_nearly_all_and_exact_search_all():
    sample = MADE_UP["clustered"](3_000, 16, 20, 0)
    exact, *_, cells = measure(sample, ["cells"])
    assert exact["recall@100"] == 1 and measure(sample, ["exact"])[0]["recall@100"] == 1
    assert 0.9 < cells["recall@100"] <= 1 and cells["p99_ms"] >= cells["p50_ms"] > 0
    assert cells["bytes"] > exact["bytes"] == sample.items.nbytes and cells["build_s"] >= 0


def test_it_is_asked_once_more_while_vectors_move():
    sample = MADE_UP["clustered"](2_000, 8, 20, 0)
    answered: list[int] = []
    found = measure(sample, ["served"], moving_per_second=5_000, progress=answered.append)
    assert [entry["kind"] for entry in found] == ["exact", "served", "served, 5,000 moving/s"]
    assert sum(answered) == 60 and found[2]["recall@100"] > 0.8


def test_before_its_cells_are_there_the_index_answers_exactly():
    sample = MADE_UP["clustered"](30_000, 16, 10, 0)
    early = [entry for entry in measure(sample, ["served"]) if "on their way" in entry["kind"]]
    assert len(early) == 1 and early[0]["recall@100"] > 0.9 and 0 < early[0]["build_s"] < 60


def test_peers_are_measured_where_they_are_installed_and_named_where_not(monkeypatch):
    sample = MADE_UP["gaussian"](500, 8, 10, 0)
    kinds = ["faiss-ivf-32", "faiss-hnsw-512", "usearch-f32-128"]
    installed = {entry["kind"]: entry for entry in measure(sample, kinds)}
    assert set(installed) == {"exact", *kinds}
    monkeypatch.setattr(searchers.importlib.util, "find_spec", lambda name: None)
    for entry in measure(sample, kinds)[1:]:
        assert "pip install headwater[bench]" in entry["note"] and "recall@100" not in entry


def test_an_unknown_kind_is_an_error():
    with pytest.raises(HeadwaterError, match="no kind .*'flat'.*exact, served"):
        measure(MADE_UP["gaussian"](50, 4, 10, 0), ["flat"])


def test_a_run_prints_a_table_and_gives_json():
    out = io.StringIO()
    options = RetrieveOptions(items=(400,), dimension=8, kinds=("served",), queries=10, moving_per_second=0)
    report = json.loads(json.dumps(run(options, Console(file=out, width=140))))
    assert [entry["kind"] for entry in report["retrieve"]] == ["exact", "served"]
    assert {"data", "items", "recall@100", "p50_ms", "p99_ms", "bytes"} <= report["retrieve"][1].keys()
    assert "400 items" in out.getvalue() and "served" in out.getvalue()


def test_learnt_vectors_are_those_of_items_that_occur_and_of_users_that_have_a_history():
    """Everybody walks round the same ring of items, so what comes next is found among the nearest."""
    users, steps = np.repeat(np.arange(60), 12), np.tile(np.arange(12), 60)
    items = (users + steps) % 20 + 2
    log = Interactions(
        users=users, items=items, times_seconds=steps.astype(np.float64), actions=np.ones(720, np.int64),
        values=np.full(720, np.nan), tested=np.ones(720, np.bool_), rows=30, user_count=60,
    )  # fmt: skip
    sample = learnt(log, 10, 0.05)
    assert sample.items.shape == (20, 64) and sample.queries.shape == (10, 64)
    assert np.isfinite(sample.items).all() and np.isfinite(sample.queries).all()
