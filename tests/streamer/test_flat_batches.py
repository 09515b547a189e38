from __future__ import annotations

from dataclasses import replace

import torch

from online_models import state_tree
from online_models.batch import concatenate
from online_models.checks import example_batch
from streamer.flat_batches import flat, unflat, widened, without


def test_what_is_taken_apart_is_put_together_again() -> None:
    batch = replace(example_batch(seed=2), teacher_logits=torch.full((8, 12), torch.nan))
    again = unflat(flat(batch))
    assert state_tree.equal(flat(again), flat(batch)) and again.retrieved is None


def test_padding_is_no_candidate_and_lets_batches_join() -> None:
    short, long = example_batch(seed=1, candidates=4), example_batch(seed=2, candidates=9)
    short, long = (replace(one, retrieved=one.candidates.mask) for one in (short, long))
    joined = concatenate([widened(short, 9), widened(long, 9)])
    assert joined.offered[:8].sum() == short.offered.sum() and not joined.retrieved[:8, 4:].any()
    assert torch.equal(joined.candidates.source_scores[:8, :4], short.candidates.source_scores)
    assert widened(long, 5) is long


def test_a_row_that_has_left_is_gone_from_history_and_candidates() -> None:
    batch = example_batch(seed=4)
    gone = torch.stack([batch.candidates.items[0, 0], batch.context.history_items[1, -1]])
    left = without(batch, gone)
    for items in (left.candidates.items, left.context.history_items, left.context.source_item):
        assert not torch.isin(items, gone).any()
    assert not (left.labels[torch.isin(batch.candidates.items, gone)]).any()
