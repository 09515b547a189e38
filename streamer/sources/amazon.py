"""Amazon reviews, 5-core: Beauty and Toys as streams by day.

A review is an interaction with action ``rating`` and no value. Time has the resolution of a day; within a day the order
inside a user (``pos``) decides. Sports has only times relative to each user's first event, which is no stream.
"""

from __future__ import annotations

import ast
import html
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd

from streamer.errors import SourceError
from streamer.sources.base import CatalogueEntry, InteractionLog, TableSource
from streamer.sources.location import locate


def open_beauty(data_dir: Path | None, limit: int | None = None) -> TableSource:
    """198,502 reviews with titles, brands, prices and categories."""
    path = locate("beauty", data_dir, "amazon/beauty.parquet")
    items = pd.read_parquet(path.with_name("beauty_items.parquet"))
    return TableSource(
        name="beauty",
        description="Amazon Beauty, 5-core: reviews by day with titles, brands, prices, categories (J. McAuley)",
        log=_read_log(path),
        entries=[_beauty_item(row) for row in items.itertuples()],
        limit=limit,
    )


def open_toys(data_dir: Path | None, limit: int | None = None) -> TableSource:
    """167,597 reviews; the titles are model-made keywords."""
    path = locate("toys", data_dir, "amazon/toys.parquet")
    items = pd.read_parquet(path.with_name("toys_items.parquet"))
    reviews = pd.read_parquet(path, columns=["item_id", "sub_category_id"]).drop_duplicates("item_id")
    category_of = dict(zip(reviews.item_id, reviews.sub_category_id, strict=True))
    return TableSource(
        name="toys",
        description="Amazon Toys, 5-core: reviews by day; titles are model-made keywords (J. McAuley)",
        log=_read_log(path),
        entries=[_toy(row, category_of) for row in items.itertuples()],
        limit=limit,
    )


def open_sports(data_dir: Path | None, limit: int | None = None) -> NoReturn:
    """Refuse: there is no common clock.

    Raises
    ------
    SourceError
        Always.
    """
    raise SourceError(
        "sports cannot be a stream: its times count from each user's own first event, so there is no common clock. "
        "Use it with `headwater evaluate --protocol leave-one-out`, or stream beauty or toys."
    )


def _read_log(path: Path) -> InteractionLog:
    reviews = pd.read_parquet(path, columns=["user_id", "item_id", "pos", "timestamp"])
    return InteractionLog.in_order(reviews.user_id, reviews.item_id, reviews.timestamp, tie_breaker=reviews.pos)


def _beauty_item(row: Any) -> CatalogueEntry:
    categories = [html.unescape(category) for category in ast.literal_eval(f"[{row.categories}]")]
    brand = html.unescape(row.brand) if isinstance(row.brand, str) and row.brand != "Unknown" else None
    return CatalogueEntry(
        item_id=str(row.item_id),
        title=html.unescape(row.title) if isinstance(row.title, str) else None,
        categories=categories,
        price=float(row.price) if isinstance(row.price, str) else None,
        extra={"asin": row.asin} | ({"brand": brand} if brand else {}),
    )


def _toy(row: Any, category_of: dict[int, int]) -> CatalogueEntry:
    return CatalogueEntry(
        item_id=str(row.item_id),
        title=row.text_id,
        categories=[f"sub-category {category_of[row.item_id]}"] if row.item_id in category_of else [],
        extra={"asin": row.asin, "title_is_generated": True},
    )
