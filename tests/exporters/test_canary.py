from __future__ import annotations

from types import SimpleNamespace

import pytest

from exporters.canary import Canary, CanaryRules

USERS = [f"u{number}" for number in range(400)]


def canary(**more) -> Canary:
    made = Canary(CanaryRules(share=0.25, fewest=30, **more), clock=lambda: made_at[0])
    made.begin(SimpleNamespace(version="000002-ab"))
    return made


made_at = [0.0]


def serve(tried: Canary, hits_of_new: float, hits_of_old: float, fallbacks_of_new: int = 0) -> None:
    """Everybody gets a list; the given shares of each arm take something from it."""
    for number, user in enumerate(USERS * 3):
        new = tried.tries(user)
        tried.count_list(user, fallback=new and number % 10 < fallbacks_of_new)
        if number % 10 < 10 * (hits_of_new if new else hits_of_old):
            tried.count_outcome(user)


def test_the_same_users_try_every_version_and_about_the_given_share():
    first, second = canary(), canary()
    trying = [user for user in USERS if first.tries(user)]
    assert trying == [user for user in USERS if second.tries(user)] and 60 < len(trying) < 140
    assert trying != [user for user in USERS if Canary(CanaryRules(share=0.25), "other").tries(user)]


def test_nobody_tries_where_it_is_off():
    off = Canary(CanaryRules())
    assert not off.on and not any(off.tries(user) for user in USERS)


def test_clearly_fewer_hits_are_a_complaint_and_the_same_or_more_are_none():
    bad, same, better = canary(), canary(), canary()
    serve(bad, 0.1, 0.5)
    serve(same, 0.5, 0.5)
    serve(better, 0.6, 0.5)
    assert "interactions a list" in bad.complaint() and same.complaint() == better.complaint() == ""


def test_clearly_more_fallbacks_are_a_complaint():
    bad = canary()
    serve(bad, 0.5, 0.5, fallbacks_of_new=6)
    assert "fall-backs" in bad.complaint()


def test_too_few_lists_say_nothing():
    few = canary()
    for user in USERS[:40]:
        few.count_list(user, fallback=few.tries(user))
    assert few.complaint() == ""


@pytest.mark.parametrize(("seconds", "due"), [(59.0, False), (60.0, True)])
def test_a_trial_ends_by_time(seconds, due):
    made_at[0] = 0.0
    tried = canary()
    made_at[0] = seconds
    assert tried.due() is due


def test_a_trial_ends_by_lists_and_is_described():
    made_at[0] = 0.0
    tried = canary(lists=20)
    serve(tried, 0.5, 0.5)
    shown = tried.describe()
    assert (
        tried.due() and shown["version"] == "000002-ab" and shown["canary"]["lists"] + shown["stable"]["lists"] == 1200
    )
    tried.end()
    assert tried.describe() is None
    tried.count_list("u1", fallback=True)
    assert tried._arms["stable"].lists + tried._arms["canary"].lists == 1200


def test_other_rules_are_followed_in_the_middle_of_a_trial():
    made_at[0] = 0.0
    tried = canary()
    serve(tried, 0.5, 0.5)
    tried.change(CanaryRules(share=0.25, seconds=5))
    assert tried.describe()["stable"]["lists"] > 0, "the same users try: what was counted counts"
    made_at[0] = 5.0
    assert tried.due()
    tried.change(CanaryRules(share=0.5, seconds=6))
    assert tried.describe() == {
        "version": "000002-ab", "share": 0.5,
        "stable": {"lists": 0, "hits": 0, "fallbacks": 0}, "canary": {"lists": 0, "hits": 0, "fallbacks": 0},
    } and not tried.due()  # fmt: skip
    before = {user for user in USERS if canary().tries(user)}
    assert before < {user for user in USERS if tried.tries(user)}, "a larger share takes nobody back"
    tried.change(CanaryRules(share=0.5, seconds=6), "other")
    assert before - {user for user in USERS if tried.tries(user)}


def test_turned_off_in_the_middle_of_a_trial_it_is_due_and_what_it_saw_counts():
    bad = canary()
    serve(bad, 0.1, 0.5)
    bad.change(CanaryRules(fewest=30))
    assert bad.due() and not any(bad.tries(user) for user in USERS) and "interactions" in bad.complaint()
