from __future__ import annotations

from streamer import joins, records
from streamer.events import Event
from streamer.examples import Example, History, Position
from streamer.records import UserRecord

WINDOW_MS = 30_000
START_MS = 1_700_000_000_000


def draft(name: str = "imp", at_ms: int = START_MS, slate: tuple[str, ...] = ("a", "b", "c")) -> Example:
    return Example(
        example_id=f"event-{name}",
        kind="impression",
        source=Position(0, 0),
        user_id="u",
        event_time_ms=at_ms,
        published_time_ms=at_ms + 5,
        history=History([], [], []),
        session_length=0,
        features=[1.0, 2.0],
        impression_id=name,
        slate=list(slate),
        outcomes=[0] * len(slate),
        propensities=[0.5] * len(slate),
        source_scores=[[1.0]] * len(slate),
        model_version="v7",
    )


def click(
    item_id: str, after_ms: int, impression_id: str | None = None, action: str = "click"
) -> tuple[Event, Example]:
    event = Event(
        event_id=f"click-{item_id}-{after_ms}",
        type="interaction",
        user_id="u",
        item_id=item_id,
        action=action,
        event_time_ms=START_MS + after_ms,
        impression_id=impression_id,
    )
    example = Example(
        example_id=event.event_id,
        kind="interaction",
        source=Position(0, 1),
        user_id="u",
        event_time_ms=event.event_time_ms,
        published_time_ms=0,
        history=History([], [], []),
        session_length=0,
        features=[0.0, 0.0],
        item_id=item_id,
        action=action,
        impression_id=impression_id,
    )
    return event, example


def join(
    record: UserRecord, item_id: str, after_ms: int, impression_id: str | None = None, action: str = "click"
) -> Example:
    return joins.join_interaction(record, *click(item_id, after_ms, impression_id, action), WINDOW_MS)


def opened(*drafts: Example) -> UserRecord:
    record = records.new_record("u")
    for one in drafts:
        assert joins.open_impression(record, one, WINDOW_MS) == []
    return record


def test_an_interaction_that_names_the_impression_gets_slate_and_what_was_served() -> None:
    joined = join(opened(draft()), "b", 1_000, "imp")
    assert (joined.slate, joined.outcomes) == (["a", "b", "c"], [0, 1, 0])
    assert (joined.features, joined.propensities, joined.model_version) == ([1.0, 2.0], [0.5] * 3, "v7")


def test_a_second_interaction_sees_the_first_outcome() -> None:
    record = opened(draft())
    join(record, "b", 1_000, "imp")
    assert join(record, "c", 2_000, "imp").outcomes == [0, 1, 1]


def test_without_a_name_the_latest_slate_with_the_item_is_taken() -> None:
    record = opened(draft("old"), draft("new", START_MS + 1_000), draft("other", START_MS + 2_000, ("x",)))
    assert join(record, "a", 3_000).impression_id == "new"


def test_outside_of_the_window_or_of_the_slate_nothing_is_joined() -> None:
    record = opened(draft())
    assert join(record, "a", WINDOW_MS + 1, "imp").slate is None
    assert join(record, "z", 1_000).slate is None
    assert join(record, "a", WINDOW_MS, "imp").slate is not None


def test_a_skip_answers_the_slate_but_is_no_taken_item() -> None:
    record = opened(draft())
    assert join(record, "a", 1_000, "imp", "skip").outcomes == [0, 0, 0]
    assert joins.close_due(record, START_MS + WINDOW_MS + 1, WINDOW_MS) == []


def test_an_unanswered_slate_closes_once_by_event_time() -> None:
    record = opened(draft())
    assert joins.close_due(record, START_MS + WINDOW_MS, WINDOW_MS) == []
    closed = joins.close_due(record, START_MS + WINDOW_MS + 1, WINDOW_MS)
    assert [(one.example_id, one.outcomes) for one in closed] == [("event-imp", [0, 0, 0])]
    assert joins.close_due(record, START_MS + WINDOW_MS + 2, WINDOW_MS) == []


def test_a_sweep_closes_by_arrival() -> None:
    record = opened(draft("one"), draft("two", START_MS + 1_000))
    assert joins.oldest_arrival_ms(record) == START_MS + 5
    assert [one.impression_id for one in joins.close_arrived_before(record, START_MS + 5)] == ["one"]
    assert joins.oldest_arrival_ms(record) == START_MS + 1_005


def test_an_answer_that_overtook_its_impression_is_found_again() -> None:
    record = records.new_record("u")
    assert join(record, "b", 1_000, "imp").slate is None
    joins.open_impression(record, draft(), WINDOW_MS)
    assert record.unmatched_impression_ids == []
    assert joins.close_due(record, START_MS + WINDOW_MS + 1, WINDOW_MS) == []


def test_an_unnamed_answer_that_overtook_its_impression_is_found_in_the_history() -> None:
    record = records.new_record("u")
    record.user.item_ids, record.user.actions, record.user.event_times_ms = ["b"], ["click"], [START_MS + 10]
    joins.open_impression(record, draft(), WINDOW_MS)
    assert record.pending[0].outcomes == [0, 1, 0]
    assert joins.close_due(record, START_MS + WINDOW_MS + 1, WINDOW_MS) == []


def test_open_slates_are_bounded_and_the_oldest_is_given_up() -> None:
    record = opened(*(draft(str(n), START_MS + n) for n in range(joins.PENDING_LIMIT)))
    assert [one.impression_id for one in joins.open_impression(record, draft("more"), WINDOW_MS)] == ["0"]
    assert len(record.pending) == joins.PENDING_LIMIT
