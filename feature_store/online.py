"""Records online: workers push them, servers read them, Feast keeps them (SQLite or Redis)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from threading import Lock, RLock
from typing import Any

from redis.backoff import NoBackoff
from redis.retry import Retry

from feature_store import rows
from feature_store.definitions import ITEM_RECORD, PROJECT, SESSION_STATE, USER_HISTORY, Definitions
from feature_store.families import ITEM_FAMILIES, USER_FAMILIES
from feature_store.item_state import ItemState
from feature_store.repository import OnlineKind, open_repository
from feature_store.user_state import UserState

_READABLE_AT_ONCE = 64
_MOST_WAITING_ITEMS = 5_000
_BUSY_TIMEOUT_MS = 30_000


class OnlineStore:
    """The online store behind Feast.

    A push of users writes their packed records only: one cell a user, all that :meth:`read` needs. What Feast's own
    readers want besides (history arrays, session, family features) is fifty cells a user and follows later, through
    :meth:`refresh` a few users at a time and through :meth:`flush` in full; it never holds up a push for longer than
    one view of one share. A push of items writes the readable features of at most 64 items too, and leaves the rest of
    a large batch (at most 5,000 items) to later pushes and to :meth:`flush`.

    Rows go to Feast's provider as protobuf values, past pandas. Objects are safe to share between threads.
    """

    def __init__(self, repository: Any, definitions: Definitions) -> None:
        self._config = repository.config
        self._provider = repository._get_provider()
        self._views = definitions.views
        self._waiting_users: dict[str, None] = {}  # a set in order: the longest waiting first
        self._waiting_items: dict[str, bytes] = {}
        self._writing = RLock()
        self._refreshing = Lock()  # held around `_writing`, so that an older state never overwrites a newer
        self._reading: AbstractContextManager[Any] = nullcontext()
        if self._config.online_store.type == "sqlite":
            self._reading = self._writing  # one connection: a read inside another thread's transaction would see it
            prepare_sqlite(self._connection())

    @classmethod
    def open(
        cls,
        feast_dir: Path,
        online_store: OnlineKind = "sqlite",
        redis_url: str = "redis://localhost:6379/0",
        *,
        project: str = PROJECT,
    ) -> OnlineStore:
        """Open the repository in ``feast_dir``, making it on first use; any number of processes may do so at once.

        Parameters
        ----------
        feast_dir
            Folder of the Feast repository.
        online_store
            ``sqlite`` or ``redis``.
        redis_url
            Where Redis answers; read for ``redis`` only.
        project
            Feast project, a prefix of every key: two projects in one Redis do not meet.

        Raises
        ------
        SettingsError
            If ``redis_url`` is no Redis URL.
        """
        return cls(*open_repository(feast_dir, online_store, redis_url, project))

    @property
    def remote(self) -> bool:
        """Whether a read may wait for another machine; SQLite's readers wait neither for that nor for a writer."""
        return bool(self._config.online_store.type != "sqlite")

    def push(self, states: Sequence[UserState]) -> None:
        """Write users' records in one batch; of several of one user the last counts."""
        latest = {state.user_id: state for state in states}
        if not latest:
            return
        with self._writing:
            self._write(USER_HISTORY, map(rows.packed_row, latest.values()))
            self._waiting_users.update(dict.fromkeys(latest))

    def push_items(self, states: Sequence[ItemState]) -> None:
        """Write items' records in one batch; of several of one item the last counts."""
        latest = {state.item_id: state for state in states}
        if not latest:
            return
        with self._writing:
            batch = {name: rows.item_row(state) for name, state in latest.items()}
            self._write(ITEM_RECORD, batch.values())
            # the packed copy waits, not the record: its owner goes on changing that
            self._waiting_items.update((name, values["packed"].bytes_val) for name, (_, values, *_) in batch.items())
            self._write_item_features(_share(self._waiting_items))

    def read(self, user_id: str) -> UserState | None:
        """Record of a user, or None for one never pushed."""
        raw = self._packed(USER_HISTORY, rows.user_key(user_id))
        return None if raw is None else rows.unpack_user(raw)

    def read_item(self, item_id: str) -> ItemState | None:
        """Record of an item, or None for one never pushed."""
        raw = self._packed(ITEM_RECORD, rows.item_key(item_id))
        return None if raw is None else rows.unpack_item(raw)

    def refresh(self, most: int = _READABLE_AT_ONCE) -> int:
        """Write the readable features of the users who have waited longest for them; returns how many users.

        Parameters
        ----------
        most
            How many users; bounds the work of one call.
        """
        with self._refreshing:
            with self._writing:
                names = list(islice(self._waiting_users, most))
                states = [self._leave_queue(name) for name in names]
            try:
                self._write_user_features([state for state in states if state is not None])
            except BaseException:
                with self._writing:
                    self._waiting_users.update(dict.fromkeys(names))
                raise
            return len(names)

    def fail_fast(self) -> None:
        """Try once and not again where Redis does not answer: for processes with better things to do than to wait."""
        if self._config.online_store.type == "redis":
            client = self._provider.online_store._get_client(self._config.online_store)
            client.set_retry(Retry(NoBackoff(), 0))

    def flush(self) -> None:
        """Write the readable features of everybody still waiting for them."""
        while self.refresh():
            pass
        with self._writing:
            while self._waiting_items:
                self._write_item_features(_READABLE_AT_ONCE)

    def close(self) -> None:
        """Flush, and close the connection."""
        self.flush()
        if self._config.online_store.type == "sqlite":
            self._connection().close()
        else:
            self._provider.online_store._get_client(self._config.online_store).close()

    def _leave_queue(self, user_id: str) -> UserState | None:
        del self._waiting_users[user_id]
        return self.read(user_id)

    def _write_user_features(self, states: list[UserState]) -> None:
        if not states:
            return
        self._write(USER_HISTORY, map(rows.arrays_row, states))
        self._write(SESSION_STATE, map(rows.session_row, states))
        for family in USER_FAMILIES:
            self._write(family.name, [rows.user_family_row(family, state) for state in states])

    def _write_item_features(self, most: int) -> None:
        states = [rows.unpack_item(raw) for raw in _take(self._waiting_items, most)]
        for family in ITEM_FAMILIES:
            self._write(family.name, [rows.item_family_row(family, state) for state in states])

    def _write(self, view: str, batch: Iterable[rows.Row]) -> None:
        ready = list(batch)  # made before the lock is taken
        with self._writing:
            self._provider.online_write_batch(self._config, self._views[view], ready, None)

    def _packed(self, view: str, key: Any) -> bytes | None:
        with self._reading:
            (_, values), *_ = self._provider.online_read(self._config, self._views[view], [key], ["packed"])
        return bytes(values["packed"].bytes_val) or None if values else None

    def _connection(self) -> Any:
        return self._provider.online_store._get_conn(self._config)


def _share(waiting: dict[str, bytes]) -> int:
    return max(_READABLE_AT_ONCE, len(waiting) - _MOST_WAITING_ITEMS)


def _take(waiting: dict[str, bytes], most: int) -> list[bytes]:
    return [waiting.pop(name) for name in list(islice(waiting, most))]


def prepare_sqlite(connection: Any) -> None:
    """Let readers and a writer use one SQLite file at once."""
    connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode=WAL")  # readers and the writer do not wait for each other
    connection.execute("PRAGMA synchronous=NORMAL")  # a copy: the worker's own state, synced in full, refills it
