"""Faust's Kafka transport with a settable fetch wait.

Faust asks its broker to hold an empty fetch for up to 1.5 s. Apache Kafka answers early when a record comes; the
embedded broker of ``headwater demo`` holds the fetch to its end, and every event would wait with it.
"""

from __future__ import annotations

from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport


def transport_of(app: Any, fetch_max_wait_ms: int) -> Transport:
    """Build the transport of a Faust app whose consumer waits at most so long for an empty fetch."""

    class Thread(AIOKafkaConsumerThread):  # type: ignore[misc]
        def _create_worker_consumer(self, transport: Any) -> Any:
            consumer = super()._create_worker_consumer(transport)
            consumer._fetch_max_wait_ms = fetch_max_wait_ms  # read when it starts; Faust has no setting for it
            return consumer

    class PromptConsumer(Consumer):  # type: ignore[misc]
        def _new_consumer_thread(self) -> Thread:
            return Thread(self, loop=self.loop, beacon=self.beacon)

    class PromptTransport(Transport):  # type: ignore[misc]
        pass

    PromptTransport.Consumer = PromptConsumer
    return PromptTransport(app.conf.broker_consumer, app)
