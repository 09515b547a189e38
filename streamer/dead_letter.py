"""Dead letters: what could not be read, kept with the reason and the place that it came from.

Nothing is lost in silence: a worker that cannot read a record sends a :class:`DeadLetter` and goes on. The letters can
be listed, looked at, and replayed to their topic once the reason is gone (a newer schema, a clock that was set right).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from streamer import events, examples, topics
from streamer.errors import BrokerError, EventError, HeadwaterError
from streamer.events import Limits
from streamer.publishing import Publisher

_MAX_RAW_BYTES = 700_000  # in base64 it still fits into a record of 1 MB
_MAX_TEXT_BYTES = 150_000  # JSON may escape a character six-fold, so longer texts go in base64 too


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One record that could not be used, as JSON on ``headwater.dead-letter``.

    ``raw`` is the text of the record, or its base64 where the bytes are no UTF-8 or many (``raw_is_base64``). Of a
    record above 700 kB only the head is kept (``raw_bytes`` is its true size): the whole lies at topic, partition,
    offset.
    """

    reason: str
    message: str
    topic: str
    time_ms: int
    raw: str
    raw_bytes: int
    partition: int | None = None
    offset: int | None = None
    key: str | None = None
    raw_is_base64: bool = False
    key_is_base64: bool = False

    @property
    def payload(self) -> bytes:
        """The record's value as it came, or its head where :attr:`is_truncated`."""
        return _bytes_of(self.raw, self.raw_is_base64)

    @property
    def key_bytes(self) -> bytes | None:
        """The record's key as it came."""
        return None if self.key is None else _bytes_of(self.key, self.key_is_base64)

    @property
    def is_truncated(self) -> bool:
        """Whether only the head of the record is in the letter."""
        return len(self.payload) < self.raw_bytes


def to_letter(
    error: Exception,
    raw: bytes | None,
    *,
    topic: str,
    partition: int | None = None,
    offset: int | None = None,
    key: bytes | None = None,
    time_ms: int | None = None,
) -> DeadLetter:
    r"""Make the letter for a record that raised ``error``.

    Examples
    --------
    >>> error = EventError("malformed_json", "not one JSON object")
    >>> letter = to_letter(error, b"\xff\x00", topic="headwater.events", partition=1, offset=7, time_ms=5)
    >>> letter.reason, letter.raw, letter.raw_is_base64, letter.payload
    ('malformed_json', '/wA=', True, b'\xff\x00')
    """
    whole = raw or b""
    text, is_base64 = _text_of(whole[:_MAX_RAW_BYTES])
    key_text, key_is_base64 = (None, False) if key is None else _text_of(key)
    return DeadLetter(
        reason=error.reason if isinstance(error, EventError) else type(error).__name__,
        message=str(error),
        topic=topic,
        time_ms=int(time.time() * 1_000) if time_ms is None else time_ms,
        raw=text,
        raw_bytes=len(whole),
        partition=partition,
        offset=offset,
        key=key_text,
        raw_is_base64=is_base64,
        key_is_base64=key_is_base64,
    )


def to_record(letter: DeadLetter) -> tuple[bytes | None, bytes]:
    """Key and value of the letter on the dead-letter topic; :func:`from_record` reads the value back."""
    return letter.key_bytes, msgspec.json.encode(letter)


def from_record(value: bytes) -> DeadLetter:
    """Read a letter; raises ``msgspec.DecodeError`` on anything else."""
    return _decoder.decode(value)


def read(
    bootstrap_servers: str, reason: str | None = None, limit: int | None = None, offset: int | None = None
) -> Iterator[tuple[int, DeadLetter]]:
    """Letters with their offsets, oldest first, up to the end of the topic as it is now.

    Parameters
    ----------
    bootstrap_servers
        ``host:port`` of a broker.
    reason
        Only letters with this reason.
    limit
        At most so many.
    offset
        Begin here and not at the oldest letter.

    Raises
    ------
    BrokerError
        When no broker answers or the topic is missing.
    """
    found = 0
    for position, value in _read_topic(bootstrap_servers, topics.DEAD_LETTER.name, offset):
        if limit is not None and found >= limit:
            return
        letter = from_record(value)
        if reason is None or letter.reason == reason:
            found += 1
            yield position, letter


@dataclass
class ReplayReport:
    """What a replay of letters did."""

    sent: int = 0
    still_refused: int = 0
    truncated: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def replay(
    letters: Iterator[tuple[int, DeadLetter]], publisher: Publisher, limits: Limits | None = None
) -> ReplayReport:
    """Send back to their topics the letters that would be accepted now.

    Letters that still break the contract stay where they are, so a replay never goes round in circles; sending a good
    event twice does no harm, because effects are idempotent under ``event_id``.
    """
    report = ReplayReport()
    for _, letter in letters:
        if letter.is_truncated:
            report.truncated += 1
            continue
        try:
            _accept(letter, limits)
        except (HeadwaterError, msgspec.MsgspecError) as error:
            report.still_refused += 1
            reason = error.reason if isinstance(error, EventError) else type(error).__name__
            report.reasons[reason] = report.reasons.get(reason, 0) + 1
            continue
        publisher.send_raw(letter.topic, letter.key_bytes, letter.payload)
        report.sent += 1
    publisher.flush()
    return report


def _accept(letter: DeadLetter, limits: Limits | None) -> None:
    if letter.topic == topics.EXAMPLES.name:
        examples.decode(letter.payload)
    elif letter.topic in (topics.EVENTS.name, topics.ITEMS.name):
        events.decode(letter.payload, limits)
    else:
        raise BrokerError(f"letters from {letter.topic} are not replayed: its producer publishes anew by itself")


def _read_topic(bootstrap_servers: str, topic: str, offset: int | None) -> Iterator[tuple[int, bytes]]:
    consumer = _connect(bootstrap_servers)
    try:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        if not partitions:
            raise BrokerError(f"topic {topic} is missing at {bootstrap_servers}; `headwater topics` creates it")
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        if offset is not None:
            consumer.seek(partitions[0], offset)
        yield from _drain(consumer, ends)
    except KafkaError as error:
        raise BrokerError(f"reading {topic} at {bootstrap_servers} failed: {error!r}") from error
    finally:
        consumer.close(autocommit=False)


def _drain(consumer: KafkaConsumer, ends: dict[TopicPartition, int]) -> Iterator[tuple[int, bytes]]:
    # The embedded broker names the last batch's first record as the end, so the end is not believed until a poll
    # comes back empty.
    while True:
        batches = consumer.poll(timeout_ms=500)
        for records in batches.values():
            yield from ((record.offset, record.value) for record in records)
        if not batches and all(consumer.position(partition) >= end for partition, end in ends.items()):
            return


def _connect(bootstrap_servers: str) -> KafkaConsumer:
    try:
        return KafkaConsumer(
            bootstrap_servers=bootstrap_servers.split(","),
            group_id=None,
            enable_auto_commit=False,
            bootstrap_timeout_ms=10_000,
            allow_auto_create_topics=False,
        )
    except (KafkaError, OSError, ValueError) as error:
        raise BrokerError(f"no Kafka broker answers at {bootstrap_servers} ({error!r}); is it running?") from error


def _text_of(raw: bytes) -> tuple[str, bool]:
    try:
        if len(raw) <= _MAX_TEXT_BYTES:
            return raw.decode(), False
    except UnicodeDecodeError:
        pass
    return base64.b64encode(raw).decode(), True


def _bytes_of(text: str, is_base64: bool) -> bytes:
    return base64.b64decode(text) if is_base64 else text.encode()


_decoder = msgspec.json.Decoder(DeadLetter)
