from __future__ import annotations

import pytest
import torch

from online_models.checks import example_batch
from online_models.served import ServedRanker
from online_models.zoo.caser_ranker import CaserRanker
from online_models.zoo.in_session import InSessionRanker

SIZES = {"features": 5, "sources": 4, "item_features": 3}


@pytest.mark.parametrize("family", [InSessionRanker, CaserRanker])
def test_encoding_and_scoring_give_what_the_whole_ranker_gives(family: type[ServedRanker]) -> None:
    batch = example_batch(seed=3)
    rows = int(max(batch.candidates.items.max(), batch.context.history_items.max())) + 1
    history = batch.context.history_items.shape[1]
    torch.manual_seed(0)
    ranker = family(family.Config(catalog_rows=rows, history=history, **SIZES)).eval()  # type: ignore[attr-defined]
    with torch.no_grad():
        for parameter in ranker.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        graphs, inputs = ranker.graphs(), ranker.inputs(batch.context, batch.candidates)
        whole = dict(zip(graphs["rank"].outputs, graphs["rank"].module(**inputs), strict=True))
        encode = graphs["encode"]
        told = encode.module(**{name: inputs[name] for name in encode.inputs})
        state = dict(zip(encode.outputs, told, strict=True))
        score = graphs["score"]
        scored = score.module(**{name: {**inputs, **state}[name] for name in score.inputs})
    both = {**state, **dict(zip(score.outputs, scored, strict=True))}
    assert set(whole) < set(both), "the halves tell all that the whole tells, and the user vector"
    for name, values in whole.items():
        torch.testing.assert_close(both[name], values, atol=1e-5, rtol=1e-5)
