from __future__ import annotations

import numpy as np
import pytest

from online_models.counting import Cooccurrence, ItemKNN
from streamer import candidate_lists
from streamer.candidate_lists import Asked, make_lists

ROWS = 40


@pytest.fixture
def tables() -> dict[str, ItemKNN | Cooccurrence]:
    random = np.random.default_rng(1)
    learners = (ItemKNN(ROWS, 8), Cooccurrence(ROWS, 8))
    for learner in learners:
        for _ in range(100):
            learner.observe(random.integers(2, ROWS, 12), int(random.integers(2, ROWS)))
    return {learner.name: learner for learner in learners}


def asked(examples: int = 9) -> Asked:
    random = np.random.default_rng(2)
    return Asked(
        histories=random.integers(0, ROWS, (examples, 5)),
        targets=random.integers(2, ROWS, examples),
        seen=[random.integers(2, ROWS, number) for number in range(examples)],
        slates=[random.integers(2, ROWS, number % 3) for number in range(examples)],
        taken_before=[random.integers(2, ROWS, number % 2) for number in range(examples)],
        extra=random.integers(0, ROWS, (examples, 3)),
        negatives=np.unique(random.integers(2, ROWS, 12)),
    )


def test_what_a_list_holds(tables) -> None:
    given = asked()
    lists = make_lists(tables, given, limit=10, rows=ROWS)
    for place, rows in enumerate(lists.rows):
        known = rows[rows > 0].tolist()
        seen = {*given.histories[place].tolist(), *given.seen[place].tolist()}
        offered, drawn = set(rows[lists.offered[place]].tolist()), set(rows[lists.drawn[place]].tolist())
        shown = {int(given.targets[place]), *given.slates[place].tolist()}
        assert len(set(known)) == len(known) and 1 not in known
        assert not offered & seen and len(offered) <= 10
        assert shown <= set(known) and not drawn & (seen | shown | offered | set(given.taken_before[place].tolist()))
        assert drawn <= set(given.negatives.tolist())
        assert set(known) == offered | shown | drawn


def test_examples_that_are_taken_apart_get_the_same_lists(tables, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_lists(tables, asked(), limit=10, rows=ROWS)
    monkeypatch.setattr(candidate_lists, "examples_at_once", lambda rows: 4)
    parts = make_lists(tables, asked(), limit=10, rows=ROWS)
    for name, values in vars(whole).items():
        np.testing.assert_array_equal(vars(parts)[name], values)
