"""Where in the stream each process of a state stands."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from streamer import snapshots
from streamer.errors import HeadwaterError
from streamer.label_files import read_offsets


def positions_of(state: Path) -> dict[str, Any]:
    """Read the source offsets out of session states, the newest snapshots and the label store.

    >>> positions_of(Path("/nowhere"))
    {'sessions': {}, 'snapshots': {}, 'labels': {}}
    """
    newest = {path.parent: path for path in sorted((state / "snapshots").rglob("snapshot-*.safetensors"))}
    return {
        "sessions": applied_offsets(state / "sessions"),
        "snapshots": {folder.name: offsets_of(path) for folder, path in newest.items()},
        "labels": read_offsets(state / "labels"),
    }


def applied_offsets(sessions: Path) -> dict[str, int]:
    """Last applied offset of the events topic, by partition.

    >>> applied_offsets(Path("/nowhere"))
    {}
    """
    found = {}
    for path in sorted(sessions.glob("partition-*.sqlite")):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            found[path.stem.split("-")[1]] = int(connection.execute("SELECT offset FROM applied").fetchone()[0])
    return found


def offsets_of(snapshot: Path) -> Any:
    """Source offsets inside a snapshot; None where it has none or is damaged, which its reader deals with."""
    try:
        state, _ = snapshots.load(snapshot)
    except HeadwaterError:
        return None
    return state.get("offsets") if isinstance(state, dict) else None
