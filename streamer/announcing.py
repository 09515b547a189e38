"""Sending announcements to ``headwater.models``."""

from __future__ import annotations

from kafka import KafkaProducer
from kafka.errors import KafkaError

from exporters import announcements
from exporters.announcements import Announcement
from streamer import topics
from streamer.errors import BrokerError


def announce(announcement: Announcement, bootstrap_servers: str, timeout_seconds: float = 10.0) -> None:
    """Publish one announcement and wait until the broker has it.

    Raises
    ------
    BrokerError
        When no broker takes it in time.
    """
    try:
        producer = KafkaProducer(
            bootstrap_servers=bootstrap_servers,
            acks="all",
            max_block_ms=int(1_000 * timeout_seconds),
            bootstrap_timeout_ms=int(1_000 * timeout_seconds),
        )
        try:
            content = announcements.encode(announcement)
            producer.send(topics.MODELS.name, key=announcement.key, value=content).get(timeout=timeout_seconds)
        finally:
            producer.close(timeout=1)
    except (KafkaError, OSError) as error:
        raise BrokerError(
            f"{bootstrap_servers} did not take the announcement ({error}); servers that run learn of it when they start"
        ) from error
