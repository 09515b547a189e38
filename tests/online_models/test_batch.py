from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from online_models.batch import Batch, Candidates, Context, concatenate, take
from online_models.checks import example_batch


def same(first: Batch, second: Batch) -> bool:
    pairs = [(first.context, second.context, Context), (first.candidates, second.candidates, Candidates)]
    equal = [torch.equal(getattr(a, f.name), getattr(b, f.name)) for a, b, kind in pairs for f in fields(kind)]
    own = ("labels", "log_q", "weights", "actions")
    return all(equal) and all(torch.equal(getattr(first, name), getattr(second, name)) for name in own)


def test_concatenating_the_parts_gives_the_whole() -> None:
    batch = example_batch(seed=3, examples=6)
    parts = [take(batch, torch.tensor(rows)) for rows in ([0, 1], [2], [3, 4, 5])]
    assert [len(part) for part in parts] == [2, 1, 3]
    assert same(concatenate(parts), batch)


def test_take_picks_in_the_order_asked_for_and_may_repeat() -> None:
    batch = example_batch(seed=3, examples=4)
    picked = take(batch, torch.tensor([3, 0, 0]))
    assert torch.equal(picked.labels, batch.labels[[3, 0, 0]])
    assert torch.equal(picked.context.user, batch.context.user[[3, 0, 0]])
    assert torch.equal(picked.candidates.source_scores[1], picked.candidates.source_scores[2])


def test_teacher_logits_need_every_part_to_have_them() -> None:
    batch = example_batch(seed=3, examples=2)
    taught = replace(batch, teacher_logits=torch.ones(batch.labels.shape))
    assert concatenate([batch, taught]).teacher_logits is None
    both = concatenate([taught, taught]).teacher_logits
    assert both is not None and len(both) == 4
    one = take(taught, torch.tensor([1])).teacher_logits
    assert one is not None and len(one) == 1 and take(batch, torch.tensor([1])).teacher_logits is None


def test_what_was_not_retrieved_was_not_offered() -> None:
    batch = example_batch(seed=3, examples=2, candidates=3)
    assert batch.offered.all(), "where nothing is said everything was"
    marked = replace(batch, retrieved=torch.tensor([[True, False, True], [False, True, True]]))
    batch.candidates.items[0, 2] = 0
    assert marked.offered.tolist() == [[True, False, False], [False, True, True]]
    assert take(marked, torch.tensor([1])).offered.tolist() == [[False, True, True]]


def test_padding_is_no_candidate() -> None:
    batch = example_batch(seed=3, examples=1, candidates=3)
    items = batch.candidates.items.clone()
    items[0, 1] = 0
    assert replace(batch.candidates, items=items).mask.tolist() == [[True, False, True]]


def test_parts_of_different_width_are_refused() -> None:
    with pytest.raises(RuntimeError, match="[Ss]izes of tensors must match"):
        concatenate([example_batch(candidates=4), example_batch(candidates=5)])


def test_a_batch_cannot_be_changed_and_takes_names_only() -> None:
    batch = example_batch(examples=1)
    with pytest.raises(AttributeError):
        batch.labels = batch.log_q  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional"):
        Candidates(batch.candidates.items, batch.candidates.source_scores, batch.candidates.features)  # type: ignore
