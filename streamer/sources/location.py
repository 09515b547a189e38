"""Where data sets lie on disk, and what to say when they don't."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from streamer.errors import SourceError


@dataclass(frozen=True, kw_only=True)
class Publisher:
    """Who publishes a data set, where, and under which terms."""

    url: str
    licence: str
    files: str


PUBLISHERS = {
    "ml-100k": Publisher(
        url="https://grouplens.org/datasets/movielens/100k/",
        licence="research use, no redistribution without permission (University of Minnesota, GroupLens)",
        files="ml-100k/u.data, u.item, u.genre",
    ),
    "ml-latest-small": Publisher(
        url="https://grouplens.org/datasets/movielens/latest/",
        licence="redistribution under its own terms, no commercial use (University of Minnesota, GroupLens)",
        files="ml-latest-small/ratings.csv, movies.csv",
    ),
    "ml-1m": Publisher(
        url="https://grouplens.org/datasets/movielens/1m/",
        licence="research use, no redistribution without permission (University of Minnesota, GroupLens)",
        files="ml-1m/movies.dat and ratings.dat (or timestamped_interactions.parquet)",
    ),
    "beauty": Publisher(
        url="https://jmcauley.ucsd.edu/data/amazon/",
        licence="research, citation asked (J. McAuley, UC San Diego)",
        files="amazon/beauty.parquet (user_id, item_id, pos, timestamp) and beauty_items.parquet, "
        "made of reviews_Beauty_5.json.gz and its metadata",
    ),
    "toys": Publisher(
        url="https://jmcauley.ucsd.edu/data/amazon/",
        licence="research, citation asked (J. McAuley, UC San Diego)",
        files="amazon/toys.parquet (user_id, item_id, pos, timestamp) and toys_items.parquet, "
        "made of reviews_Toys_and_Games_5.json.gz and its metadata",
    ),
    "mind": Publisher(
        url="https://msnews.github.io/",
        licence="Microsoft Research Licence: research, no redistribution",
        files="mind-sample/behaviors.tsv.gz and news.tsv.gz (or MINDsmall_train/behaviors.tsv and news.tsv)",
    ),
}


def locate(name: str, data_dir: Path | None, *choices: str) -> Path:
    """First of the paths below ``data_dir`` that exists.

    Raises
    ------
    SourceError
        Where none does: it says who publishes the data set, under which licence, and where to put it.
    """
    for choice in choices:
        if data_dir is not None and (path := data_dir / choice).exists():
            return path
    publisher = PUBLISHERS[name]
    where = "HEADWATER_DATA is not set" if data_dir is None else f"it is not in {data_dir}"
    raise SourceError(
        f"the data set {name} is not on this machine ({where}).\n"
        f"Get it from {publisher.url}\n"
        f"Licence: {publisher.licence}\n"
        f"Put {publisher.files} into a folder and set HEADWATER_DATA to that folder."
    )
