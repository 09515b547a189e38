from __future__ import annotations

import torch

from online_models.encoders.windows import causal, within

NONE = torch.ones(1, 4)


def test_the_past_is_seen_and_nothing_else() -> None:
    assert causal(NONE)[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_padding_is_seen_by_itself_alone() -> None:
    allowed = causal(torch.tensor([[0.0, 0.0, 1.0, 1.0]]))[0, 0].int().tolist()
    assert allowed == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]


def test_the_window_is_a_time_and_not_a_count() -> None:
    ages = torch.tensor([[1_000.0, 700.0, 690.0, 0.0]])
    allowed = within(causal(NONE), ages, 300.0)[0, 0].int().tolist()
    assert allowed == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]


def test_the_bound_itself_belongs_to_the_window() -> None:
    ages = torch.tensor([[100.0, 50.0, 49.0, 0.0]])
    assert within(causal(NONE), ages, 50.0)[0, 0].int().tolist()[3] == [0, 1, 1, 1]


def test_users_have_windows_of_their_own() -> None:
    ages = torch.tensor([[90.0, 60.0, 30.0, 0.0], [900.0, 600.0, 300.0, 0.0]])
    seen = within(causal(torch.ones(2, 4)), ages, 100.0)[:, 0, 3].sum(1)
    assert seen.tolist() == [4, 1]
