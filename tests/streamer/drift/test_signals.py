from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict

from msgspec.structs import replace

from online_models import state_tree
from streamer.drift.settings import Drift
from streamer.drift.signals import DIRECTIONS, OBSERVED, TESTED, Found, Signals
from streamer.examples import Example

DRIFT = Drift(warm_up_examples=320)


def taken(walk: Callable[..., list[Example]], number: int, first: int, items: int = 40, turn: int = 0) -> list[Example]:
    """Items with a few that are much commoner than the rest; ``turn`` makes others the common ones."""
    draw = random.Random(first)
    names = [f"i{(min(int(draw.expovariate(0.2)), items - 1) + turn) % items}" for _ in range(number)]
    return [replace(one, item_id=name) for one, name in zip(walk(number, first), names, strict=True)]


def found(signals: Signals, examples: list[Example], first: int) -> list[Found]:
    return [one for number, e in enumerate(examples, start=first) for one in signals.observe(e, (), number)]


def test_what_is_watched_has_a_direction_and_needs_scores_or_not() -> None:
    assert set(Signals(DRIFT).levels_watched) == set(DIRECTIONS) == set(TESTED) | set(OBSERVED)


def test_other_items_being_taken_is_noticed_without_any_score(walk: Callable[..., list[Example]]) -> None:
    signals = Signals(DRIFT)
    assert found(signals, taken(walk, 5_000, 0), 0) == []
    (first, *_) = found(signals, taken(walk, 400, 5_000, turn=20), 5_000)
    assert first.signal == "surprise" and abs(first.since_example - 5_000) < 32 and first.shift.after.mean > 5
    assert not signals.suspicious, "more scores would not help"


def test_it_goes_on_from_its_state(walk: Callable[..., list[Example]]) -> None:
    signals, again = Signals(DRIFT), Signals(DRIFT)
    found(signals, taken(walk, 5_000, 0), 0)
    again.load_state_dict(state_tree.unpack(*state_tree.pack(signals.state_dict())))
    (first, *_) = found(again, taken(walk, 400, 5_000, turn=20), 5_000)
    assert first.signal == "surprise" and abs(first.since_example - 5_000) < 32


def test_a_state_from_before_there_was_behaviour_is_read(walk: Callable[..., list[Example]]) -> None:
    signals, again = Signals(DRIFT), Signals(DRIFT)
    found(signals, taken(walk, 100, 0), 0)
    again.load_state_dict(signals.state_dict()["levels"])
    assert asdict(again.levels_watched["surprise"].strictness) == asdict(signals.levels_watched["surprise"].strictness)
    assert found(again, taken(walk, 10, 100), 100) == []
