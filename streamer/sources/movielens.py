"""MovieLens 100K, latest-small and 1M: ratings of films, timed to the second.

A rating is an interaction with action ``rating`` and its stars as value; a film's genres are its categories. Of 1M both
the published ``ratings.dat`` and a timestamped table without stars (action ``rating``, no value) are read.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from streamer.sources.base import CatalogueEntry, InteractionLog, TableSource
from streamer.sources.location import locate

_YEAR_IN_TITLE = re.compile(r"\((\d{4})\)\s*$")


def open_movielens_100k(data_dir: Path | None, limit: int | None = None) -> TableSource:
    """100,000 ratings of 943 users, 1997-09 to 1998-04."""
    folder = locate("ml-100k", data_dir, "ml-100k/u.data").parent
    ratings = pd.read_csv(folder / "u.data", sep="\t", header=None, names=["user", "item", "stars", "time"])
    genres = pd.read_csv(folder / "u.genre", sep="|", header=None)[0].tolist()
    films = pd.read_csv(folder / "u.item", sep="|", header=None, encoding="latin-1")
    return TableSource(
        name="ml-100k",
        description="MovieLens 100K: ratings of films with stars, genres and release dates (GroupLens)",
        log=InteractionLog.in_order(ratings.user, ratings.item, ratings.time, ratings.stars),
        entries=[_film_of_100k(row, genres) for row in films.itertuples(index=False)],
        limit=limit,
    )


def open_movielens_latest_small(data_dir: Path | None, limit: int | None = None) -> TableSource:
    """100,836 ratings of 610 users over 22 years."""
    folder = locate("ml-latest-small", data_dir, "ml-latest-small/ratings.csv").parent
    ratings = pd.read_csv(folder / "ratings.csv")
    films = pd.read_csv(folder / "movies.csv")
    return TableSource(
        name="ml-latest-small",
        description="MovieLens latest-small: ratings of films with stars and genres, 1996 to 2018 (GroupLens)",
        log=InteractionLog.in_order(ratings.userId, ratings.movieId, ratings.timestamp, ratings.rating),
        entries=[_film(str(row.movieId), row.title, row.genres) for row in films.itertuples()],
        limit=limit,
    )


def open_movielens_1m(data_dir: Path | None, limit: int | None = None) -> TableSource:
    """MovieLens 1M, the published set or the timestamped table without stars."""
    path = locate("ml-1m", data_dir, "ml-1m/ratings.dat", "ml-1m/timestamped_interactions.parquet")
    columns = ["item", "title", "genres"]
    films = pd.read_csv(path.parent / "movies.dat", sep="::", header=None, names=columns, **_DAT)
    log, what = (_published_1m(path), "with stars") if path.suffix == ".dat" else (_timestamped_1m(path), "no stars")
    return TableSource(
        name="ml-1m",
        description=f"MovieLens 1M, {len(log.rows):,} timed ratings, {what}, genres (GroupLens)",
        log=log,
        entries=[_film(str(row.item), row.title, row.genres) for row in films.itertuples()],
        limit=limit,
    )


_DAT: Any = {"engine": "python", "encoding": "latin-1"}


def _published_1m(path: Path) -> InteractionLog:
    ratings = pd.read_csv(path, sep="::", header=None, names=["user", "item", "stars", "time"], **_DAT)
    return InteractionLog.in_order(ratings.user, ratings.item, ratings.time, ratings.stars)


def _timestamped_1m(path: Path) -> InteractionLog:
    ratings = pd.read_parquet(path)
    return InteractionLog.in_order(ratings.user_id, ratings.movie_id, ratings.timestamp)


def _film_of_100k(row: Any, genres: list[str]) -> CatalogueEntry:
    item_id, title, released, _, _, *flags = row
    known = isinstance(released, str)
    return CatalogueEntry(
        item_id=str(item_id),
        title=title,
        categories=[genre for genre, flag in zip(genres, flags, strict=True) if flag],
        published_time_ms=_milliseconds(datetime.strptime(released, "%d-%b-%Y")) if known else None,
    )


def _film(item_id: str, title: str, genres: str) -> CatalogueEntry:
    year = _YEAR_IN_TITLE.search(title)
    return CatalogueEntry(
        item_id=item_id,
        title=title,
        categories=[] if genres.startswith("(no genres") else genres.split("|"),
        published_time_ms=_milliseconds(datetime(int(year[1]), 1, 1)) if year else None,
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.replace(tzinfo=UTC).timestamp() * 1_000)
