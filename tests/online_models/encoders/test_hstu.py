from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from online_models.encoders.hstu import GAP_BUCKETS, HSTUEncoder, HSTULayer, RelativeBias, gap_buckets
from online_models.learner import seeded

DIMENSION, LENGTH = 8, 6


def encoder(dropout: float = 0.0) -> HSTUEncoder:
    with seeded(3):
        model = HSTUEncoder(DIMENSION, heads=2, layers=2, length=LENGTH, dropout=dropout).eval()
        for parameter in model.parameters():
            # the start is nearly linear: larger weights make every part of a layer matter
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def tokens(batch: int = 2, length: int = LENGTH) -> Tensor:
    return torch.randn(batch, length, DIMENSION, generator=torch.Generator().manual_seed(1))


def ages(batch: int = 2, length: int = LENGTH) -> Tensor:
    return torch.arange(length - 1, -1, -1.0).mul(3600).expand(batch, length)


@torch.no_grad()
def states(model: HSTUEncoder, inputs: Tensor, mask: Tensor | None = None, old: Tensor | None = None) -> Tensor:
    old = ages(*inputs.shape[:2]) if old is None else old
    mask = torch.ones(inputs.shape[:2]) if mask is None else mask
    return model(inputs, mask, key_ages=old, query_ages=old)[0]


class TestGapBuckets:
    @given(st.floats(0, 1e10), st.floats(0, 1e10))
    def test_longer_gaps_are_in_no_earlier_bucket(self, one: float, other: float) -> None:
        low, high = gap_buckets(torch.tensor(sorted([one, other]), dtype=torch.float64)).tolist()
        assert 0 <= low <= high < GAP_BUCKETS

    def test_a_minute_an_hour_a_day_and_a_year_are_told_apart(self) -> None:
        buckets = gap_buckets(torch.tensor([60.0, 3600.0, 86_400.0, 3.15e7])).tolist()
        assert len(set(buckets)) == 4

    def test_direction_does_not_matter(self) -> None:
        assert gap_buckets(torch.tensor([-500.0])).equal(gap_buckets(torch.tensor([500.0])))


class TestRelativeBias:
    def test_adds_the_entries_of_both_tables(self) -> None:
        bias = RelativeBias(length=3)
        given_bias = bias(torch.tensor([[1, 9]]), torch.tensor([[[5, 0]]]))
        expected = torch.stack([bias.positions[1] + bias.gaps[5], bias.positions[3] + bias.gaps[0]])
        assert given_bias.flatten().equal(expected)


class TestLayer:
    def test_heads_must_divide_the_dimension(self) -> None:
        with pytest.raises(ValueError, match="3 heads do not divide dimension 8; choose heads that do"):
            HSTULayer(dimension=8, heads=3, length=4, dropout=0.0)

    def test_equals_the_equation(self) -> None:
        with seeded(1):
            layer = HSTULayer(dimension=4, heads=1, length=5, dropout=0.0).eval()
            torch.nn.init.normal_(layer.fused.weight)
        inputs, distances = torch.randn(1, 3, 4), (torch.arange(3)[:, None] - torch.arange(3)).clamp(min=0)
        gate, value, query, key = torch.nn.functional.silu(layer.fused(layer.norm(inputs[0]))).chunk(4, -1)
        expected = torch.zeros(3, 4)
        for i in range(3):
            for j in range(i + 1):
                score = query[i] @ key[j] + layer.bias.positions[i - j] + layer.bias.gaps[0]
                expected[i] += torch.nn.functional.silu(score) / 5 * value[j]
        expected = inputs[0] + layer.output(layer.mixed_norm(expected) * gate)
        out = layer(inputs, torch.ones(1, 3, 3).tril(), distances, torch.zeros(1, 3, 3, dtype=torch.int64))[0]
        torch.testing.assert_close(out[0], expected)

    def test_attention_is_pointwise_so_repeats_add_up(self) -> None:
        """With softmax, ten equal keys would weigh what one does; here they weigh ten times as much."""
        with seeded(1):
            layer = HSTULayer(dimension=4, heads=1, length=10, dropout=0.0).eval()
        seen: list[Tensor] = []
        layer.mixed_norm.register_forward_hook(lambda module, given_inputs, output: seen.append(given_inputs[0]))
        token = torch.randn(1, 1, 4)
        for repeats in (1, 10):
            shape = (1, repeats, repeats)
            nothing = torch.zeros(shape, dtype=torch.int64)
            layer(token.expand(1, repeats, 4), torch.ones(shape), nothing[0], nothing)
        torch.testing.assert_close(seen[1][0, -1], 10 * seen[0][0, -1])


class TestEncoder:
    def test_is_causal(self) -> None:
        model, inputs = encoder(), tokens()
        changed = inputs.clone()
        changed[:, 4:] += 1
        before, after = states(model, inputs), states(model, changed)
        assert before[:, :4].equal(after[:, :4])
        assert not torch.allclose(before[:, 4:], after[:, 4:])

    def test_time_matters_beyond_its_order(self) -> None:
        model, inputs = encoder(), tokens()
        hours, days = states(model, inputs), states(model, inputs, old=ages() * 24)
        assert not torch.allclose(hours, days)

    def test_padding_is_not_attended_and_makes_no_nan(self) -> None:
        model, inputs, mask = encoder(), tokens(), torch.ones(2, LENGTH)
        mask[:, :3] = 0
        other = inputs.clone()
        other[:, :3] = 100.0
        first, second = states(model, inputs, mask), states(model, other, mask)
        assert first[:, 3:].equal(second[:, 3:])
        assert states(model, inputs * 0, mask * 0).isfinite().all()

    @pytest.mark.parametrize("padded", [0, 3])
    def test_extending_a_cache_is_encoding_with_one_more_event(self, padded: int) -> None:
        model, inputs, mask, candidates = encoder(), tokens(), torch.ones(2, LENGTH), tokens(length=4) * 2
        mask[:, :padded] = 0
        with torch.no_grad():
            _, keys, values = model(inputs, mask, key_ages=ages(), query_ages=ages())
            quick = model.extend(candidates, keys, values, mask, key_ages=ages())
        for place in range(4):
            longer = torch.cat([inputs, candidates[:, place : place + 1]], 1)
            old, shown = torch.cat([ages(), torch.zeros(2, 1)], 1), torch.cat([mask, torch.ones(2, 1)], 1)
            torch.testing.assert_close(quick[:, place], states(model, longer, shown, old)[:, -1], atol=1e-5, rtol=1e-5)

    def test_one_draw_of_dropout_serves_a_whole_list(self) -> None:
        model = encoder(dropout=0.5).train()
        _, keys, values = model(tokens(), torch.ones(2, LENGTH), key_ages=ages(), query_ages=ages())
        alike = tokens(length=1).expand(2, 5, DIMENSION)
        out = model.extend(alike, keys, values, torch.ones(2, LENGTH), key_ages=ages())
        torch.testing.assert_close(out, out[:, :1].expand_as(out))
