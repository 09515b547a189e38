"""Publishing events to Kafka: one producer for files, replays and dead letters.

A record's key is the user (interactions, impressions) or the item (catalogue), and the partition is the murmur2 hash of
the key, as in every other Kafka client: a user's events lie in one partition, in the order in which they were sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from kafka import KafkaProducer
from kafka.errors import KafkaError

from streamer import topics
from streamer.errors import BrokerError
from streamer.events import Event, encode
from streamer.topics import Topic

BOOTSTRAP_TIMEOUT_MS = 10_000
MAX_BLOCK_MS = 15_000
_MAX_UNACKNOWLEDGED = 20_000


def route(event: Event) -> tuple[Topic, bytes]:
    """Topic and key of an event.

    Examples
    --------
    >>> topic, key = route(Event(event_id="e1", type="item", item_id="i1", event_time_ms=5))
    >>> topic.name, key
    ('headwater.items', b'i1')
    """
    if event.type == "item":
        return topics.ITEMS, (event.item_id or "").encode()
    return topics.EVENTS, (event.user_id or "").encode()


class Publisher:
    """Sends records and knows how many the broker has acknowledged.

    Every send waits for all in-sync replicas (``acks=all``) and is idempotent, so a retry inside the client never
    writes twice. An event that is sent again by a later run is recognised downstream by its ``event_id``.

    Parameters
    ----------
    bootstrap_servers
        ``host:port`` of a broker, several separated by commas.
    linger_ms
        How long a batch waits for company.

    Raises
    ------
    BrokerError
        When no broker answers, and from :meth:`flush` when records were refused.
    """

    def __init__(self, bootstrap_servers: str, linger_ms: int = 5) -> None:
        self.sent: Counter[str] = Counter()
        self._failures: list[BaseException] = []
        self._since_flush = 0
        try:
            self._producer = _connect(bootstrap_servers, linger_ms)
        except (KafkaError, OSError, ValueError) as error:
            raise BrokerError(f"no Kafka broker answers at {bootstrap_servers} ({error!r}); is it running?") from error

    def send(self, event: Event) -> None:
        """Queue one event on its topic."""
        topic, key = route(event)
        self.send_raw(topic.name, key, encode(event))

    def send_raw(self, topic: str, key: bytes | None, value: bytes) -> None:
        """Queue bytes as they are (dead letters go back this way)."""
        try:
            self._producer.send(topic, value=value, key=key).add_errback(self._failures.append)
        except KafkaError as error:
            raise BrokerError(f"cannot send to {topic}: {error!r}; `headwater topics` creates the topics") from error
        self.sent[topic] += 1
        self._since_flush += 1
        if self._since_flush >= _MAX_UNACKNOWLEDGED:
            self.flush()

    def flush(self, timeout_seconds: float = 60.0) -> None:
        """Wait until everything that was sent is acknowledged."""
        try:
            self._producer.flush(timeout=timeout_seconds)
        except KafkaError as error:
            raise BrokerError(f"the broker acknowledged nothing for {timeout_seconds:g} s: {error!r}") from error
        self._since_flush = 0
        if self._failures:
            # Kept, not cleared: who caught this error must not find everything durable at the next flush.
            raise BrokerError(f"the broker refused {len(self._failures)} records; the first one: {self._failures[0]!r}")

    def close(self) -> None:
        """Give back the connections; what was not flushed gets ten more seconds."""
        self._producer.close(timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self.close()


def publish_all(publisher: Publisher, events: Iterable[Event], advance: Callable[[int], None] | None = None) -> int:
    """Send all events, in order, and wait for the acknowledgements; returns how many there were."""
    count = 0
    for event in events:
        publisher.send(event)
        count += 1
        if advance is not None:
            advance(1)
    publisher.flush()
    return count


def _connect(bootstrap_servers: str, linger_ms: int) -> KafkaProducer:
    return KafkaProducer(
        bootstrap_servers=[server.strip() for server in bootstrap_servers.split(",")],
        client_id="headwater-publisher",
        acks="all",
        linger_ms=linger_ms,
        batch_size=131_072,
        bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
        max_block_ms=MAX_BLOCK_MS,
        allow_auto_create_topics=False,
    )
