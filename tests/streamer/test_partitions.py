from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from feature_store.user_state import UserState
from streamer.partitions import Partition
from streamer.settings import Settings


class Showcase:
    """Notes what is shown, and how far the state was then."""

    def __init__(self) -> None:
        self.shown: list[tuple[list[str], int]] = []
        self.works = True
        self.partition: Partition | None = None

    def __call__(self, states: Sequence[UserState]) -> float | None:
        assert self.partition is not None
        self.shown.append(([state.user_id for state in states], self.partition.state.applied.offset))
        return 5.0 if self.works else None


@pytest.fixture
def showcase() -> Showcase:
    return Showcase()


@pytest.fixture
def partition(own_settings: Settings, showcase: Showcase) -> Iterator[Partition]:
    opened = Partition(0, {}, own_settings, showcase)
    showcase.partition = opened
    yield opened
    opened.close()


def test_users_are_shown_before_the_batch_is_durable(partition: Partition, showcase: Showcase, stream: Any) -> None:
    (effects,) = partition.apply(stream.records(stream.click("a", "u"), stream.click("b", "v")))
    assert showcase.shown == [(["u", "v"], -1)]
    assert effects.shown_ms == 5.0
    assert partition.state.applied.offset == 1


def test_a_store_that_does_not_take_them_holds_nothing_up(
    partition: Partition, showcase: Showcase, stream: Any
) -> None:
    showcase.works = False
    (effects,) = partition.apply(stream.records(stream.click("a")))
    assert effects.shown_ms is None, "so the delivery after the commit pushes them"
    assert partition.state.applied.offset == 0
    _, waiting = partition.state.undelivered()
    assert [state.user_id for state in waiting] == ["u"]


def test_what_was_applied_is_not_shown_again(partition: Partition, showcase: Showcase, stream: Any) -> None:
    records = stream.records(stream.click("a"))
    partition.apply(records)
    assert partition.apply(records) == []
    assert len(showcase.shown) == 1
