from __future__ import annotations

import pytest
import torch

from online_models.checks import ALL_LAWS, SIZES, Law, example_batch
from online_models.foundation.model import FoundationModel
from online_models.learner import TorchLearner, seeded
from online_models.sequences import Sequences


def make(**sizes: float) -> FoundationModel:
    given = {"catalog_rows": SIZES.rows, "dimension": 16, "buckets": 64, "length": 12} | sizes
    with seeded(7):
        return FoundationModel(FoundationModel.Config(**given)).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("law", ALL_LAWS.values(), ids=ALL_LAWS.keys())
def test_laws(law: Law) -> None:
    law(lambda: TorchLearner(make()))


def sequences(length: int = 8) -> Sequences:
    return Sequences.of_context(example_batch(seed=3, history=length).context)


def test_a_state_sees_nothing_that_comes_after_it() -> None:
    model, given = make(), sequences()
    before = model.encode(given)
    items = given.items.clone()
    items[:, -2:] = 5
    fields = {name: getattr(given, name) for name in ("actions", "times_seconds", "target_weights", "users")}
    changed = Sequences(items=items, asked_seconds=given.asked_seconds + 1e6, **fields)
    assert torch.allclose(model.encode(changed)[:, :-2], before[:, :-2], atol=1e-6)
    assert not torch.allclose(model.encode(changed)[:, -1], before[:, -1], atol=1e-3)


def test_the_whole_sequence_at_once_is_each_history_alone() -> None:
    model = make()
    given = example_batch(seed=3).context
    whole = model.encode(Sequences.of_context(given))
    assert torch.allclose(model.embed_context(given), whole[:, -1], atol=1e-6)


def test_longer_histories_than_the_model_reads_are_cut() -> None:
    model = make()
    context = example_batch(seed=3, history=20).context
    assert torch.isfinite(model.embed_context(context)).all()


def test_ids_are_masked_in_training_alone() -> None:
    model = make(id_mask_rate=0.5)
    rows = torch.arange(2, 40)
    assert model._mask(rows) == (None, None)
    model.train()
    masked, _ = model._mask(rows)
    assert masked is not None and 5 < int(masked.sum()) < 33


def test_bad_rate_is_named() -> None:
    with pytest.raises(ValueError, match=r"id_mask_rate is 1\.0"):
        make(id_mask_rate=1.0)
