"""Asking the teacher for a refresh: a record on ``headwater.models`` that the running teacher follows."""

from __future__ import annotations

import time

from exporters.announcements import Announcement
from streamer.announcing import announce
from streamer.settings import Settings


def ask_for_refresh(settings: Settings, model: str) -> None:
    """Write the request; raises :class:`~streamer.errors.BrokerError` where no broker takes it."""
    asked = Announcement(name=model, kind="asked", reason="request", time_ms=time.time_ns() // 1_000_000)
    announce(asked, settings.kafka.bootstrap_servers)
