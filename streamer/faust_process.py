"""What the Faust processes share: a transport with a settable fetch wait, and how a process is run.

Faust asks its broker to hold an empty fetch for up to 1.5 s. Apache Kafka answers early when a record comes; the
embedded broker of ``headwater demo`` holds the fetch to its end, and every event would wait with it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

from streamer import metrics, topics
from streamer.settings import Settings

_log = logging.getLogger(__name__)


class Worker(faust.Worker):  # type: ignore[misc]
    """Faust's worker, but records below the log level are not even made: its own root logger takes all of them."""

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """Set the level where the clients look before they write a line for every request."""
        super().on_setup_root_logger(logger, level)
        logger.setLevel(level)


def run_app(create_app: Callable[[Settings], faust.App], settings: Settings, log_level: str) -> None:
    """Run a Faust app in the foreground until SIGTERM or SIGINT, with its metrics port; ends the process."""
    topics.create_topics(settings)
    port = metrics.start(settings.metrics_port)
    logging.basicConfig(level=log_level)
    _log.info("metrics at http://localhost:%d/metrics", port)
    worker = Worker(create_app(settings), loglevel=log_level, quiet=True, redirect_stdouts=False)
    worker.execute_from_commandline()


class SeekingConsumer(Consumer):  # type: ignore[misc]
    """Faust's consumer, but a seek holds whatever is under way.

    Faust notes the place of every record that it passes on, also of those that were fetched before a seek. They move
    that place forward again, and what the seek was for is dropped as read already: for ever, and without a word. Here a
    seek waits for the end of the round, no more of its partition is passed on until then, and the next round begins
    with it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._wanted: dict[TP, int] = {}

    async def seek(self, partition: TP, offset: int) -> None:
        """Read a partition again from an offset, from the next round on."""
        self._wanted[partition] = offset

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Fetch one round of records."""
        wanted, self._wanted = self._wanted, {}
        for partition, offset in wanted.items():
            if partition in self.assignment():  # another process may have it by now, which reads from its own place
                await super().seek(partition, offset)
        async for partition, message in super().getmany(timeout):
            if partition not in self._wanted:
                yield partition, message


def transport_of(app: Any, fetch_max_wait_ms: int) -> Transport:
    """Build the transport of a Faust app whose consumer waits at most so long for an empty fetch."""

    class Thread(AIOKafkaConsumerThread):  # type: ignore[misc]
        def _create_worker_consumer(self, transport: Any) -> Any:
            consumer = super()._create_worker_consumer(transport)
            consumer._fetch_max_wait_ms = fetch_max_wait_ms  # read when it starts; Faust has no setting for it
            return consumer

    class PromptConsumer(SeekingConsumer):
        def _new_consumer_thread(self) -> Thread:
            return Thread(self, loop=self.loop, beacon=self.beacon)

    class PromptTransport(Transport):  # type: ignore[misc]
        Consumer = PromptConsumer

    return PromptTransport(app.conf.broker_consumer, app)
