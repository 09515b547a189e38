"""Clocks: freshness and lateness are differences between this machine's clock and the broker's or the store's."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError
from redis import Redis, RedisError

from streamer.doctor.broker import reachable
from streamer.doctor.finding import Finding, fine, wrong
from streamer.settings import Settings

MOST_SKEW_SECONDS = 1.0
_DAY_SECONDS = 86_400.0
_mend = "run a time service (chrony, systemd-timesyncd) on both machines"


def check_clocks(settings: Settings, now: Callable[[], float] = time.time) -> Iterator[Finding]:
    """Compare this clock with the broker's and with Redis's.

    Parameters
    ----------
    settings
        Where they answer.
    now
        This machine's clock, in seconds.
    """
    if reachable(settings):
        yield from _judged("the broker", _asked(lambda: _broker_seconds(settings), now))
    if settings.stores.online_store == "redis":
        yield from _judged("Redis", _asked(lambda: _redis_seconds(settings), now))
    if now() < settings.events.earliest_event_time_ms / 1e3 + _DAY_SECONDS:
        yield wrong("clocks", "this machine's clock stands before the earliest event time", _mend)


def _asked(ask: Callable[[], float | None], now: Callable[[], float]) -> float | None:
    """Difference of the other clock from ours, beyond what the time of asking explains."""
    before = now()
    other = ask()
    after = now()
    if other is None:
        return None
    return max(other - after, 0.0) - max(before - other, 0.0)


def _judged(whose: str, skew_seconds: float | None) -> Iterator[Finding]:
    if skew_seconds is None:
        return  # a broker without timestamps of its own, or a store whose own line says that it is away
    said = f"{whose} differs from this machine by {skew_seconds:+.1f} s"
    yield wrong("clocks", said, _mend) if abs(skew_seconds) > MOST_SKEW_SECONDS else fine("clocks", said)


def _broker_seconds(settings: Settings) -> float | None:
    """Time that the broker puts on a record, by a topic of our own that is deleted at once."""
    servers, topic = settings.kafka.bootstrap_servers, f"headwater.doctor-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=servers)
    try:
        layout = {"num_partitions": 1, "replication_factor": 1, "configs": {"message.timestamp.type": "LogAppendTime"}}
        admin.create_topics({topic: layout}, wait_for_metadata=True)
        try:
            return _stamped(servers, topic)
        finally:
            admin.delete_topics([topic])
    except KafkaError:
        return None
    finally:
        admin.close()


def _stamped(servers: str, topic: str) -> float | None:
    producer = KafkaProducer(bootstrap_servers=servers, acks="all")
    try:
        # the client's own time is zero: what comes back as something else is the broker's
        written = producer.send(topic, b"", timestamp_ms=1).get(10)
    finally:
        producer.close()
    return written.timestamp / 1e3 if written.timestamp > 1 else None


def _redis_seconds(settings: Settings) -> float | None:
    try:
        with Redis.from_url(settings.stores.redis_url, socket_timeout=5) as client:
            seconds, microseconds = client.time()
    except (RedisError, OSError, ValueError):
        return None
    return float(seconds) + float(microseconds) / 1e6
