from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models.evaluation.interactions import Histories
from online_models.sequences import Sequences
from online_models.stochastic_length import (
    Choice,
    by_recency,
    expected_tokens,
    kept_lengths,
    newest,
    short_length,
    shortened,
    stochastic_length,
    uniform,
)


def histories(lengths: list[int], width: int) -> Sequences:
    """Histories that count their items and seconds from 1."""
    numbers = torch.arange(width) - (width - torch.tensor(lengths))[:, None] + 1  # [B, T]
    mask = numbers > 0
    return Sequences(
        items=numbers * mask,
        actions=mask.long(),
        times_seconds=(numbers * mask).double(),
        target_weights=((numbers > 1) & mask).float(),
        users=torch.arange(len(lengths)),
        asked_seconds=torch.tensor(lengths).double() + 1,
    )


class TestKeptLengths:
    def test_histories_stay_whole_as_often_as_the_rule_says(self) -> None:
        maximum, alpha, length, draws = 256, 1.6, 200, 20_000
        kept = kept_lengths(torch.full((draws,), length), maximum, alpha, torch.Generator().manual_seed(5))
        share, chance = (kept == length).double().mean().item(), maximum**alpha / length**2
        assert set(kept.tolist()) == {short_length(maximum, alpha), length}
        assert abs(share - chance) < 4 * (chance * (1 - chance) / draws) ** 0.5

    def test_short_histories_are_never_cut(self) -> None:
        lengths = torch.arange(short_length(256, 1.6) + 1)
        for seed in range(20):
            assert kept_lengths(lengths, 256, 1.6, torch.Generator().manual_seed(seed)).equal(lengths)

    def test_alpha_two_keeps_everything(self) -> None:
        lengths = torch.arange(257)
        assert kept_lengths(lengths, 256, 2.0, torch.Generator().manual_seed(1)).equal(lengths)

    @pytest.mark.parametrize("alpha", [0.9, 2.1])
    def test_alpha_outside_its_range_is_refused(self, alpha: float) -> None:
        with pytest.raises(ValueError, match=rf"alpha is {alpha}; it must lie in \[1, 2\]"):
            kept_lengths(torch.tensor([5]), 10, alpha, torch.Generator())


class TestCost:
    @given(st.integers(0, 4096), st.floats(1, 2))
    def test_attention_costs_no_more_than_twice_its_law(self, length: int, alpha: float) -> None:
        attention = expected_tokens(torch.tensor([length]), 4096, alpha, power=2).item()
        assert attention <= 2 * 4096**alpha + 1e-6

    def test_the_mean_of_many_draws_is_the_expectation(self) -> None:
        lengths = torch.full((20_000,), 300)
        kept = kept_lengths(lengths, 512, 1.5, torch.Generator().manual_seed(2)).double()
        expected = expected_tokens(lengths[:1], 512, 1.5).item()
        assert abs(kept.mean().item() - expected) < 4 * kept.std().item() / 20_000**0.5


class TestStochasticLength:
    @settings(max_examples=50, deadline=None)
    @given(
        st.lists(st.integers(0, 40), min_size=1, max_size=5),
        st.sampled_from([newest, uniform, by_recency]),
        st.integers(0, 1000),
    )
    def test_keeps_a_subsequence_with_the_newest_event(self, lengths: list[int], choose: Choice, seed: int) -> None:
        whole = histories(lengths, 40)
        cut = stochastic_length(whole, 40, 1.2, torch.Generator().manual_seed(seed), choose)
        for row, length in enumerate(lengths):
            kept = cut.items[row][cut.items[row] > 0].tolist()
            assert kept == sorted(set(kept))
            assert len(kept) in (min(length, short_length(40, 1.2)), length)
            assert (kept[-1:] == [length]) == (length > 0)
            assert cut.mask[row].int().diff().ge(0).all(), "padding must stand in front"
            assert cut.times_seconds[row].tolist() == cut.items[row].tolist(), "columns must be cut alike"

    def test_the_oldest_of_what_is_left_is_no_target(self) -> None:
        cut = stochastic_length(histories([100], 100), 100, 1.0, torch.Generator().manual_seed(1), newest)
        assert cut.target_weights.tolist() == [[0.0] + [1.0] * 9]

    def test_recent_events_are_kept_more_often(self) -> None:
        many = histories([20] * 4000, 20)
        old = torch.tensor([0.0] + [1e6] * 19, dtype=torch.float64)  # one event long before the others
        many.times_seconds.copy_(old.expand(4000, 20) + many.times_seconds)
        cut = stochastic_length(many, 20, 1.5, torch.Generator().manual_seed(1), by_recency)
        short = cut.mask.sum(1) < 20
        kept = torch.stack([(cut.items[short] == item).any(1).double().mean() for item in range(1, 20)])
        assert kept[0] < 0.02 < kept[1:].min()


class TestShortened:
    def test_long_histories_are_cut_and_short_ones_untouched(self) -> None:
        short, lists = short_length(40, 1.2), [list(range(2, 2 + length)) for length in (0, 1, 5, 9, 10, 40) * 50]
        whole = Histories.of(lists, times_seconds=[[float(item) for item in items] for items in lists])
        cut = shortened(whole, 40, 1.2, torch.Generator().manual_seed(3))
        for place, items in enumerate(lists):
            kept = cut.items_of(place).tolist()
            assert len(kept) in (min(len(items), short), len(items))
            assert kept == sorted(set(kept)) and set(kept) <= set(items) and kept[-1:] == items[-1:]
        assert cut.times_seconds.tolist() == cut.items.tolist(), "columns must be cut alike"
        assert set(cut.lengths[5::6].tolist()) == {short, 40}, "some of the longest stay whole, others are cut"
        assert cut.users.tolist() == whole.users.tolist()

    def test_the_padded_and_the_ragged_form_cut_alike(self) -> None:
        whole = Histories.of([list(range(2, 42))] * 30)
        rows = histories([40] * 30, 40)
        ragged = shortened(whole, 40, 1.2, torch.Generator().manual_seed(4), newest)
        padded = stochastic_length(rows, 40, 1.2, torch.Generator().manual_seed(4), newest)
        assert ragged.lengths.tolist() == padded.mask.sum(1).tolist()
        assert ragged.items.tolist() == (padded.items[padded.mask] + 1).tolist()

    def test_what_is_dropped_is_drawn_anew(self) -> None:
        whole, draws = Histories.of([list(range(2, 102))] * 20), torch.Generator().manual_seed(5)
        first, second = (shortened(whole, 100, 1.2, draws).items.tolist() for _ in range(2))
        assert first != second
