from __future__ import annotations

import pytest

from streamer.satisfaction import satisfied


@pytest.mark.parametrize(
    ("action", "value", "expected"),
    [
        ("like", None, 1.0), ("purchase", 9.5, 1.0), ("view", None, 0.0), ("skip", None, 0.0), ("cart", None, 0.0),
        ("rating", 4.0, 1.0), ("rating", 3.5, 0.0), ("rating", None, None),
        ("play", 45.0, 1.0), ("play", 5.0, 0.0), ("play", None, None),
    ],
)  # fmt: skip
def test_what_counts_as_satisfaction(example, action: str, value: float | None, expected: float | None) -> None:
    assert satisfied(example(0, action=action, value=value), long_play_seconds=30.0) == expected


def test_nothing_taken_says_nothing(example) -> None:
    assert satisfied(example(0, item_id=None, kind="impression", action=None, slate=["a"], outcomes=[0])) is None
