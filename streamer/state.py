"""The durable state of one events partition: one SQLite file.

Users' records, recent event ids, counters, the last applied offset and an outbox change in one transaction, so a crash
leaves either all of a batch's effects or none. What must leave the process (examples, dead letters, pushes to the
online store, rows of the event log) lies in the outbox until its receiver has it; after a restart it is delivered
again, and every receiver is idempotent.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_store.user_state import UserState
from streamer import joins, records
from streamer.effects import Applied, Effects, Message
from streamer.errors import HeadwaterError, SnapshotError
from streamer.records import UserRecord

FORMAT = 1
CACHED_USERS = 5_000
EVENT_IDS_LIMIT = 1_000_000
EVENT_IDS_AGE_MS = 7 * 86_400_000
_VARIABLES = 500  # well below SQLite's bound on parameters of one statement
_FORGET_AT_ONCE = 5_000  # more than a batch brings, so that forgetting keeps up and never stalls a batch

SCHEMA = """
CREATE TABLE IF NOT EXISTS applied (
    only INTEGER PRIMARY KEY CHECK (only = 1), format INTEGER NOT NULL, offset INTEGER NOT NULL,
    position_index INTEGER NOT NULL, commit_number INTEGER NOT NULL, published_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS users (
    user_id TEXT PRIMARY KEY, record BLOB NOT NULL, oldest_arrival_ms INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS open_impressions ON users (oldest_arrival_ms) WHERE oldest_arrival_ms IS NOT NULL;
CREATE TABLE IF NOT EXISTS event_ids (
    sequence INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE, published_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    sequence INTEGER PRIMARY KEY, commit_number INTEGER NOT NULL, topic TEXT NOT NULL, key BLOB, value BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS dirty_users (user_id TEXT PRIMARY KEY, commit_number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log_entries (
    offset INTEGER PRIMARY KEY, published_ms INTEGER NOT NULL, event_time_ms INTEGER NOT NULL, event BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS log_flush (
    only INTEGER PRIMARY KEY CHECK (only = 1), first_offset INTEGER NOT NULL, last_offset INTEGER NOT NULL
);
INSERT OR IGNORE INTO applied VALUES (1, {format}, -1, 0, 0, 0);
"""


class StaleStateError(HeadwaterError):
    """Another process has applied events of this partition in the meantime: read the state again."""


def state_path(folder: Path, partition: int) -> Path:
    """Where a partition's state lies.

    >>> state_path(Path("sessions"), 3).name
    'partition-00003.sqlite'
    """
    return folder / f"partition-{partition:05d}.sqlite"


def connect(path: Path) -> sqlite3.Connection:
    """Open a state file: write-ahead log, every commit synced to disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -16384")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Write transaction: committed at the end of the block, rolled back on any error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


class PartitionState:
    """The state of one events partition; used by one thread at a time.

    Parameters
    ----------
    path
        The SQLite file; made where it is missing.
    cached_users
        How many users' records stay decoded in memory.

    Raises
    ------
    SnapshotError
        Where the file is damaged or of another format.
    """

    def __init__(self, path: Path, cached_users: int = CACHED_USERS) -> None:
        self.path = path
        self._cached_users = cached_users
        self._cache: OrderedDict[str, UserRecord] = OrderedDict()
        self._delivered = 0
        try:
            self._connection = connect(path)
            self._connection.executescript(SCHEMA.format(format=FORMAT))
            found = self._connection.execute("SELECT format FROM applied").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise SnapshotError(f"{path} is no readable state file ({error}); restore it or move it away") from error
        if found != FORMAT:
            raise SnapshotError(f"{path} has format {found}, this version reads {FORMAT}; move it away and replay")
        self.applied = self._read_applied()

    def close(self) -> None:
        """Write what is known to be delivered, and close the file."""
        self.clear_delivered()
        self._connection.close()

    def refresh(self) -> None:
        """Forget everything held in memory and read how far the file is."""
        self._cache.clear()
        self.applied = self._read_applied()

    def load(self, user_ids: Iterable[str]) -> dict[str, UserRecord]:
        """Read the records of these users; users never seen before get new ones. They may be changed in place."""
        wanted = list(dict.fromkeys(user_ids))
        missing = [user_id for user_id in wanted if user_id not in self._cache]
        for user_id, raw in self._select("SELECT user_id, record FROM users WHERE user_id IN ", missing):
            self._cache[user_id] = records.decode(raw)
        for user_id in wanted:
            if user_id not in self._cache:
                self._cache[user_id] = records.new_record(user_id)
            self._cache.move_to_end(user_id)
        return {user_id: self._cache[user_id] for user_id in wanted}

    def known_event_ids(self, event_ids: Iterable[str]) -> set[str]:
        """Return those of the ids that have been applied already."""
        wanted = list(event_ids)
        return {row[0] for row in self._select("SELECT event_id FROM event_ids WHERE event_id IN ", wanted)}

    def users_with_impressions_before(self, arrived_ms: int, limit: int = 500) -> list[str]:
        """Users with an open slate that arrived at or before ``arrived_ms``."""
        query = "SELECT user_id FROM users WHERE oldest_arrival_ms <= ? ORDER BY oldest_arrival_ms LIMIT ?"
        return [row[0] for row in self._connection.execute(query, (arrived_ms, limit))]

    def commit(self, effects: Effects) -> None:
        """Make all effects durable at once.

        Raises
        ------
        StaleStateError
            Where the file is not in the state that the effects were computed from; nothing is written then.
        """
        try:
            with transaction(self._connection):
                if self._read_applied() != effects.before:
                    raise StaleStateError(f"{self.path} was changed by another process; is a second worker running?")
                self._write(effects)
        except BaseException:
            self.refresh()  # records were changed in place
            raise
        self.applied = effects.after
        while len(self._cache) > self._cached_users:
            self._cache.popitem(last=False)

    def undelivered(self) -> tuple[list[Message], list[UserState]]:
        """Messages and users that a crash may have kept from their receivers, in order."""
        query = "SELECT topic, key, value FROM outbox WHERE commit_number > ? ORDER BY sequence"
        messages = [Message(*row) for row in self._connection.execute(query, (self._delivered,))]
        query = "SELECT record FROM users JOIN dirty_users USING (user_id) WHERE commit_number > ?"
        states = [records.decode(row[0]).user for row in self._connection.execute(query, (self._delivered,))]
        return messages, states

    def mark_delivered(self, commit_number: int) -> None:
        """Note that everything up to this commit has reached its receivers; the next commit clears the outbox."""
        self._delivered = max(self._delivered, commit_number)

    def clear_delivered(self) -> None:
        """Clear the outbox of what has been delivered, now."""
        with transaction(self._connection):
            self._delete_delivered()

    def counters(self) -> Counter[str]:
        """Totals since the file was made: consumed, duplicates, late, dead letters by reason, examples by kind."""
        return Counter(dict(self._connection.execute("SELECT name, value FROM counters")))

    def _read_applied(self) -> Applied:
        query = "SELECT offset, position_index, commit_number, published_ms FROM applied"
        return Applied(*self._connection.execute(query).fetchone())

    def _write(self, effects: Effects) -> None:
        number = effects.after.commit
        run = self._connection.executemany
        run("REPLACE INTO users VALUES (?, ?, ?)", map(_user_row, effects.records.items()))
        run("REPLACE INTO dirty_users VALUES (?, ?)", ((user_id, number) for user_id in effects.records))
        run("INSERT INTO event_ids (event_id, published_ms) VALUES (?, ?)", effects.event_ids.items())
        run(
            "INSERT INTO outbox (commit_number, topic, key, value) VALUES (?, ?, ?, ?)",
            ((number, *message) for message in effects.messages),
        )
        run("INSERT INTO log_entries VALUES (?, ?, ?, ?)", effects.log)
        run(
            "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            effects.counters.items(),
        )
        after = effects.after
        self._connection.execute(
            "UPDATE applied SET offset = ?, position_index = ?, commit_number = ?, published_ms = ?",
            (after.offset, after.next_index, after.commit, after.published_ms),
        )
        self._delete_delivered()
        self._forget_event_ids(after.published_ms)

    def _delete_delivered(self) -> None:
        self._connection.execute("DELETE FROM outbox WHERE commit_number <= ?", (self._delivered,))
        self._connection.execute("DELETE FROM dirty_users WHERE commit_number <= ?", (self._delivered,))

    def _forget_event_ids(self, now_ms: int) -> None:
        last = self._connection.execute("SELECT coalesce(max(sequence), 0) FROM event_ids").fetchone()[0]
        self._connection.execute("DELETE FROM event_ids WHERE sequence <= ?", (last - EVENT_IDS_LIMIT,))
        query = "SELECT sequence, published_ms FROM event_ids ORDER BY sequence LIMIT 1"
        oldest = self._connection.execute(query).fetchone()
        if oldest is not None and oldest[1] < now_ms - EVENT_IDS_AGE_MS:
            self._connection.execute(
                "DELETE FROM event_ids WHERE sequence < ? AND published_ms < ?",
                (oldest[0] + _FORGET_AT_ONCE, now_ms - EVENT_IDS_AGE_MS),
            )

    def _select(self, query: str, values: list[str]) -> Iterator[tuple[str, bytes]]:
        for start in range(0, len(values), _VARIABLES):
            part = values[start : start + _VARIABLES]
            yield from self._connection.execute(f"{query}({','.join('?' * len(part))})", part)


def _user_row(entry: tuple[str, UserRecord]) -> tuple[str, bytes, int | None]:
    user_id, record = entry
    return user_id, records.encode(record), joins.oldest_arrival_ms(record)
