from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import torch

from online_models import state_tree
from online_models.batch import Batch
from online_models.checks import example_batch
from streamer.replay_buffer import ReplayBuffer
from streamer.snapshots import load, save


def numbered(number: int) -> Batch:
    batch = example_batch(seed=1, examples=1, candidates=3)
    return replace(batch, weights=torch.tensor([float(number)]))


def offered(buffer: ReplayBuffer, count: int, first: int = 0) -> list[int]:
    """Offer batches numbered from ``first``; the numbers of those that came back."""
    old = [buffer.exchange(numbered(number)) for number in range(first, first + count)]
    return [int(batch.weights) for batch in old if batch is not None]


def test_a_share_of_zero_keeps_and_gives_nothing() -> None:
    buffer = ReplayBuffer(share=0.0)
    assert offered(buffer, 20) == [] and buffer.state_dict()["batches"] == []


def test_a_share_of_one_always_gives_an_older_one() -> None:
    buffer = ReplayBuffer(share=1.0, batches=100)
    given = offered(buffer, 50)
    assert len(given) == 49, "at first there is none"
    assert all(old <= number for number, old in enumerate(given)), "a batch is never its own past"
    assert len(set(given)) > 15


def test_the_share_is_kept() -> None:
    assert 60 < len(offered(ReplayBuffer(share=0.25, seed=2), 400)) < 140


def test_it_is_a_sample_of_the_whole_past_and_bounded() -> None:
    kept: Counter[bool] = Counter()
    for seed in range(40):
        buffer = ReplayBuffer(share=1.0, batches=4, seed=seed)
        offered(buffer, 100)
        batches = buffer.state_dict()["batches"]
        assert len(batches) == 4
        kept.update(float(batch["weights"]) < 50 for batch in batches)
    assert 50 < kept[True] < 110, f"{kept[True]} of 160 come from the first half"


def test_it_resumes_exactly_through_a_file(tmp_path) -> None:
    buffer, again = ReplayBuffer(share=0.5, batches=3, seed=1), ReplayBuffer(share=0.5, batches=3, seed=9)
    offered(buffer, 10)
    save(tmp_path / "one.safetensors", buffer.state_dict())
    again.load_state_dict(load(tmp_path / "one.safetensors")[0])
    assert state_tree.equal(buffer.state_dict(), again.state_dict())
    assert offered(buffer, 30, first=10) == offered(again, 30, first=10)
    taught = replace(numbered(7), teacher_logits=torch.ones(1, 3))
    whole = ReplayBuffer(share=1.0)
    whole.exchange(taught)
    again.load_state_dict(whole.state_dict())
    again.share = 1.0
    old = again.exchange(numbered(8))
    assert old is not None and old.teacher_logits is not None and old.context.time_seconds.dtype == torch.float64


def test_items_that_have_left_are_blanked() -> None:
    buffer, batch = ReplayBuffer(share=1.0), example_batch(seed=1, examples=4, candidates=5)
    place = batch.labels[0].argmax()
    target, other = int(batch.candidates.items[0, place]), int(batch.context.history_items[1, -1])
    before = batch.candidates.items.clone()
    buffer.exchange(batch)
    buffer.forget(np.array([target, other]))
    old = buffer.exchange(batch)
    assert old is not None
    assert not torch.isin(torch.tensor([target, other]), old.candidates.items).any()
    assert not torch.isin(torch.tensor([target, other]), old.context.history_items).any()
    assert old.context.history_items[1, -1] == 1, "an event on an item that has left is still an event"
    assert old.labels[0].sum() == 0 and ((old.labels == 0) | old.candidates.mask).all()
    assert torch.equal(batch.candidates.items, before), "the batch that was offered is not touched"
