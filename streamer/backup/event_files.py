"""The event log of an archive: exactly the events that its session state does not hold any more."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

_NAME = re.compile(r"partition-(\d+)-(\d+)-(\d+)\.parquet")


def drop_later(sessions: Path, event_log: Path) -> list[Path]:
    """Remove files that were flushed after the session state was copied; returns them.

    Their events still wait in the copy, and a restored worker flushes them itself. Left there they would be in the log
    twice, under other names where the flush takes other bounds.

    Parameters
    ----------
    sessions
        The copied SQLite files.
    event_log
        The linked Parquet files.
    """
    flushed = {int(path.stem.split("-")[1]): _flushed_up_to(path) for path in sessions.glob("partition-*.sqlite")}
    later = []
    for path in sorted(event_log.glob("*/partition-*.parquet")):
        named = _NAME.fullmatch(path.name)
        if named and int(named[1]) in flushed and int(named[3]) > flushed[int(named[1])]:
            path.unlink()
            later.append(path)
    return later


def _flushed_up_to(path: Path) -> int:
    """Last offset whose event does not wait for its file."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        waiting = connection.execute("SELECT min(offset) FROM log_entries").fetchone()[0]
        applied = connection.execute("SELECT offset FROM applied").fetchone()[0]
    return int(applied if waiting is None else waiting - 1)
