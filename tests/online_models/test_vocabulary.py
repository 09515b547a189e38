from __future__ import annotations

import pytest

from online_models.vocabulary import (
    ACTIONS,
    QUERY_BUCKETS,
    QUERY_LENGTH,
    SURFACES,
    action_row,
    query_tokens,
    surface_row,
)


@pytest.mark.parametrize(("row_of", "words"), [(action_row, ACTIONS), (surface_row, SURFACES)])
def test_every_word_has_its_own_row_and_none_is_padding(row_of, words) -> None:
    assert [row_of(word) for word in words] == list(range(1, len(words) + 1))
    assert row_of(None) == 0
    assert row_of("") == row_of("never heard of") == row_of("other")


def test_rows_are_what_saved_models_were_trained_with() -> None:
    # a row that moves makes every snapshot and every version on disk read another action
    assert (action_row("view"), action_row("click"), action_row("other")) == (1, 2, 9)
    assert (surface_row("home"), surface_row("search"), surface_row("other")) == (1, 2, 7)
    assert query_tokens("alien heat", 3).tolist() == [924, 3073, 0]


def test_words_are_hashed_whatever_their_case_and_punctuation() -> None:
    first, second = query_tokens("The Thing (1982)!"), query_tokens("  the, THING 1982")
    assert first.tolist() == second.tolist()
    assert (first[:3] > 0).all() and (first[3:] == 0).all()
    assert query_tokens("Ä ß 東京")[:3].min() > 0


def test_queries_have_a_fixed_length() -> None:
    assert query_tokens(None).tolist() == query_tokens("").tolist() == query_tokens("?!").tolist() == [0] * QUERY_LENGTH
    long = query_tokens(" ".join(f"w{number}" for number in range(100)))
    assert len(long) == QUERY_LENGTH and 0 < long.min() and long.max() < QUERY_BUCKETS
