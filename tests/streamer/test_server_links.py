from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

from streamer.server_links import BrokerLink
from streamer.settings import Kafka


async def test_what_is_loaded_is_set_aside_before_the_server_is_live() -> None:
    seen: list[int] = []
    state: Any = SimpleNamespace(went_live=lambda: seen.append(gc.get_freeze_count()))
    door: Any = None
    try:
        await BrokerLink(Kafka(), door, state, staleness_seconds=1.0)._went_live()
    finally:
        gc.unfreeze()
    assert len(seen) == 1 and seen[0] > 1_000
