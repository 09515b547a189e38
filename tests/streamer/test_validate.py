from __future__ import annotations

import json
from pathlib import Path

from streamer.errors import EventError
from streamer.events import Event
from streamer.sources.files import Line
from streamer.sources.simulator import SimulatorSource
from streamer.validate import Inspection, inspect

T = 1_718_000_000_000
HERE = Path("a.jsonl")


def view(event_id: str, time_ms: int = T, user: str = "u", item: str = "i", shown_in: str | None = None) -> Event:
    return Event(
        event_id=event_id,
        type="interaction",
        event_time_ms=time_ms,
        user_id=user,
        item_id=item,
        action="view",
        impression_id=shown_in,
    )


def shown(event_id: str, items: list[str], time_ms: int = T) -> Event:
    return Event(
        event_id=event_id, type="impression", event_time_ms=time_ms, user_id="u", impression_id="p", items=items
    )


def described(item: str, title: str | None = "Title") -> Event:
    return Event(event_id=f"item:{item}", type="item", event_time_ms=T, item_id=item, title=title)


def look(*events: Event | EventError) -> Inspection:
    return inspect(
        Line(HERE, number, error=event) if isinstance(event, EventError) else Line(HERE, number, event=event)
        for number, event in enumerate(events, start=1)
    )


def test_good_events_are_good_and_counted() -> None:
    found = look(described("i"), shown("p", ["j", "i"]), view("a", T + 1, shown_in="p"), described("j"))
    assert found.is_good and not found.warnings
    assert (found.types["item"], found.users, found.items_used, found.joined_interactions) == (2, 1, 2, 1)
    assert found.shown_by_position == [1, 1] and found.clicks_by_position == [0, 1]


def test_refused_lines_are_errors_with_their_reason_and_place() -> None:
    found = look(view("a"), EventError("missing_field", "no user"), EventError("missing_field", "no item"))
    assert not found.is_good
    assert found.rejected["missing_field"].count == 2
    assert found.rejected["missing_field"].places == ["a.jsonl:2 no user", "a.jsonl:3 no item"]


def test_duplicates_are_warnings_but_two_events_with_one_id_are_errors() -> None:
    same = look(view("a"), view("a"), view("b"))
    assert same.is_good and same.warnings["duplicate_event"].places == ["a.jsonl:2"]
    assert same.types["interaction"] == 2
    other = look(view("a"), view("a", item="j"))
    assert not other.is_good and other.errors["event_id_used_twice"].places == ["a.jsonl:2 a"]


def test_order_of_times() -> None:
    found = look(view("a", T + 9_000), view("b", T), view("c", T + 9_000), view("d", T + 8_000))
    assert found.is_good
    assert found.warnings["out_of_order"].places == ["a.jsonl:2", "a.jsonl:4"]
    assert (found.furthest_back_ms, found.first_event_time_ms, found.last_event_time_ms) == (9_000, T, T + 9_000)


def test_join_keys() -> None:
    assert "unknown_impression" in look(view("a", shown_in="p")).warnings
    assert "item_not_in_slate" in look(shown("p", ["j"]), view("a", shown_in="p")).errors
    before = look(view("a", T - 1, shown_in="p"), shown("p", ["i"], T))
    assert "interaction_before_impression" in before.errors
    assert "repeated_impression_id" in look(shown("p", ["j"]), shown("q", ["j"])).errors
    # the order of the lines does not matter, only the times
    assert look(view("a", T + 1, shown_in="p"), shown("p", ["i"], T)).joined_interactions == 1


def test_unknown_items_matter_only_where_a_catalogue_is_given() -> None:
    assert not look(view("a")).warnings
    found = look(view("a"), view("b", item="j"), described("j", title=None))
    assert found.warnings["unknown_item"].places == ["a.jsonl:1 i"]
    assert found.warnings["item_without_title"].count == 1


def test_sessions_are_cut_at_gaps_of_each_user() -> None:
    minute = 60_000
    events = [view(str(n), T + n * minute) for n in (0, 1, 2, 40, 41)] + [view("o", T + 3 * minute, user="v")]
    found = look(*events)
    assert found.sessions == 3
    assert found.session_length_quantiles == {"p50": 2.0, "p95": 2.9, "max": 3.0}


def test_places_are_bounded_and_everything_is_json() -> None:
    found = look(*[EventError("wrong_type", "x")] * 50, view("a"))
    assert found.rejected["wrong_type"].count == 50 and len(found.rejected["wrong_type"].places) == 20
    assert json.loads(json.dumps(found.as_json()))["rejected"]["wrong_type"]["count"] == 50


def test_the_simulator_is_good() -> None:
    source = SimulatorSource(limit=2_000)
    found = look(*source.items(), *source.events())
    assert found.is_good and found.joined_interactions == found.types["interaction"]
    assert found.clicks_by_position[0] > found.clicks_by_position[-1]
