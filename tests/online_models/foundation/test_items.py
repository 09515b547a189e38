from __future__ import annotations

import pytest
import torch
from torch import nn

from online_models.batch import UNKNOWN
from online_models.foundation.items import SECONDS_A_DAY, ItemEncoder


@pytest.fixture
def encoder() -> ItemEncoder:
    torch.manual_seed(1)
    items = nn.Embedding(10, 4, sparse=True)
    found = ItemEncoder(items, slots=3, buckets=20)
    found.describe(2, torch.tensor([5, 6, 0]))
    found.describe(3, torch.tensor([5, 6, 0]))
    return found


def test_an_item_without_sightings_leans_on_its_metadata_and_a_seen_one_on_its_id(encoder: ItemEncoder) -> None:
    encoder.observe(torch.full((500,), 2), torch.zeros(500))
    own, kind = encoder.shares(torch.tensor([2, 3])).unbind(-1)
    assert own[0] > kind[0] and own[1] < kind[1]


def test_mixture_by_hand(encoder: ItemEncoder) -> None:
    row = torch.tensor([3])
    share = encoder.shares(row)[0]
    kind = encoder.metadata.weight[[5, 6]].mean(0)
    assert torch.allclose(encoder(row)[0], share[0] * encoder.items.weight[3] + share[1] * kind)


def test_a_masked_id_leaves_no_trace_of_the_item_but_its_metadata(encoder: ItemEncoder) -> None:
    encoder.observe(torch.tensor([2, 2, 2]), torch.tensor([0.0, 1.0, 2.0]) * SECONDS_A_DAY)
    encoder.describe(3, torch.tensor([5, 6, 0]), published_seconds=0.0)
    rows, hidden, shrink = torch.tensor([2, 3]), torch.tensor([True, True]), torch.zeros(2)
    masked = encoder(rows, hidden, shrink)
    assert torch.equal(masked[0], masked[1])
    assert not torch.equal(encoder(rows)[0], encoder(rows)[1])
    alone = encoder.gate(torch.tensor([1.0, 0.0, 0.0])).softmax(-1)[0] * encoder.items.weight[UNKNOWN]
    assert torch.allclose(masked[0] - alone, encoder(rows, hidden, shrink)[1] - alone)


def test_age_counts_from_publication_or_first_sighting(encoder: ItemEncoder) -> None:
    encoder.describe(4, torch.zeros(3, dtype=torch.int64), published_seconds=1 * SECONDS_A_DAY)
    encoder.observe(torch.tensor([4, 5]), torch.tensor([3.0, 4.0]) * SECONDS_A_DAY)
    days = encoder.signals(torch.tensor([4, 5, 6]))[:, 1].expm1()
    assert days.tolist() == pytest.approx([3.0, 0.0, 0.0])  # the clock stands at day 4; 6 has no date


def test_late_events_do_not_turn_the_clock_back(encoder: ItemEncoder) -> None:
    encoder.observe(torch.tensor([4]), torch.tensor([100.0]))
    encoder.observe(torch.tensor([4]), torch.tensor([50.0]))
    assert float(encoder.clock_seconds) == 100 and float(encoder.born_seconds[4]) == 50
