"""Two students of one server: rows, versions and announcements reach the one whose name they carry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from exporters import announcements, deltas
from exporters.announcements import Announcement, announcement_of
from exporters.deltas import Row
from exporters.registry import Draft, GraphFile
from streamer.server_state import ServerState
from streamer.settings import Learning, Serving, Settings, Stores

SHARES = {"caser": 0.5, "student": 0.5}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    learning = Learning(catalog_rows=32, dimension=8, candidates=10, neighbours=10)
    return Settings(stores=Stores(state_dir=tmp_path), learning=learning, serving=Serving(students=SHARES))


def record(value: bytes) -> Any:
    return SimpleNamespace(value=value, key=b"", offset=0)


def row(name: str, item_id: str, number: int, fill: float) -> Any:
    values = np.full(8, fill, "<f4").tobytes()
    return record(
        deltas.encode(Row(table="item_vectors", item_id=item_id, row=number, step=1, model=name, values=values))
    )


def publish(state: ServerState, name: str) -> Announcement:
    """Publish a first version of a student with a graph that hands its input on."""
    value = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["B"]) for end in ("given", "logits")]
    graph = helper.make_graph([helper.make_node("Identity", ["given"], ["logits"])], "small", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    file = GraphFile(content=model.SerializeToString(), architecture="small", inputs=("given",), outputs=("logits",))
    version = state.registry.publish(Draft(name=name, graphs={"rank": file}, step=1))
    return announcement_of(state.registry, version, "published")


async def test_rows_of_two_models_do_not_mix(settings: Settings) -> None:
    state = ServerState(settings)
    await state.apply_rows([row("student", "a", 2, 1.0), row("caser", "b", 2, 2.0), row("nobody", "c", 2, 3.0)])
    student, caser = state.by_name["student"], state.by_name["caser"]
    assert (student.tables.row("a"), student.tables.row("b")) == (2, 1)
    assert (caser.tables.row("a"), caser.tables.row("b")) == (1, 2)
    assert student.tables.vectors[2].tolist() == [1.0] * 8 and caser.tables.vectors[2].tolist() == [2.0] * 8
    assert (len(student.index), len(caser.index)) == (1, 1)
    assert state.board.counts["rows_applied"] == 2


def test_rows_of_before_there_were_names_belong_to_the_default_student() -> None:
    plain = Row(table="item_vectors", item_id="a", row=2, step=1)
    assert plain.key == b"item_vectors:a" and b"model" not in deltas.encode(plain)
    assert deltas.decode(deltas.encode(plain)).model == "student"
    named = Row(table="item_vectors", item_id="a", row=2, step=1, model="caser")
    assert named.key != plain.key and deltas.decode(deltas.encode(named)) == named


async def test_an_announcement_moves_the_student_that_it_names(settings: Settings) -> None:
    state = ServerState(settings)
    state.load()
    state.went_live()
    assert state.first.name == "student", "the live page shows the default one, whatever the order of the shares"
    told = publish(state, "caser")
    await state.apply_announcements([record(announcements.encode(told))])
    assert state.by_name["caser"].host.version == told.version and not state.first.host.version
    assert {state.students.answering(f"u{number}").name for number in range(20)} == {"caser"}
    first = publish(state, "student")
    await state.apply_announcements([record(announcements.encode(first))])
    assert state.first.host.version == first.version and state.by_name["caser"].host.version == told.version
    assert {state.students.answering(f"u{number}").name for number in range(20)} == {"caser", "student"}


async def test_a_restarted_server_finds_both(settings: Settings) -> None:
    before = ServerState(settings)
    versions = {name: publish(before, name).version for name in SHARES}
    after = ServerState(settings)
    after.load()
    assert {name: student.host.version for name, student in after.by_name.items()} == versions


async def test_half_of_a_batch_is_not_shown(settings: Settings) -> None:
    state = ServerState(settings)
    values = np.ones(8, "<f4").tobytes()
    halves = [
        record(deltas.encode(Row(table="item_vectors", item_id=f"i{n}", row=n, step=1, values=values, batch=1, of=2)))
        for n in (2, 3)
    ]
    await state.apply_rows(halves[:1])
    assert len(state.tables.live_rows()) == len(state.index) == 0
    await state.apply_rows(halves[1:])
    assert state.tables.live_rows().tolist() == [2, 3] and len(state.index) == 2


async def test_an_announcement_is_not_judged_by_its_time(settings: Settings) -> None:
    state = ServerState(settings)
    state.load()
    state.went_live()
    first, second = publish(state, "student"), publish(state, "student")
    back_in_time = msgspec.structs.replace(second, time_ms=1)
    await state.apply_announcements([record(announcements.encode(one)) for one in (first, back_in_time)])
    assert state.first.host.version == second.version, "newer by its number, whatever the clock said"
    ahead = msgspec.structs.replace(first, time_ms=first.time_ms + 10**12)
    await state.apply_announcements([record(announcements.encode(ahead))])
    assert state.first.host.version == second.version


async def test_a_server_that_starts_pinned_shows_the_pinned_tables_and_follows_the_stream_behind(
    settings: Settings,
) -> None:
    before = ServerState(settings)
    for value in (1.0, 2.0):
        tables = {"item_vectors": np.full((3, 8), value, np.float32)}
        graph = publish(before, "student")
        stored = before.registry.folder("student", graph.version) / "rank.onnx"
        file = GraphFile(content=stored.read_bytes(), architecture="small", inputs=("given",), outputs=("logits",))
        draft = Draft(name="student", graphs={"rank": file}, step=int(value), tables=tables, item_ids=[None, None, "a"])
        before.registry.publish(draft)
    newest = before.registry.versions("student")[-1]
    earlier = before.registry.versions("student")[1]
    before.registry.rollback("student", earlier)
    state = ServerState(settings)
    state.load()
    assert state.first.host.version == earlier and state.tables.vectors[2, 0] == 1
    state.went_live()
    newer = Row(table="item_vectors", item_id="new", row=3, step=9, model="student", values=np.ones(8, "<f4").tobytes())
    await state.apply_rows([row("student", "a", 2, 9.0), record(deltas.encode(newer))])
    assert state.tables.vectors[2, 0] == 1
    anywhere = np.ones(8, np.float32)
    assert state.index.search(anywhere, 9)[0].tolist() == [2] and state.index.search(anywhere, 1)[1] == 8
    before.registry.release("student")
    told = announcement_of(before.registry, before.registry.manifest("student", newest), "released")
    await state.apply_announcements([record(announcements.encode(told))])
    assert state.first.host.version == newest and state.tables.vectors[2, 0] == 2, "the row is older than the version"
    rows, scores = state.index.search(anywhere, 9)
    assert (rows.tolist(), scores.tolist()) == ([2, 3], [16, 8])


async def test_lists_do_not_wait_while_a_version_is_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for its graphs nor, at a rollback, for its tables: who makes lists must be able to take the lock."""
    before = ServerState(settings)
    graph = publish(before, "student")
    stored = before.registry.folder("student", graph.version) / "rank.onnx"
    file = GraphFile(content=stored.read_bytes(), architecture="small", inputs=("given",), outputs=("logits",))
    tables = {"item_vectors": np.ones((3, 8), np.float32)}
    draft = Draft(name="student", graphs={"rank": file}, step=2, tables=tables, item_ids=[None, None, "a"])
    newest = before.registry.publish(draft).version
    state = ServerState(settings)
    state.load()
    state.went_live()
    student, free = state.by_name["student"], {}

    def watched(name: str, read: Any) -> Any:
        def reads(*given: Any, **named: Any) -> Any:
            with ThreadPoolExecutor(1) as other:
                free[name] = other.submit(lambda: student.tables._lock.acquire(timeout=0.2)).result()
                if free[name]:
                    other.submit(student.tables._lock.release).result()
            return read(*given, **named)

        return reads

    monkeypatch.setattr(student.registry, "verify", watched("graphs", student.registry.verify))
    monkeypatch.setattr(student.registry, "tables", watched("tables", student.registry.tables))
    monkeypatch.setattr(student.tables, "of_version", watched("made", student.tables.of_version))
    monkeypatch.setattr(student.index, "of_version", watched("index", student.index.of_version))
    student.host.previous = None  # it would come from memory
    told = Announcement(kind="rolled_back", name="student", version=graph.version)
    await state.apply_announcements([record(announcements.encode(told))])
    assert free == {"graphs": True, "tables": True, "made": True, "index": True}
    assert (student.host.version, student.host.pinned) == (graph.version, True) and newest != graph.version


async def test_a_version_whose_tables_are_damaged_is_not_rolled_back_to(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where its graphs are still in memory: they would rank with vectors of another version."""
    state = ServerState(settings)
    state.load()
    state.went_live()
    first, second = publish(state, "student"), publish(state, "student")
    await state.apply_announcements([record(announcements.encode(one)) for one in (first, second)])
    assert state.first.host.previous is not None and state.first.host.previous.version == first.version
    path = state.registry.folder("student", first.version) / "tables.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    told = Announcement(kind="rolled_back", name="student", version=first.version)
    await state.apply_announcements([record(announcements.encode(told))])
    assert (state.first.host.version, state.first.host.pinned) == (second.version, False) and not state.tables.pinned
    assert "its tables cannot be read" in caplog.text
