from __future__ import annotations

import math

import pytest

from streamer.baselines import WEEK_SECONDS, Taken, measure

NAMES = ("popular_7d", "item_knn", "river")


def stream(*rounds: str, asked_from: int = 0, seconds: float = 60.0) -> list[Taken]:
    """Each word is a user, each letter an item taken by it."""
    users = [(f"u{number}", item) for number, word in enumerate(rounds) for item in word]
    return [Taken(user, item, place * seconds, place >= asked_from) for place, (user, item) in enumerate(users)]


def test_without_an_ask_there_is_nothing_to_say() -> None:
    assert measure([]) == {} and measure(stream("abc", asked_from=99)) == {}


def test_every_baseline_has_both_figures() -> None:
    figures = measure(stream("abc", "abc"))
    assert set(figures) == {f"{name}_{metric}@10" for name in NAMES for metric in ("hr", "ndcg")}
    assert all(0 <= value <= 1 for value in figures.values())


def test_a_first_sighting_is_a_miss_in_the_smallest_catalogue() -> None:
    assert set(measure(stream("a")).values()) == {0.0}
    assert set(measure(stream("ab", "cd")).values()) == {0.0}


def test_it_is_told_of_an_event_only_after_it_was_tested() -> None:
    events = stream("a", "a")
    assert measure(events[:1])["popular_7d_hr@10"] == 0 and measure(events)["popular_7d_hr@10"] == 0.5


def test_neighbours_by_hand() -> None:
    # u0, u1 take a then b; u2 takes c then d. Asked: u3's b after a (a knows b, and nothing else), u4's d after a.
    events = [*stream("ab", "ab", "cd", asked_from=99)]
    events += [Taken("u3", "a", 900, False), Taken("u3", "b", 901, True)]
    figures = measure(events)
    assert figures["item_knn_hr@10"] == figures["item_knn_ndcg@10"] == 1
    events += [Taken("u4", "a", 902, False), Taken("u4", "d", 903, True)]
    figures = measure(events)
    assert figures["item_knn_hr@10"] == 0.5, "an item without any tie to the history cannot be scored"


def test_what_the_user_has_taken_is_left_out_as_by_the_server() -> None:
    # a is the most popular by far, but u9 has it already: b stands first for them
    events = [*stream("a", "a", "a", "b", "b", "c", asked_from=99), Taken("u9", "a", 500, False)]
    assert measure([*events, Taken("u9", "b", 501, True)])["popular_7d_ndcg@10"] == 1
    assert measure([*events, Taken("u9", "a", 501, True)])["popular_7d_hr@10"] == 0, "no list would hold it"


def test_ties_count_against_it() -> None:
    events = [*stream("a", "b", "c", asked_from=99), Taken("u9", "b", 500, True)]
    assert measure(events)["popular_7d_ndcg@10"] == pytest.approx(1 / math.log2(3 + 1))


def test_popularity_is_of_seven_days() -> None:
    events = [Taken(f"u{number}", "old", 0.0, False) for number in range(9)] + [Taken("u", "new", 100.0, False)]
    now = WEEK_SECONDS + 50
    assert measure([*events, Taken("v", "old", now, True)])["popular_7d_hr@10"] == 0, "nobody has taken it this week"
    assert measure([*events, Taken("v", "new", now, True)])["popular_7d_ndcg@10"] == 1


def test_a_catalogue_longer_than_the_list_separates_them() -> None:
    crowd = [f"{chr(97 + number)}{chr(98 + number)}" for number in range(0, 24, 2)] * 6  # 24 items in twelve pairs
    figures = measure(stream(*crowd, asked_from=72))
    assert figures["item_knn_ndcg@10"] == pytest.approx(0.5), "every second item follows from the first of its pair"
    assert figures["popular_7d_hr@10"] < 0.5


def test_same_seed_same_figures_and_progress_is_told() -> None:
    events, told = stream("abcd", "bcda", "dcba", "abdc"), []
    assert measure(events, seed=3, progress=told.append) == measure(events, seed=3)
    assert told == [0]
