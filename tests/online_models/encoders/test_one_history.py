"""A state computed in NumPy is the one that torch computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from online_models.bucketing import sequences
from online_models.encoders.one_history import state_after
from online_models.evaluation.interactions import Histories
from online_models.learner import seeded
from online_models.zoo.sasrec import SASRec


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 7])
def test_it_is_what_torch_computes(layers: int, length: int) -> None:
    with seeded(3):
        ranker = SASRec(SASRec.Config(catalog_rows=20, dimension=8, layers=layers, history=7, initial_deviation=1.0))
    ranker.eval()
    history = np.random.default_rng(1).integers(2, 20, length)
    with torch.no_grad():
        expected = ranker.newest_state(sequences(Histories.of([history.tolist()]), 7))[0].numpy()
    core = ranker.core
    vectors = ranker.items.weight.detach().numpy()[history]
    found = state_after(vectors, core.places, core.blocks, core.norm, core.scale)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_parameters_are_read_where_they_lie() -> None:
    core = SASRec(SASRec.Config(catalog_rows=20, dimension=8, layers=1)).core
    vectors = np.ones((3, 8), np.float32)
    before = state_after(vectors, core.places, core.blocks, core.norm, core.scale)
    with torch.no_grad():
        core.norm.bias += 1
    after = state_after(vectors, core.places, core.blocks, core.norm, core.scale)
    np.testing.assert_allclose(after, before + 1, atol=1e-6)
