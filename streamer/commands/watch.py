"""``headwater watch``: drift alarms and what was done about them, as they come; and the way back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import typer
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from exporters.deltas import DEFAULT_MODEL
from streamer import topics
from streamer.drift import records
from streamer.drift.records import Record, Request, describe
from streamer.errors import BrokerError, HeadwaterError
from streamer.settings import Settings


def command(
    history: int = typer.Option(20, "--history", min=0, help="Latest records to begin with."),
    once: bool = typer.Option(False, "--once", help="Print the history and leave."),
    revert: str | None = typer.Option(None, "--revert", help="Ask the trainer to take back the action of this id."),
    start: str | None = typer.Option(None, "--start", help="Ask the trainer for an action: learning_rate, replay, …"),
    name: str = typer.Option(DEFAULT_MODEL, "--name", help="The student whose trainer is asked."),
    reason: str = typer.Option("", "--reason", help="Why; kept in the record."),
    as_json: bool = typer.Option(False, "--json", help="Print records as JSON lines."),
) -> None:
    """Follow headwater.drift: what moved, since when, with the evidence, and each action's begin and end.

    The trainer itself watches and acts (settings drift.*; by default it only says what it would do). Every action ends
    by itself or is taken back with --revert; both are records here.
    """
    settings = Settings()
    if revert is not None and start is not None:
        raise HeadwaterError("give either --revert with an action's id, or --start with a kind of action")
    wish = ("revert", revert) if revert is not None else ("start", start)
    if wish[1] is not None:
        ask(settings, Request(model=name, wish=wish[0], subject=wish[1], reason=reason, time_ms=_now_ms()))  # type: ignore[arg-type]
        typer.echo(f"asked the trainer of {name}: {wish[0]} {wish[1]}; `headwater watch` shows what came of it")
        return
    for record in follow(settings, history, once):
        typer.echo(records.encode(record).decode() if as_json else f"{_clock(record)} {describe(record)}")


def ask(settings: Settings, request: Request, timeout_seconds: float = 10.0) -> None:
    """Write a request and wait until the broker has it; raises :class:`BrokerError` where it does not take it."""
    servers = settings.kafka.bootstrap_servers
    try:
        producer = KafkaProducer(bootstrap_servers=servers, acks="all", max_block_ms=int(1_000 * timeout_seconds))
        try:
            sent = producer.send(topics.DRIFT.name, key=request.model.encode(), value=records.encode(request))
            sent.get(timeout=timeout_seconds)
        finally:
            producer.close(timeout=1)
    except (KafkaError, OSError) as error:
        raise BrokerError(f"{servers} did not take the request ({error}); is the broker up?") from error


def follow(settings: Settings, history: int, once: bool = False) -> Iterator[Record]:
    """Give the latest records, and then, unless ``once``, each one as it comes.

    Raises
    ------
    BrokerError
        Where no broker answers.
    """
    servers, partition = settings.kafka.bootstrap_servers, TopicPartition(topics.DRIFT.name, 0)
    try:
        consumer = KafkaConsumer(bootstrap_servers=servers, group_id=None, enable_auto_commit=False)
    except (KafkaError, ValueError) as error:
        raise BrokerError(f"No Kafka broker answers at kafka.bootstrap_servers={servers!r} ({error}).") from error
    try:
        consumer.assign([partition])
        end = consumer.end_offsets([partition])[partition]
        consumer.seek(partition, max(end - history, consumer.beginning_offsets([partition])[partition]))
        while not once or consumer.position(partition) < end:
            for found in consumer.poll(timeout_ms=500).get(partition, []):
                yield records.decode(found.value)
    finally:
        consumer.close()


def _clock(record: Record) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.time_ms / 1e3))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
