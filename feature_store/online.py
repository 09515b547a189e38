"""Records online: workers push them, servers read them, Feast keeps them (SQLite or Redis)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from feature_store import rows
from feature_store.definitions import ITEM_RECORD, PROJECT, SESSION_STATE, USER_HISTORY, Definitions
from feature_store.families import ITEM_FAMILIES, USER_FAMILIES
from feature_store.item_state import ItemState
from feature_store.repository import OnlineKind, open_repository
from feature_store.user_state import UserState

_READABLE_PER_PUSH = 64
_MOST_WAITING = 5_000
_BUSY_TIMEOUT_MS = 30_000
_State = TypeVar("_State", UserState, ItemState)


class OnlineStore:
    """The online store behind Feast.

    A push writes the records themselves, for all its users, at once: what :meth:`read` needs. The readable features of
    the family views are many more cells; a push writes them for at most 64 users, the longest waiting first, and leaves
    the rest of a large batch (at most 5,000 users) to later pushes and to :meth:`flush`.

    Rows go to Feast's provider as protobuf values, past pandas. Objects are safe to share between threads.
    """

    def __init__(self, repository: Any, definitions: Definitions) -> None:
        self._config = repository.config
        self._provider = repository._get_provider()
        self._views = definitions.views
        self._waiting_users: dict[str, bytes] = {}
        self._waiting_items: dict[str, bytes] = {}
        self._writing = RLock()
        self._reading: AbstractContextManager[Any] = nullcontext()
        if self._config.online_store.type == "sqlite":
            self._reading = self._writing  # one connection: a read inside another thread's transaction would see it
            _prepare_sqlite(self._connection())

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

    def push(self, states: Sequence[UserState]) -> None:
        """Write users' records in one batch; of several of one user the last counts."""
        latest = {state.user_id: state for state in states}
        if not latest:
            return
        with self._writing:
            self._waiting_users.update(self._write_records(USER_HISTORY, latest, rows.history_row))
            self._write_user_features(_share(self._waiting_users))

    def push_items(self, states: Sequence[ItemState]) -> None:
        """Write items' records in one batch; of several of one item the last counts."""
        latest = {state.item_id: state for state in states}
        if not latest:
            return
        with self._writing:
            self._waiting_items.update(self._write_records(ITEM_RECORD, latest, rows.item_row))
            self._write_item_features(_share(self._waiting_items))

    def read(self, user_id: str) -> UserState | None:
        """Record of a user, or None for one never pushed."""
        raw = self._packed(USER_HISTORY, rows.user_key(user_id))
        return None if raw is None else rows.unpack_user(raw)

    def read_item(self, item_id: str) -> ItemState | None:
        """Record of an item, or None for one never pushed."""
        raw = self._packed(ITEM_RECORD, rows.item_key(item_id))
        return None if raw is None else rows.unpack_item(raw)

    def flush(self) -> None:
        """Write the readable features of everybody still waiting for them."""
        with self._writing:
            while self._waiting_users:
                self._write_user_features(_READABLE_PER_PUSH)
            while self._waiting_items:
                self._write_item_features(_READABLE_PER_PUSH)

    def close(self) -> None:
        """Flush, and close the connection."""
        self.flush()
        if self._config.online_store.type == "sqlite":
            self._connection().close()
        else:
            self._provider.online_store._get_client(self._config.online_store).close()

    def _write_records(
        self, view: str, latest: dict[str, _State], row: Callable[[_State], rows.Row]
    ) -> dict[str, bytes]:
        batch = {name: row(state) for name, state in latest.items()}
        self._write(view, batch.values())
        # the packed copy waits, not the record: its owner goes on changing that
        return {name: values["packed"].bytes_val for name, (_, values, _, _) in batch.items()}

    def _write_user_features(self, most: int) -> None:
        states = [rows.unpack_user(raw) for raw in _take(self._waiting_users, most)]
        self._write(SESSION_STATE, map(rows.session_row, states))
        for family in USER_FAMILIES:
            self._write(family.name, [rows.user_family_row(family, state) for state in states])

    def _write_item_features(self, most: int) -> None:
        states = [rows.unpack_item(raw) for raw in _take(self._waiting_items, most)]
        for family in ITEM_FAMILIES:
            self._write(family.name, [rows.item_family_row(family, state) for state in states])

    def _write(self, view: str, batch: Iterable[rows.Row]) -> None:
        self._provider.online_write_batch(self._config, self._views[view], list(batch), None)

    def _packed(self, view: str, key: Any) -> bytes | None:
        with self._reading:
            (_, values), *_ = self._provider.online_read(self._config, self._views[view], [key], ["packed"])
        return bytes(values["packed"].bytes_val) or None if values else None

    def _connection(self) -> Any:
        return self._provider.online_store._get_conn(self._config)


def _share(waiting: dict[str, bytes]) -> int:
    return max(_READABLE_PER_PUSH, len(waiting) - _MOST_WAITING)


def _take(waiting: dict[str, bytes], most: int) -> list[bytes]:
    return [waiting.pop(name) for name in list(islice(waiting, most))]


def _prepare_sqlite(connection: Any) -> None:
    connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode=WAL")  # readers and the writer do not wait for each other
    connection.execute("PRAGMA synchronous=NORMAL")  # sessions are durable with the worker; this is their copy
