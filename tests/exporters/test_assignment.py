from __future__ import annotations

from collections import Counter

import pytest

from exporters.assignment import Assignment
from exporters.errors import AssignmentError

USERS = [f"user-{number}" for number in range(100_000)]


def assigned(shares: dict[str, float], salt: str = "") -> list[str]:
    assignment = Assignment(shares, salt)
    return [assignment.of(user) for user in USERS]


def test_everybody_stays_with_one_student_and_the_shares_are_kept() -> None:
    shares = {"student": 0.6, "caser": 0.3, "other": 0.1}
    found = assigned(shares)
    assert found == assigned(dict(reversed(shares.items()))), "neither the run nor the order of the shares matters"
    for name, count in Counter(found).items():
        assert count / len(USERS) == pytest.approx(shares[name], abs=0.01)


def test_between_two_students_only_the_difference_moves() -> None:
    before, after = assigned({"student": 0.9, "caser": 0.1}), assigned({"student": 0.5, "caser": 0.5})
    moves = Counter(pair for pair in zip(before, after, strict=True) if pair[0] != pair[1])
    assert set(moves) == {("student", "caser")}
    assert moves["student", "caser"] / len(USERS) == pytest.approx(0.4, abs=0.01)


def test_a_new_student_takes_its_share_from_the_others_and_moves_nobody_else() -> None:
    before = assigned({"student": 0.5, "caser": 0.5})
    after = assigned({"student": 0.4, "caser": 0.4, "third": 0.2})
    moves = Counter(pair for pair in zip(before, after, strict=True) if pair[0] != pair[1])
    assert set(moves) == {("student", "third"), ("caser", "third")}
    assert sum(moves.values()) / len(USERS) == pytest.approx(0.2, abs=0.01)


def test_a_student_that_is_away_gives_its_users_to_the_others_by_their_shares() -> None:
    assignment = Assignment({"student": 0.5, "caser": 0.3, "other": 0.2})
    present = {"student", "other"}
    moved = Counter()
    for user in USERS:
        own, now = assignment.of(user), assignment.of(user, present)
        assert now in present and (own == now or own == "caser")
        moved[now] += own == "caser"
    assert moved["student"] / moved["other"] == pytest.approx(0.5 / 0.2, rel=0.05)
    assert assignment.of("ada", present=set()) == assignment.of("ada"), "nobody is there: as if all were"


def test_another_salt_mixes_the_users_anew() -> None:
    shares = {"student": 0.5, "caser": 0.5}
    same = sum(one == two for one, two in zip(assigned(shares, "a"), assigned(shares, "b"), strict=True))
    assert same / len(USERS) == pytest.approx(0.5, abs=0.01)


def test_a_share_of_nothing_gets_nobody() -> None:
    assert set(assigned({"student": 1.0, "caser": 0.0})) == {"student"}


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ({"student": 0.5, "caser": 0.4}, "student = 0.5, caser = 0.4; they sum to 0.9"),
        ({"student": 1.5, "caser": -0.5}, "caser = -0.5"),
        ({"student": float("nan")}, "student = nan"),
        ({}, "given as nothing"),
    ],
)
def test_shares_that_make_no_sense_are_refused(shares: dict[str, float], told: str) -> None:
    with pytest.raises(AssignmentError, match=told):
        Assignment(shares)
