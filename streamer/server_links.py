"""What a server reaches out to: the online store and the broker. Each is tried until it is there, and watched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from exporters import announcements
from exporters.announcements import Announcement
from exporters.watched_store import WatchedStore
from feature_store.online import OnlineStore
from feature_store.user_vectors import UserVectors
from streamer import topics
from streamer.errors import BrokerError
from streamer.http_door import KafkaDoor
from streamer.long_lived import set_aside
from streamer.server_lag import LagWatch
from streamer.server_sessions import FeastSessions
from streamer.server_state import ServerState
from streamer.server_streams import Follower
from streamer.settings import Kafka, Stores

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 1.0
_JUDGE_SECONDS = 0.5
_SOCKET_SECONDS = "2"  # far longer than a deadline, far shorter than a client waits
_CLOSE_SECONDS = 5.0


class StoreLink:
    """Opens the online store and tries it again whenever it has gone.

    Parameters
    ----------
    stores
        Which store, and where.
    slow_ms
        Longest good read.
    """

    def __init__(self, stores: Stores, slow_ms: Callable[[], float]) -> None:
        self._stores = stores
        self._sessions = FeastSessions()
        self.store = WatchedStore(self._sessions, slow_ms=slow_ms)
        self.users: UserVectors | None = None

    async def run(self) -> None:
        """Open the store, then look after it until cancelled."""
        await _until_done(self._open, "the online store cannot be opened")
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            if self.store.gone is not None:
                await asyncio.to_thread(self.store.probe)

    async def close(self) -> None:
        """Close what was opened; a store that is gone is left as it is."""
        for opened in (self._sessions.store, self.users):
            if opened is not None:
                with suppress(Exception):
                    await asyncio.wait_for(asyncio.to_thread(opened.close), _CLOSE_SECONDS)

    def reasons(self) -> list[str]:
        """Say what is wrong, in words; empty while all is well."""
        if self._sessions.store is None:
            return ["The online store has not been opened yet."]
        return [] if self.store.gone is None else [f"The online store does not answer: {self.store.gone}."]

    async def _open(self) -> None:
        stores, url = self._stores, impatient(self._stores.redis_url)
        store = await asyncio.to_thread(OnlineStore.open, stores.feast_dir, stores.online_store, url)
        store.fail_fast()
        self.users = await asyncio.to_thread(UserVectors.open, stores.feast_dir, stores.online_store, url)
        self._sessions.store = store
        await asyncio.to_thread(self.store.probe)


class BrokerLink:
    """Connects the door and the follower to the broker, and watches how far the server is behind.

    Parameters
    ----------
    kafka
        The broker.
    door
        What publishes events.
    state
        What the topics' records are applied to.
    staleness_seconds
        See :class:`streamer.server_lag.LagWatch`.
    """

    def __init__(self, kafka: Kafka, door: KafkaDoor, state: ServerState, staleness_seconds: float) -> None:
        self._kafka, self._door, self._state, self._staleness_seconds = kafka, door, state, staleness_seconds
        self._producer: AIOKafkaProducer | None = None
        self._follower: Follower | None = None
        self._lag: LagWatch | None = None
        self._why = "The broker has not been reached yet."

    async def run(self) -> None:
        """Load what is current, connect, and follow the topics until cancelled."""
        await asyncio.gather(
            _until_done(self._load, "the model registry cannot be read"),
            _until_done(self._connect_producer, "events cannot be published"),
        )
        await _until_done(self._connect_follower, "the topics cannot be followed")
        assert self._follower is not None and self._lag is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follower.run())
            tasks.create_task(self._lag.run())
            tasks.create_task(self._go_live(self._follower))
            tasks.create_task(self._judge())

    async def close(self) -> None:
        """Send what waits and leave the broker, within a few seconds."""
        for part in (self._producer, self._follower):
            if part is not None:
                await _leave(part.stop if isinstance(part, AIOKafkaProducer) else part.close)

    def reasons(self) -> list[str]:
        """Say what is wrong, in words; empty while all is well."""
        if self._follower is None or self._lag is None:
            return [self._why]
        behind = self._follower.behind
        reasons = [f"{records} records of {topic} are still to be read." for topic, records in behind.items()]
        if not self._state.live and not reasons:
            reasons.append("The backlog has just been read.")
        return reasons + self._lag.reasons() + self._state.doubts()

    def lag(self) -> dict[str, int]:
        """Count the records by topic that are not applied; empty before the first look."""
        return {} if self._lag is None else dict(self._lag.lag)

    def silence_seconds(self) -> float | None:
        """Seconds since the broker last answered; None where it never has."""
        return None if self._lag is None else round(self._lag.silence_seconds, 1)

    async def _load(self) -> None:
        await asyncio.to_thread(self._state.load)

    async def _connect_producer(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._kafka.bootstrap_servers, acks="all", linger_ms=1, max_request_size=4 * 1_048_576
        )
        await self._started(producer.start, producer.stop)
        self._producer = producer
        self._door.connect(producer)

    async def _connect_follower(self) -> None:
        appliers = {
            topics.WEIGHTS: self._state.apply_rows,
            topics.MODELS: self._state.apply_announcements,
            topics.ITEMS: self._state.apply_items,
            topics.DRIFT: self._state.apply_drift,
        }
        follower = Follower(self._kafka.bootstrap_servers, appliers)
        await self._started(follower.start, follower.close)
        self._lag = LagWatch(follower.places, self._staleness_seconds)
        self._follower = follower
        self._state.send = self._sender(asyncio.get_running_loop())
        await asyncio.to_thread(self._state.begins_at, *follower.spans.get(topics.WEIGHTS.name, (0, 0)))

    def _sender(self, loop: asyncio.AbstractEventLoop) -> Callable[[Announcement], None]:
        """Make what sends announcements from any thread, without waiting for the broker."""

        async def send(announcement: Announcement) -> None:
            if self._producer is not None:
                with suppress(KafkaError):  # it is asked again at the next comparison
                    await self._producer.send_and_wait(
                        topics.MODELS.name, announcements.encode(announcement), key=announcement.key
                    )

        def tell(announcement: Announcement) -> None:
            asyncio.run_coroutine_threadsafe(send(announcement), loop)

        return tell

    async def _started(self, start: Callable[[], Awaitable[None]], stop: Callable[[], Awaitable[None]]) -> None:
        try:
            await start()
        except (KafkaError, BrokerError) as error:
            await stop()
            self._why = str(error) if isinstance(error, BrokerError) else _unreached(self._kafka, error)
            raise BrokerError(self._why) from error
        except BaseException:
            await stop()
            raise

    async def _judge(self) -> None:
        while True:
            await asyncio.sleep(_JUDGE_SECONDS)
            if self._state.live:
                await asyncio.to_thread(self._state.judge)

    async def _go_live(self, follower: Follower) -> None:
        await follower.caught_up.wait()
        await _until_done(self._went_live, "the model registry cannot be read")

    async def _went_live(self) -> None:
        set_aside()  # before anybody is served: the catalogue and the tables are there now
        await asyncio.to_thread(self._state.went_live)


def impatient(redis_url: str) -> str:
    """Bound how long a socket to Redis is waited for, unless the URL says it.

    >>> impatient("redis://cache:6379/0")
    'redis://cache:6379/0?socket_timeout=2&socket_connect_timeout=2'
    """
    parts = urlsplit(redis_url)
    waits = {"socket_timeout": _SOCKET_SECONDS, "socket_connect_timeout": _SOCKET_SECONDS}
    return urlunsplit(parts._replace(query=urlencode(waits | dict(parse_qsl(parts.query)))))


def _unreached(kafka: Kafka, error: KafkaError) -> str:
    if isinstance(error, KafkaConnectionError):
        return (
            f"No broker answers at {kafka.bootstrap_servers} ({error}); start one, or set"
            " HEADWATER_KAFKA__BOOTSTRAP_SERVERS."
        )
    return f"The broker at {kafka.bootstrap_servers} answered with an error: {error!r}."


async def _leave(leave: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Leave the broker, whatever comes: where it is gone, aiokafka's consumer ends with a CancelledError of its own."""
    task = asyncio.create_task(leave())
    await asyncio.wait({task}, timeout=_CLOSE_SECONDS)
    if not task.done():
        task.cancel()
    elif not task.cancelled() and task.exception() is None:
        return
    _log.warning("the broker was left without its answer")


async def _until_done(attempt: Callable[[], Awaitable[None]], what: str) -> None:
    """Try each second; say it when it fails for another reason than before."""
    said = ""
    while True:
        try:
            return await attempt()
        except Exception as error:
            if str(error) != said:
                said = str(error)
                _log.warning("%s; trying again each second: %s", what, error)
            await asyncio.sleep(_RETRY_SECONDS)
