from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from streamer.errors import SourceError
from streamer.evaluation.data import load


def ids_of(dataset) -> list[str]:  # type: ignore[no-untyped-def]
    return [dataset.item_ids[row] for row in dataset.log.items]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for folder in ("ml-1m", "amazon", "diginetica"):
        (tmp_path / folder).mkdir()
    (tmp_path / "ml-1m/movies.dat").write_text("".join(f"{n}::Film {n} (1990)::Drama\n" for n in range(1, 9)))
    dated = [(1, 3, 2, 100), (2, 5, 1, 150), (1, 4, 4, 200)]
    pd.DataFrame(dated, columns=["user_id", "movie_id", "pos", "timestamp"]).to_parquet(
        tmp_path / "ml-1m/timestamped_interactions.parquet"
    )
    ordered = [(1, 1, 0), (1, 2, 1), (1, 3, 2), (1, 6, 3), (1, 4, 4), (1, 7, 5), (2, 8, 0), (2, 5, 1)]
    pd.DataFrame(ordered, columns=["user_id", "movie_id", "pos"]).to_parquet(
        tmp_path / "ml-1m/ordered_interactions.parquet"
    )
    sports = [(1, 10, 0, 0), (2, 10, 0, 0), (1, 11, 1, 500)]
    pd.DataFrame(sports, columns=["user_id", "item_id", "pos", "rel_seconds"]).to_parquet(
        tmp_path / "amazon/sports.parquet"
    )
    pd.DataFrame({"item_id": [10, 11], "text_id": ["ball", "bat"], "asin": ["x", "y"]}).to_parquet(
        tmp_path / "amazon/sports_items.parquet"
    )
    pd.DataFrame({"session": [0, 1], "items": [[5, 6], [6, 5, 5]]}).to_parquet(
        tmp_path / "diginetica/train_sessions.parquet"
    )
    pd.DataFrame({"prefix": [[5, 6], [5]], "next_item": [7, 6]}).to_parquet(tmp_path / "diginetica/test_cases.parquet")
    return tmp_path


def test_undated_ratings_come_right_before_the_next_dated_one(data: Path) -> None:
    dataset = load("ml-1m", data)
    assert ids_of(dataset) == ["1", "2", "3", "8", "5", "6", "4"]  # 7 comes after the last date, and is left out
    assert dataset.log.tested.tolist() == [False, False, True, False, True, False, True]
    assert dataset.log.times_seconds.tolist() == [100.0, 100.0, 100.0, 150.0, 150.0, 200.0, 200.0]
    assert "4 undated ratings" in dataset.description


def test_a_limit_counts_dated_ratings(data: Path) -> None:
    dataset = load("ml-1m", data, 2)
    assert ids_of(dataset) == ["1", "2", "3", "8", "5"]


def test_sports_has_no_common_clock(data: Path) -> None:
    dataset = load("sports", data)
    assert dataset.clock == "relative"
    assert ids_of(dataset) == ["10", "11", "10"]
    assert dataset.log.item_titles[2:] == ["ball", "bat"]


def test_diginetica_keeps_its_cases(data: Path) -> None:
    dataset = load("diginetica", data)
    assert dataset.cases_given and dataset.clock == "order"
    assert ids_of(dataset) == ["5", "6", "6", "5", "5", "5", "6", "7", "5", "6"]
    assert dataset.log.users.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3]
    assert [place for place, tested in enumerate(dataset.log.tested) if tested] == [7, 9]


@pytest.mark.parametrize("name", ["ml-1m", "sports", "diginetica"])
def test_missing_data_say_where_to_get_them(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"is not on this machine[\s\S]*https://"):
        load(name, tmp_path)
