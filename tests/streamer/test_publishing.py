from __future__ import annotations

import pytest

from streamer.errors import BrokerError
from streamer.events import Event
from streamer.publishing import Publisher, route

T = 1_718_000_000_000


def test_users_and_items_are_the_keys() -> None:
    view = Event(event_id="e", type="interaction", event_time_ms=T, user_id="ü", item_id="i", action="view")
    shown = Event(event_id="e", type="impression", event_time_ms=T, user_id="u", impression_id="p", items=["i"])
    item = Event(event_id="e", type="item", event_time_ms=T, item_id="i")
    assert [(topic.name, key) for topic, key in map(route, (view, shown, item))] == [
        ("headwater.events", "ü".encode()),
        ("headwater.events", b"u"),
        ("headwater.items", b"i"),
    ]


def test_no_broker_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.publishing.BOOTSTRAP_TIMEOUT_MS", 300)
    with pytest.raises(BrokerError, match="no Kafka broker answers at 127.0.0.1:1 .*is it running"):
        Publisher("127.0.0.1:1")
