from __future__ import annotations

import numpy as np
import pytest
import torch

from online_models.batch import Batch, concatenate, take
from online_models.catalog import Catalog
from streamer.flat_batches import flat, unflat
from streamer.memory import Memory
from streamer.placed_labels import place, places_of_taken
from streamer.settings import Settings


@pytest.fixture
def catalog() -> Catalog:
    made = Catalog(rows=32)
    for number, item_id in enumerate("abcde"):
        made.admit(item_id, float(number))
    return made


@pytest.fixture
def batch(small_settings: Settings, example) -> tuple[Batch, Memory, list]:
    """Slates of three users over items a … e; the third has taken nothing."""
    memory = Memory(small_settings)
    known = [example(number, f"v{number}", item_id) for number, item_id in enumerate("abcde")]
    memory.admit(known)
    memory.observe(memory.build(known), known)
    slates = [
        example(10, "u", "b", slate=["a", "b", "c"], outcomes=[0, 1, 0]),
        example(11, "v", "e", slate=["e", "never seen"], outcomes=[1, 0]),
        example(12, "w", None, kind="impression", action=None, slate=["c", "d"], outcomes=[0, 0]),
    ]
    return memory.build(slates), memory, slates


def test_satisfaction_lies_at_its_example(batch, soft_label) -> None:
    made, memory, examples = batch
    labels = [
        soft_label(examples[0], {"a": 1.0}, tasks={"satisfaction": 2.5}),
        soft_label(examples[1], {"e": 1.0}),
        None,
    ]
    told = place(made, labels, memory.catalog).teacher_satisfaction
    assert told is not None and told[0] == 2.5 and told[1:].isnan().all()


def test_logits_lie_at_their_items(batch, soft_label) -> None:
    made, memory, examples = batch
    labels = [
        soft_label(examples[0], {"c": 3.0, "z": 2.5, "a": -1.0}, remainder=0.25),  # b was not kept, z has no row
        None,
        soft_label(examples[2], {"d": 1.0, "c": 0.5}),
    ]
    placed = place(made, labels, memory.catalog)
    found = [
        {memory.catalog.id_of(row): logit for row, logit in zip(rows, logits, strict=True) if logit == logit}
        for rows, logits in zip(made.candidates.items.tolist(), placed.teacher_logits.tolist(), strict=True)
    ]
    assert found == [{"a": -1.0, "c": 3.0}, {}, {"c": 0.5, "d": 1.0}]
    assert placed.teacher_remainder.tolist() == [0.25, -np.inf, 0.5]
    assert made.teacher_logits is None, "the batch itself is as it was"


def test_an_unknown_item_never_lends_its_logit_to_another(batch, soft_label) -> None:
    made, memory, examples = batch
    placed = place(made, [None, soft_label(examples[1], {"z": 5.0, "y": 4.0}), None], memory.catalog)
    assert torch.isnan(placed.teacher_logits).all(), "'never seen' and z share the row of what is unknown"


def test_rows_are_those_of_now(batch, soft_label) -> None:
    made, memory, examples = batch
    gone = memory.catalog.remove("c")
    placed = place(made, [soft_label(examples[0], {"c": 3.0, "a": 1.0}), None, None], memory.catalog)
    assert not (placed.teacher_logits[made.candidates.items == gone] == 3.0).any()


def test_places_of_what_was_taken(batch, soft_label) -> None:
    made, memory, examples = batch
    labels = [
        soft_label(examples[0], {"c": 3.0, "b": 2.0}),
        soft_label(examples[1], {"a": 1.0}),
        soft_label(examples[2], {"c": 1.0}),
    ]
    assert places_of_taken(made, labels, memory.catalog) == [1, -1], "the third has taken nothing"
    assert places_of_taken(made, [None, None, None], memory.catalog) == []


def test_the_remainder_goes_where_the_logits_go(batch, soft_label) -> None:
    made, memory, examples = batch
    placed = place(made, [soft_label(one, {"a": 1.0}) for one in examples], memory.catalog)
    assert concatenate([placed, placed]).teacher_remainder.shape == (6,)
    assert concatenate([placed, made]).teacher_remainder is None
    assert take(placed, torch.tensor([2])).teacher_remainder.shape == (1,)
    again = unflat(flat(placed))
    assert torch.equal(again.teacher_remainder, placed.teacher_remainder)
