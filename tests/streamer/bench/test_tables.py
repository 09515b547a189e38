"""What a command prints is what it wrote to its JSON."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from streamer.bench.tables import (
    freshness_table,
    ingest_table,
    recovery_table,
    retrieve_table,
    rollback_table,
    serve_tables,
)
from streamer.wide_table import WideTable

FIGURES = {"p50_ms": 1.25, "p90_ms": 2.5, "p99_ms": 9.75, "max_ms": 1_234.0}


def text(*tables: WideTable, width: int = 220) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width)
    for table in tables:
        console.print(table)
    return file.getvalue()


def test_serve_shows_every_rate_stage_and_floor_in_80_columns() -> None:
    found = {
        "rate": 200.0, "sent": 12_000, "ok": 11_990, "fallback_share": 0.0005, "server_cpu_ms": 3.21, **FIGURES,
        "stages": {"candidates": 12.75, "encode": 7.25, "http and queue": 2.25, "rank": 4.5, "session": 1.5,
                   "waiting in the server": 17.5},
        "stages_p50": {"candidates": 1.75, "encode": 0.625, "http and queue": 1.25, "rank": 0.5, "session": 0.25,
                       "waiting in the server": 0.75},
    }  # fmt: skip
    floors = {"onnx_rank": FIGURES, "http": [{"rate": 200.0, **FIGURES, "server_cpu_ms": 0.4}]}
    world = {"items": 100_000, "users": 5_000, "online_store": "redis"}
    printed = text(*serve_tables({"world": world, "serve": [found], "floors": floors}), width=80)
    for piece in (
        "12,000",
        "11,990",
        "0.05%",
        "9.75",
        "1,234",
        "3.21",
        "0.625",
        "12.8",
        "candidates",
        "queue",
        "http at 200/s",
        "onnx_rank",
        "redis",
    ):
        assert piece in printed, piece
    assert "…" not in printed


def test_a_rate_without_answers_is_shown_with_gaps() -> None:
    found = {"rate": 5.0, "sent": 3, "ok": 0, "fallback_share": 0.0, "stages": {}}
    world = {"items": 10, "users": 1, "online_store": "sqlite"}
    assert "-" in text(*serve_tables({"world": world, "serve": [found], "floors": {}}))


@pytest.mark.parametrize(("kept_up", "word"), [(True, "yes"), (False, "no")])
def test_freshness_says_whether_the_learner_kept_up(kept_up: bool, word: str) -> None:
    way = {"p50_ms": 11.0, "p95_ms": 42.0}
    one = {
        "events_per_s": 998.2, "learned_per_s": 701.0, "backlog": 19_000, "kept_up": kept_up, "session": way,
        "rows": way, "dense": {"p50_ms": None, "p95_ms": None},
    }  # fmt: skip
    shown = text(freshness_table([one]))
    assert word in shown and "19,000" in shown and "42" in shown


def test_every_table_fits_80_columns() -> None:
    way = {"p50_ms": 1_011.0, "p95_ms": 12_042.0}
    rate = {
        "events_per_s": 998.2, "learned_per_s": 701.0, "backlog": 19_000, "kept_up": True,
        "session": way, "rows": way, "dense": way,
    }  # fmt: skip
    search = {
        "kind": "served, cells on as many threads as asked", "recall@100": 0.9512, "p50_ms": 1_012.5, "p99_ms": 2.25,
        "cpu_p99_ms": 2.125, "bytes": 512_000_000, "build_s": 1_234.5, "build_cpu_s": 2_345.5,
    }  # fmt: skip
    missing = {"kind": "faiss, inverted file", "note": "faiss is not installed: pip install 'headwater[peers]'"}
    printed = text(freshness_table([rate]), retrieve_table("1,000,000 items", [search, missing]), width=80)
    assert max(map(len, printed.splitlines())) <= 80 and "…" not in printed
    for piece in ("12,042", "19,000", "0.951", "2,346", "[peers]"):
        assert piece in printed, piece


def test_ingest_and_recovery_have_a_line_each() -> None:
    door = [{"events_in_a_request": 100, "events_per_s": 5_000.0, "cpu_us_per_event": 88.0, **FIGURES}]
    worker = {"events_per_s": 4_000.0, "cpu_us_per_event": 150.0}
    report = {"source": "simulator", "events": 50_000, "publish_per_s": 30_000.0, "worker": worker, "door": door}
    assert all(piece in text(ingest_table(report)) for piece in ("5,000", "30,000", "4,000", "100 in a request"))
    kills = {"worker": {"usual_s": 0.031, "recovered_s": 12.5}}
    assert "12.5" in text(recovery_table({"rate": 100.0, "processes": kills}))


def test_rollback_shows_both_loads_and_how_soon_the_versions_served() -> None:
    usual = {"rate": 50.0, "sent": 1_500, "ok": 1_500, "fallback_share": 0.0, **FIGURES}
    moved = {**usual, "ok": 1_487, "fallback_share": 0.0087, "max_ms": 37.5}
    after = {"rolled_back": 3.25, "released": 1.5}
    printed = text(
        rollback_table({"world": {"items": 100_000}, "serves_after_s": after, "usual": usual, "moved": moved}), width=80
    )
    for piece in ("100,000", "3.25", "1.5", "as usual", "1,487", "0.87%", "37.5", "1,234"):
        assert piece in printed, piece
