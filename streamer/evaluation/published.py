"""Data sets that are no plain stream of events: partly dated, without a common clock, or cut already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from online_models.evaluation.interactions import Interactions
from online_models.vocabulary import action_row
from streamer.errors import SourceError
from streamer.evaluation.data import Dataset, Ids, Loader, catalogue_columns, of_events
from streamer.events import Event
from streamer.sources import open_source
from streamer.sources.location import locate


def load_movielens_1m(data_dir: Path | None, limit: int | None) -> Dataset:
    """MovieLens 1M; where the dated table is partial, undated ratings join it, learnt but not tested.

    Where ``ordered_interactions.parquet`` lies beside the dated table, each undated rating is put right before its
    user's next dated one (by the order that the file gives), at that one's time.
    """
    path = locate("ml-1m", data_dir, "ml-1m/ratings.dat", "ml-1m/timestamped_interactions.parquet")
    source = open_source("ml-1m", data_dir, limit)
    ordered = path.with_name("ordered_interactions.parquet")
    if path.suffix == ".dat" or not ordered.exists():
        return of_events(source.name, source.description, source.events(), source.items())
    dated = pd.read_parquet(path, columns=["user_id", "movie_id", "pos", "timestamp"])
    table = _with_undated(dated, pd.read_parquet(ordered, columns=["user_id", "movie_id", "pos"]), limit)
    dataset = _of_table("ml-1m", source.description, table, source.items())
    undated = int((~dataset.log.tested).sum())
    return replace(dataset, description=f"{source.description}; {undated:,} undated ratings as history")


def _with_undated(dated: pd.DataFrame, ordered: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    """Dated events in stream order with the undated ones put in; columns user, item, time, tested."""
    dated = dated.sort_values("timestamp", kind="stable").head(len(dated) if limit is None else limit)
    dated = dated.assign(place=np.arange(len(dated)))
    every = ordered.merge(dated[["user_id", "movie_id", "timestamp", "place"]], how="left", on=["user_id", "movie_id"])
    every["tested"] = every.place.notna()
    every = every.sort_values(["user_id", "pos"], kind="stable")
    # an undated rating stands right before its user's next dated one; what comes after the last one is left out
    every[["place", "timestamp"]] = every.groupby("user_id")[["place", "timestamp"]].bfill()
    every = every[every.place.notna()].sort_values(["place", "pos"], kind="stable")
    return pd.DataFrame(
        {"user": every.user_id, "item": every.movie_id, "time": every.timestamp.astype(float), "tested": every.tested}
    )


def load_mind(data_dir: Path | None, limit: int | None) -> Dataset:
    """MIND: clicks with their slates; the history of each user, whose times are made up, is learnt but not tested."""
    source = open_source("mind", data_dir, limit)
    dataset = of_events(source.name, source.description, source.events(), source.items())
    if dataset.impressions is None:
        raise SourceError(f"the first {limit} events of mind are all history: give a larger limit, or none")
    clicked = dataset.log.times_seconds >= dataset.impressions.times_seconds[0]
    undated = f"{int((~clicked).sum()):,} clicks of histories without dates"
    return replace(dataset, log=replace(dataset.log, tested=clicked), description=f"{source.description}; {undated}")


def load_sports(data_dir: Path | None, limit: int | None) -> Dataset:
    """Amazon Sports, whose times count from each user's own first review: only the order inside a user is real."""
    path = _beside("sports", data_dir, "amazon/sports.parquet")
    reviews = pd.read_parquet(path, columns=["user_id", "item_id", "pos", "rel_seconds"])
    reviews = reviews.sort_values(["user_id", "pos"], kind="stable").head(len(reviews) if limit is None else limit)
    items = pd.read_parquet(path.with_name("sports_items.parquet"))
    table = pd.DataFrame(
        {"user": reviews.user_id, "item": reviews.item_id, "time": reviews.rel_seconds.astype(float), "tested": True}
    )
    described = (
        Event(
            event_id=f"sports:item:{row.item_id}",
            type="item",
            event_time_ms=0,
            item_id=str(row.item_id),
            title=row.text_id,
        )
        for row in items.itertuples()
    )
    text = "Amazon Sports, 5-core: reviews in the order of each user; titles are model-made keywords (J. McAuley)"
    return replace(_of_table("sports", text, table, described), clock="relative")


def load_diginetica(data_dir: Path | None, limit: int | None) -> Dataset:
    """Diginetica's sessions with the published test cases; a clock of one click a second is made up."""
    path = _beside("diginetica", data_dir, "diginetica/train_sessions.parquet")
    sessions = pd.read_parquet(path).head(10**9 if limit is None else limit)["items"].tolist()
    cases = pd.read_parquet(path.with_name("test_cases.parquet")).head(10**9 if limit is None else limit)
    asked = [[*prefix, following] for prefix, following in zip(cases.prefix, cases.next_item, strict=True)]
    lengths = np.array([len(clicks) for clicks in (*sessions, *asked)])
    users = np.repeat(np.arange(len(lengths)), lengths)
    tested = np.zeros(len(users), bool)
    tested[np.cumsum(lengths)[len(sessions) :] - 1] = True
    items = np.concatenate([*sessions, *asked]).astype(np.int64)
    known, rows = np.unique(items, return_inverse=True)
    log = Interactions(
        users=users,
        items=rows.astype(np.int64) + 2,
        times_seconds=np.arange(len(users), dtype=np.float64),
        actions=np.full(len(users), action_row("click"), np.int64),
        values=np.full(len(users), np.nan, np.float32),
        tested=tested,
        rows=len(known) + 2,
        user_count=len(lengths),
        name="diginetica",
        **catalogue_columns(["", "", *(str(item) for item in known.tolist())], ()),
    )
    return Dataset(
        name="diginetica",
        description="Diginetica, CIKM Cup 2016: clicks in sessions, cut into training and test cases as published",
        log=log,
        item_ids=["", "", *(str(item) for item in known.tolist())],
        clock="order",
        cases_given=True,
    )


def _of_table(name: str, description: str, table: pd.DataFrame, items: object) -> Dataset:
    ids = Ids(table.user.astype(str).tolist(), table.item.astype(str).tolist())
    size = len(table)
    log = Interactions(
        users=ids.users,
        items=ids.items,
        times_seconds=table.time.to_numpy(np.float64),
        actions=np.full(size, action_row("rating"), np.int64),
        values=np.full(size, np.nan, np.float32),
        tested=table.tested.to_numpy(bool),
        rows=len(ids.item_ids),
        user_count=ids.user_count,
        name=name,
        **catalogue_columns(ids.item_ids, items),  # type: ignore[arg-type]
    )
    return Dataset(name=name, description=description, log=log, item_ids=ids.item_ids)


def _beside(name: str, data_dir: Path | None, file: str) -> Path:
    path = None if data_dir is None else data_dir / file
    if path is not None and path.exists():
        return path
    where = "HEADWATER_DATA is not set" if data_dir is None else f"it is not in {data_dir}"
    raise SourceError(f"the data set {name} is not on this machine ({where}); {_HOW[name]}")


_HOW = {
    "sports": "make amazon/sports.parquet (user_id, item_id, pos, rel_seconds) and sports_items.parquet of "
    "reviews_Sports_and_Outdoors_5.json.gz from https://jmcauley.ucsd.edu/data/amazon/ (research, citation asked)",
    "diginetica": "make diginetica/train_sessions.parquet (session, items) and test_cases.parquet (prefix, next_item) "
    "of the competition's clicks, https://competitions.codalab.org/competitions/11161, prepared as by SR-GNN",
}

LOADERS: dict[str, Loader] = {
    "mind": load_mind,
    "ml-1m": load_movielens_1m,
    "sports": load_sports,
    "diginetica": load_diginetica,
}
