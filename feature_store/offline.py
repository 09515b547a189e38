"""Training sets: historical features, joined by Feast at the right moment of each row.

>>> split_by_join_size({"heavy": (900, 1800), "a": (10, 20), "b": (10, 20)}, most_rows=1_000)
[['heavy'], ['a', 'b']]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from feature_store.definitions import ITEMS_FILE, USERS_FILE
from feature_store.families import ITEM_FAMILIES, USER_FAMILIES
from feature_store.feast_alone import FeatureStore
from feature_store.replay import Advance, read_catalogue, write_item_rows, write_user_rows
from feature_store.repository import OFFLINE_FOLDER
from feature_store.vectors import BIAS, NAMES
from streamer.errors import SourceError

_MOST_JOINED_ROWS = 2_000_000
_USER_FEATURES = [f"{family.name}:{field}" for family in USER_FAMILIES for field in family.fields]
_ITEM_FEATURES = [f"{family.name}:{field}" for family in ITEM_FAMILIES for field in family.fields]


def materialize(
    log_dir: Path, feast_dir: Path, advance: Advance, impression_window_ms: int = 30_000
) -> tuple[int, int]:
    """Replay the event log into the offline feature rows of the repository; returns (user events, item rows).

    Parameters
    ----------
    log_dir
        The event log.
    feast_dir
        The Feast repository.
    advance
        The worker's session step (see :func:`feature_store.replay.write_user_rows`).
    impression_window_ms
        How long after an impression its interactions count as answers.
    """
    folder = feast_dir / OFFLINE_FOLDER
    events = write_user_rows(log_dir, folder / USERS_FILE, advance, read_catalogue(log_dir))
    return events, write_item_rows(log_dir, folder / ITEMS_FILE, impression_window_ms)


def decisions(feast_dir: Path) -> pd.DataFrame:
    """Entity dataframe of every event: user_id, event_timestamp (the moment just before it), event_id, item_id."""
    path = _offline_file(feast_dir, USERS_FILE)
    columns = ["user_id", "event_timestamp", "event_id", "item_id"]
    return pq.read_table(path, columns=columns, filters=[("moment", "==", "before")]).to_pandas()


def training_set(feast_dir: Path, entities: pd.DataFrame | None = None, *, with_items: bool = False) -> pd.DataFrame:
    """Entity rows with the features of their user as they stood at their ``event_timestamp``.

    At a moment out of :func:`decisions` the columns :data:`~feature_store.vectors.NAMES` equal what the worker wrote
    into the example of that event. Feast's file store joins each entity row with all feature rows of its user before
    it drops the wrong ones, so users are taken in portions that keep this product in memory.

    Parameters
    ----------
    feast_dir
        The Feast repository, after :func:`materialize`.
    entities
        Columns ``user_id`` and ``event_timestamp`` (UTC), any others are kept; None takes every decision.
    with_items
        Also join the item features, on a column ``item_id``.

    Raises
    ------
    SourceError
        If the rows are missing (run :func:`materialize` first), or a column is.
    """
    rows = _offline_file(feast_dir, USERS_FILE)
    wanted = decisions(feast_dir) if entities is None else entities.reset_index(drop=True)
    _check_columns(wanted, ["user_id", "event_timestamp", *(["item_id"] if with_items else [])])
    features = _USER_FEATURES + (_ITEM_FEATURES if with_items else [])
    repository = FeatureStore(repo_path=str(feast_dir))
    known = pq.read_table(rows, columns=["user_id"])["user_id"].to_pandas().value_counts()
    sizes = {user: (count, int(known.get(user, 1))) for user, count in wanted["user_id"].value_counts().items()}
    portions = [
        _join(repository, wanted[wanted["user_id"].isin(users)], features)
        for users in split_by_join_size(sizes, _MOST_JOINED_ROWS)
    ]
    joined = pd.concat(portions).sort_index() if portions else wanted.reindex(columns=[*wanted.columns, *NAMES[1:]])
    joined[BIAS] = 1.0
    return joined


def split_by_join_size(sizes: Mapping[str, tuple[int, int]], most_rows: int) -> list[list[str]]:
    """Group users so that each group's joined rows (entity rows times feature rows) stay within ``most_rows``.

    A user who is larger alone gets a group alone.

    Parameters
    ----------
    sizes
        For each user the number of entity rows and of feature rows.
    most_rows
        Largest product to hold at once.
    """
    groups: list[list[str]] = []
    held = most_rows + 1
    for user, (wanted, known) in sizes.items():
        if held + wanted * known > most_rows:
            groups.append([])
            held = 0
        groups[-1].append(user)
        held += wanted * known
    return groups


def _join(repository: Any, entities: pd.DataFrame, features: list[str]) -> pd.DataFrame:
    numbered = entities.assign(entity_row=entities.index)
    joined = repository.get_historical_features(entity_df=numbered, features=features).to_df()
    names = [feature.split(":")[1] for feature in features]
    # Feast leaves out an entity row older than all rows of its user or item; here its features are missing values
    return entities.join(joined.set_index("entity_row")[names])


def _offline_file(feast_dir: Path, name: str) -> Path:
    path = feast_dir / OFFLINE_FOLDER / name
    if not path.is_file():
        raise SourceError(f"{path} is missing; run feature_store.offline.materialize over the event log first")
    return path


def _check_columns(entities: pd.DataFrame, needed: list[str]) -> None:
    missing = [column for column in needed if column not in entities.columns]
    if missing:
        raise SourceError(f"the entity rows lack {missing}; they have {list(entities.columns)}")
