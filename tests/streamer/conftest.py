"""Records of the events topic, for the tests of the worker's parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamer.effects import Record
from streamer.settings import Settings, Stores
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
