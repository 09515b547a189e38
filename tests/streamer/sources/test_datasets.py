"""The data sets that are on this machine, read as streams. Nothing of them is copied into the tests."""

from __future__ import annotations

import os
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from streamer.errors import SourceError
from streamer.events import Event, validate
from streamer.sources import NAMES, Source, open_source

DATA = Path(os.environ.get("HEADWATER_DATA", Path(__file__).parents[4] / "shared" / "data"))


def on_disk(name: str, limit: int | None = None) -> Source:
    try:
        return open_source(name, DATA, limit)
    except SourceError as error:
        if "is not on this machine" not in str(error):
            raise
        pytest.skip(str(error).splitlines()[0])


@pytest.mark.parametrize(
    ("name", "events", "items"),
    [
        ("ml-100k", 100_000, 1_682),
        ("ml-latest-small", 100_836, 9_742),
        ("ml-1m", 435_692, 3_883),
        ("beauty", 198_502, 12_101),
        ("toys", 167_597, 11_924),
        ("mind", None, None),
        ("simulator", 20_000, None),
    ],
)
def test_laws_of_a_source(name: str, events: int | None, items: int | None) -> None:
    source = on_disk(name, limit=20_000 if name == "simulator" else None)
    known_since: dict[str, int] = {}
    previous_ms = 0
    for event in source.items():
        assert event.type == "item" and event.event_time_ms >= previous_ms
        assert event.item_id is not None and event.item_id not in known_since
        known_since[event.item_id] = previous_ms = event.event_time_ms
    assert items is None or len(known_since) == items
    ids: set[str] = set()
    previous_ms = 0
    for index, event in enumerate(source.events()):
        assert event.event_time_ms >= previous_ms
        previous_ms = event.event_time_ms
        ids.add(event.event_id)
        assert all(known_since[item] <= event.event_time_ms for item in event.items or [event.item_id or ""])
        if index % 500 == 0:
            validate(event)
    assert len(ids) == source.event_count
    assert events is None or source.event_count == events
    assert source.simulated == (name == "simulator")
    for event in islice(source.items(), 200):
        validate(event)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sports"])
def test_the_same_events_each_time_and_a_limit_is_a_prefix(name: str) -> None:
    whole = list(islice(on_disk(name).events(), 300))
    short = on_disk(name, limit=200)
    assert list(short.events()) == whole[:200]
    assert short.event_count == 200
    assert list(short.events()) == list(short.events())


def test_ml_100k_reads_stars_genres_and_release_dates() -> None:
    source = on_disk("ml-100k")
    first = next(iter(source.events()))
    assert first.event_id.startswith("ml-100k:") and first.action == "rating" and first.value in {1, 2, 3, 4, 5}
    toy_story = next(event for event in source.items() if event.item_id == "1")
    assert toy_story.title == "Toy Story (1995)"
    assert toy_story.categories == ["Animation", "Children's", "Comedy"]
    assert toy_story.published_time_ms == 788_918_400_000


def test_ties_keep_the_order_of_the_file() -> None:
    events = list(on_disk("ml-100k").events())
    rows = [(event.event_time_ms, int(event.event_id.partition(":")[2])) for event in events]
    assert rows == sorted(rows)


def test_amazon_ties_follow_the_order_inside_a_user() -> None:
    source = on_disk("beauty")
    of_user: dict[str, list[int]] = {}
    for event in source.events():
        of_user.setdefault(event.user_id or "", []).append(int(event.event_id.partition(":")[2]))
    # the table is sorted by user and position, so a user's rows have to come in ascending order
    assert all(rows == sorted(rows) for rows in of_user.values())


def test_mind_clicks_name_an_impression_that_showed_the_item() -> None:
    slates: dict[str, Event] = {}
    counts = Counter[str]()
    for event in on_disk("mind").events():
        counts[event.surface or ""] += 1
        if event.type == "impression":
            slates[event.impression_id or ""] = event
        elif event.surface == "home":
            shown = slates[event.impression_id or ""]
            assert event.item_id in (shown.items or []) and event.user_id == shown.user_id
            assert 0 < event.event_time_ms - shown.event_time_ms < 30_000
    assert counts["history"] > 0 and counts["home"] > len(slates)


def test_sports_says_why_it_is_no_stream() -> None:
    with pytest.raises(SourceError, match="no common clock.*leave-one-out"):
        open_source("sports", DATA)


@pytest.mark.parametrize("name", ["ml-100k", "ml-latest-small", "ml-1m", "beauty", "toys", "mind"])
def test_a_missing_data_set_says_where_to_get_it(name: str, tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        with pytest.raises(SourceError, match=r"(?s)https://.*Licence: .*HEADWATER_DATA"):
            open_source(name, folder)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SourceError, match="ml-100k, .*simulator"):
        open_source("netflix", None)
