"""Where events come from when they do not come from an application: data sets, files, a simulator.

>>> source = open_source("simulator", data_dir=None, limit=3)
>>> [event.type for event in source.events()][0], source.simulated
('impression', True)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamer.errors import SourceError
from streamer.sources.amazon import open_beauty, open_sports, open_toys
from streamer.sources.base import Source
from streamer.sources.files import SUFFIXES, ColumnMap, FileSource, open_file
from streamer.sources.mind import open_mind
from streamer.sources.movielens import open_movielens_1m, open_movielens_100k, open_movielens_latest_small
from streamer.sources.simulator import SimulatorSource


def _open_simulator(data_dir: Path | None, limit: int | None = None) -> SimulatorSource:
    return SimulatorSource() if limit is None else SimulatorSource(limit=limit)


NAMES: dict[str, Callable[[Path | None, int | None], Source]] = {
    "ml-100k": open_movielens_100k,
    "ml-latest-small": open_movielens_latest_small,
    "ml-1m": open_movielens_1m,
    "beauty": open_beauty,
    "toys": open_toys,
    "sports": open_sports,
    "mind": open_mind,
    "simulator": _open_simulator,
}


def open_source(
    name_or_path: str, data_dir: Path | None = None, limit: int | None = None, columns: ColumnMap | None = None
) -> Source:
    """Open a known data set, an event file or the simulator.

    Parameters
    ----------
    name_or_path
        One of :data:`NAMES`, or the path of a ``.jsonl``, ``.csv`` or ``.parquet`` file.
    data_dir
        Folder with data sets already on disk (``HEADWATER_DATA``).
    limit
        At most so many events, the earliest ones.
    columns
        How columns of a file become fields.

    Raises
    ------
    SourceError
        Where there is no such name or file, the data set is not on this machine, or the file is not good.
    """
    if name_or_path in NAMES:
        return NAMES[name_or_path](data_dir, limit)
    path = Path(name_or_path)
    if path.exists():
        return FileSource(path, columns or ColumnMap(), limit)
    raise SourceError(
        f"there is no data set and no file called {name_or_path!r}; "
        f"known data sets: {', '.join(NAMES)}; files: {', '.join(SUFFIXES)}"
    )


__all__ = ["NAMES", "ColumnMap", "FileSource", "SimulatorSource", "Source", "open_file", "open_source"]
