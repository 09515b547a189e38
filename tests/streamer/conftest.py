"""Records of the events topic, for the tests of the worker's parts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from feature_store.vectors import NAMES
from streamer.effects import Record
from streamer.examples import Example, History, Position
from streamer.settings import Learning, Sessions, Settings, Stores
from streamer.soft_labels import SoftLabel
from streamer.state import PartitionState, state_path

Value = dict[str, Any] | bytes | None


class Stream:
    """Makes events as a client sends them and records as the broker gives them."""

    start_ms = 1_700_000_000_000

    def click(self, event_id: str, user_id: str = "u", seconds: float = 0, **fields: Any) -> dict[str, Any]:
        event = {"event_id": event_id, "type": "interaction", "user_id": user_id, "item_id": "i", "action": "click"}
        return event | {"event_time_ms": self.start_ms + int(seconds * 1_000)} | fields

    def shown(self, event_id: str, user_id: str = "u", seconds: float = 0, **fields: Any) -> dict[str, Any]:
        event = {"event_id": event_id, "type": "impression", "user_id": user_id, "impression_id": event_id}
        return event | {"items": ["a", "b"], "event_time_ms": self.start_ms + int(seconds * 1_000)} | fields

    def records(self, *values: Value, first_offset: int = 0) -> list[Record]:
        return [
            Record(
                offset, self.start_ms + offset, b"key", json.dumps(value).encode() if isinstance(value, dict) else value
            )
            for offset, value in enumerate(values, start=first_offset)
        ]


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def own_settings(tmp_path: Path) -> Settings:
    """Settings with a state folder of this test alone, and no broker."""
    return Settings(stores=Stores(state_dir=tmp_path))


@pytest.fixture
def open_state(own_settings: Settings) -> Iterator[Callable[[], PartitionState]]:
    """Open the state of partition 3, as often as wanted: each call is another process's view of the file."""
    opened: list[PartitionState] = []

    def open_again() -> PartitionState:
        opened.append(PartitionState(state_path(own_settings.stores.sessions_dir, 3)))
        return opened[-1]

    yield open_again
    for state in opened:
        state.close()


@pytest.fixture
def example() -> Callable[..., Example]:
    """Make examples: ``example(offset, user_id, item_id, history=[…], **fields)``, an event a minute."""

    def make(offset: int, user_id: str = "u", item_id: str | None = "a", **fields: Any) -> Example:
        past, time_ms = fields.pop("history", []), Stream.start_ms + 60_000 * offset
        history = History(past, ["view"] * len(past), [time_ms - 60_000 * back for back in range(len(past), 0, -1)])
        known: dict[str, Any] = {
            "example_id": f"x{offset}",
            "kind": "interaction",
            "source": Position(fields.pop("partition", 0), offset, fields.pop("index", 0)),
            "user_id": user_id,
            "item_id": item_id,
            "action": "view",
            "event_time_ms": time_ms,
            "published_time_ms": time_ms + 5,
            "history": history,
            "session_length": len(past),
            "features": [1.0] + [0.0] * (len(NAMES) - 1),
        }
        return Example(**(known | fields))

    return make


@pytest.fixture
def walk(example: Callable[..., Example]) -> Callable[..., list[Example]]:
    """Make the examples of users who take items of a small catalogue in turns, with their true histories."""

    def make(number: int, first_offset: int = 0, users: int = 5, items: int = 12, seed: int = 3) -> list[Example]:
        draw = random.Random(seed)
        pasts: dict[str, list[str]] = {}
        made = []
        for offset in range(first_offset + number):
            user_id, item_id = f"u{draw.randrange(users)}", f"i{draw.randrange(items)}"
            past = pasts.setdefault(user_id, [])
            if offset >= first_offset:
                made.append(example(offset, user_id, item_id, history=past[-10:]))
            past.append(item_id)
        return made

    return make


@pytest.fixture
def small_settings(tmp_path: Path) -> Settings:
    """Settings of a learner small enough for tests."""
    sizes = Learning(catalog_rows=32, dimension=8, candidates=10, neighbours=10, batch_examples=16)
    return Settings(stores=Stores(state_dir=tmp_path), learning=sizes, sessions=Sessions(history_limit=6))


@pytest.fixture
def soft_label() -> Callable[..., SoftLabel]:
    """Make soft labels: ``soft_label(example, {"a": 2.0}, **fields)``, a second after the example was published."""

    def make(example: Example, logits: dict[str, float], **fields: Any) -> SoftLabel:
        known: dict[str, Any] = {
            "example_id": example.example_id,
            "version": "teacher-1",
            "event_time_ms": example.event_time_ms,
            "labelled_ms": example.published_time_ms + 1_000,
            "partition": example.source.partition,
            "offset": example.source.offset,
            "item_ids": list(logits),
            "logits": list(logits.values()),
            "remainder": 0.5,
            "scored": 40,
        }
        return SoftLabel(**(known | fields))

    return make
