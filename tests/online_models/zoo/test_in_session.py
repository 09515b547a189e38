from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from online_models.batch import Batch
from online_models.checks import SIZES, example_batch
from online_models.learner import TorchLearner, seeded
from online_models.vocabulary import CATEGORY_BUCKETS
from online_models.zoo.in_session import InSessionRanker

SIZE = {"catalog_rows": SIZES.rows, "features": SIZES.features, "sources": SIZES.sources}


def ranker(**changes: float) -> InSessionRanker:
    config = {**SIZE, "item_features": SIZES.item_features, "dimension": 16, "history": 10, "dropout": 0.0, **changes}
    with seeded(3):
        return InSessionRanker(InSessionRanker.Config(**config)).eval()  # type: ignore[arg-type]


def learner(model: InSessionRanker) -> TorchLearner:
    return TorchLearner(model, lambda _: model.optimizer(), clip_norm=5.0)


@torch.no_grad()
def outputs(model: InSessionRanker, batch: Batch) -> dict[str, Tensor]:
    graph = model.graphs()["rank"]
    return dict(zip(graph.outputs, graph.module(**model.inputs(batch.context, batch.candidates)), strict=True))


@torch.no_grad()
def scores(model: InSessionRanker, batch: Batch) -> Tensor:
    return model(batch.context, batch.candidates)


class TestStart:
    """Before anything is learnt the list is an even blend of the sources."""

    def test_every_source_weighs_the_same_in_every_context(self) -> None:
        weights = outputs(ranker(), example_batch(seed=4))["source_weights"]  # [B, 2 S + 1]
        logs, shares = weights[:, : SIZES.sources], weights[:, SIZES.sources : 2 * SIZES.sources]
        for group in (logs, shares):
            assert group.min() == group.max() > 0

    def test_the_item_that_every_source_puts_first_stands_first(self) -> None:
        batch = example_batch(seed=4)
        favoured = batch.candidates.source_scores.clone()
        favoured[:, 5] = favoured.amax(1) + 0.1
        batch = replace(batch, candidates=replace(batch.candidates, source_scores=favoured))
        assert scores(ranker(), batch).argmax(1).tolist() == [5] * len(batch)

    def test_the_order_of_the_sources_is_of_no_account(self) -> None:
        batch = example_batch(seed=4)
        turned = replace(batch.candidates, source_scores=batch.candidates.source_scores.flip(-1))
        assert scores(ranker(), replace(batch, candidates=turned)) == pytest.approx(scores(ranker(), batch), abs=1e-4)

    def test_a_source_may_speak_in_any_unit(self) -> None:
        batch = example_batch(seed=4)
        louder = replace(batch.candidates, source_scores=batch.candidates.source_scores * 50)
        assert scores(ranker(), replace(batch, candidates=louder)) == pytest.approx(scores(ranker(), batch), abs=1e-2)

    def test_sources_that_know_nothing_leave_finite_scores(self) -> None:
        batch = example_batch(seed=4)
        silent = replace(batch.candidates, source_scores=torch.zeros_like(batch.candidates.source_scores))
        assert scores(ranker(), replace(batch, candidates=silent)).isfinite().all()


class TestLearning:
    def test_a_source_that_is_always_right_gains_weight(self) -> None:
        model, batch = ranker(), example_batch(seed=4)
        told = batch.candidates.source_scores.clone()
        told[..., 1] = batch.labels
        told[..., 2] = 1 - batch.labels
        batch = replace(batch, candidates=replace(batch.candidates, source_scores=told))
        one = learner(model)
        for _ in range(30):
            one.learn(batch)
        shares = outputs(model, batch)["source_weights"].mean(0)[SIZES.sources : 2 * SIZES.sources]
        assert shares[1] > shares[2] and shares.argmax() == 1 and shares.argmin() == 2

    def test_contexts_may_trust_different_sources(self) -> None:
        model, batch = ranker(), example_batch(seed=4, examples=32)
        told, features = torch.zeros_like(batch.candidates.source_scores), batch.context.features.clone()
        kind = torch.arange(32) % 2  # source 0 is right in one kind of context, source 1 in the other
        features[:, 1:] = 0
        features[:, 1] = 2.0 * kind - 1
        wrong = batch.labels.roll(1, 1)
        for source in range(2):
            right = (kind == source).float()[:, None]
            told[..., source] = right * batch.labels + (1 - right) * wrong
        batch = replace(
            batch,
            context=replace(batch.context, features=features),
            candidates=replace(batch.candidates, source_scores=told),
        )
        one = learner(model)
        for _ in range(60):
            one.learn(batch)
        weights = outputs(model, batch)["source_weights"][:, SIZES.sources :]
        assert (weights[kind == 0, 0] > weights[kind == 0, 1]).all()
        assert (weights[kind == 1, 1] > weights[kind == 1, 0]).all()
        assert (scores(model, batch).argmax(1) == batch.labels.argmax(1)).all()

    def test_the_intent_heads_learn_actions_and_categories(self) -> None:
        model, batch = ranker(intent_weight=1.0), example_batch(seed=4)
        batch = replace(batch, actions=torch.full_like(batch.actions, 3))
        for row in range(2, SIZES.rows):
            model.set_categories(row, [7])
        before, one = outputs(model, batch), learner(model)
        for _ in range(40):
            one.learn(batch)
        after = outputs(model, batch)
        for name, place in (("intent_actions", 3), ("intent_categories", 7)):
            assert after[name].sum(1) == pytest.approx(torch.ones(len(batch)), abs=1e-4)
            assert (after[name][:, place] > 2 * before[name][:, place]).all(), name

    def test_without_anything_taken_nothing_is_learnt_of_intents(self) -> None:
        model, batch = ranker(), example_batch(seed=4)
        for row in range(2, SIZES.rows):
            model.set_categories(row, [7])
        loss, _ = model.loss(replace(batch, labels=torch.zeros_like(batch.labels)))
        assert loss.item() == 0

    def test_only_the_rows_of_the_batch_move(self) -> None:
        model, batch = ranker(), example_batch(seed=4, examples=2, candidates=3)
        before = model.items.weight.detach().clone()
        learner(model).learn(batch)
        moved = set((model.items.weight != before).any(1).nonzero().flatten().tolist())
        context = batch.context
        there = torch.cat([batch.candidates.items.flatten(), context.history_items.flatten(), context.source_item])
        assert moved and moved <= set(there.tolist()) - {0}, "padding stays 0"


class TestCategories:
    def test_they_replace_what_was_said_before(self) -> None:
        model = ranker()
        model.set_categories(5, [1, CATEGORY_BUCKETS - 1])
        assert model.item_categories[5].nonzero().flatten().tolist() == [1, CATEGORY_BUCKETS - 1]
        model.set_categories(5, [2])
        assert model.item_categories[5].nonzero().flatten().tolist() == [2]
        model.set_categories(5, [])
        assert model.item_categories.sum() == 0

    def test_they_are_labels_and_score_nothing(self) -> None:
        model, batch = ranker(), example_batch(seed=4)
        before = scores(model, batch)
        for row in range(2, SIZES.rows):
            model.set_categories(row, [row % CATEGORY_BUCKETS])
        assert torch.equal(scores(model, batch), before)

    def test_they_belong_to_the_state_and_leave_with_their_item(self) -> None:
        model, again = ranker(), ranker()
        model.set_categories(5, [1])
        again.load_state_dict(model.state_dict())
        assert again.item_categories[5, 1] == 1
        learner(model).forget(torch.tensor([5]))
        assert model.item_categories.sum() == 0


class TestGraphs:
    def test_the_rank_graph_is_the_ranker(self) -> None:
        model, batch = ranker(), example_batch(seed=4)
        torch.testing.assert_close(outputs(model, batch)["logits"], scores(model, batch), atol=1e-5, rtol=1e-5)

    def test_user_vectors_are_what_the_encode_graph_gives(self) -> None:
        model, batch = ranker(), example_batch(seed=4)
        graph = model.graphs()["encode"]
        inputs = model.inputs(batch.context, batch.candidates)
        with torch.no_grad():
            encoded = graph.module(**{name: inputs[name] for name in graph.inputs})[0]
        assert encoded.shape == (len(batch), 16)
        torch.testing.assert_close(model.user_vectors(batch.context), encoded, atol=1e-5, rtol=1e-5)

    def test_item_vectors_stay_outside(self) -> None:
        model = ranker()
        graph = model.graphs()["rank"]
        assert graph.tables["item_vectors"] is model.items.weight
        held = {parameter.data_ptr() for parameter in graph.module.parameters()}
        assert model.items.weight.data_ptr() not in held

    def test_retrieval_vectors_rank_as_the_encoder_does(self) -> None:
        model, batch = ranker(retrieval_weight=2.0), example_batch(seed=4)
        one = learner(model)
        for _ in range(60):
            one.learn(batch)
        vectors = model.items.weight.detach()[batch.candidates.items]  # [B, N, D]
        nearest = torch.einsum("bd,bnd->bn", model.user_vectors(batch.context), vectors)
        loss = F.cross_entropy(nearest, batch.labels.argmax(1))
        assert loss < F.cross_entropy(torch.zeros_like(nearest), batch.labels.argmax(1)) / 2


def test_the_future_is_not_looked_at_and_padding_is_nothing() -> None:
    model, batch = ranker(), example_batch(seed=4)
    context = batch.context
    hidden = context.history_items == 0
    noise = replace(
        context,
        history_actions=torch.where(hidden, 5, context.history_actions),
        history_ages_seconds=context.history_ages_seconds,
    )
    assert model.user_vectors(noise) == pytest.approx(model.user_vectors(context), abs=1e-5)


@pytest.mark.parametrize("name", ["surface", "query", "source_item", "features", "history_actions"])
def test_every_part_of_the_context_is_heard(name: str) -> None:
    model, batch = ranker(), example_batch(seed=4)
    value = getattr(batch.context, name)
    other = value + 1 if value.is_floating_point() else (value + 1) % 7 + 1
    assert not torch.allclose(
        model.user_vectors(replace(batch.context, **{name: other})), model.user_vectors(batch.context)
    )


class TestWindow:
    """Half of the heads look no further back than the window."""

    @staticmethod
    def allowed(ages: list[float], **changes: float) -> list[list[int]]:
        core = ranker(**changes).core
        mask = torch.ones(1, len(ages))
        seen = core._allowed(mask, torch.tensor([ages]))[0, :, -1]  # [heads, L + 1] of the context token
        return seen.int().tolist()

    def test_one_head_sees_everything_and_one_the_last_week(self) -> None:
        week = 7 * 86_400.0
        assert self.allowed([2 * week, week + 1, week, 5.0]) == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]

    def test_the_window_is_a_setting(self) -> None:
        assert self.allowed([100.0, 50.0, 5.0], window_seconds=50.0)[1] == [0, 1, 1, 1]


class TestFurtherIntents:
    def test_the_age_of_what_is_taken_next(self) -> None:
        model, batch = ranker(intent_weight=1.0), example_batch(seed=4)
        for row in range(2, SIZES.rows):
            model.set_published(row, float(batch.context.time_seconds[0]) - 40 * 86_400.0)
        before, one = outputs(model, batch), learner(model)
        for _ in range(40):
            one.learn(batch)
        after = outputs(model, batch)["intent_ages"]
        assert (after.argmax(1) == 3).all() and (after[:, 3] > before["intent_ages"][:, 3]).all()

    def test_whether_it_is_taken_again(self) -> None:
        model, batch = ranker(intent_weight=1.0), example_batch(seed=4)
        chosen = batch.candidates.items.gather(1, batch.labels.argmax(1, keepdim=True)).squeeze(1)
        history = batch.context.history_items.clone()
        history[:, -1] = chosen
        batch, one = replace(batch, context=replace(batch.context, history_items=history)), learner(model)
        for _ in range(40):
            one.learn(batch)
        assert (outputs(model, batch)["intent_familiarity"].argmax(1) == 0).all()

    def test_what_is_not_known_is_no_label(self) -> None:
        model, batch = ranker(), example_batch(seed=4)
        labelled, _ = model.loss(batch)
        model.set_published(5, 0.0)
        model.set_published(5, None)
        assert model.loss(batch)[0] == labelled

    def test_dates_leave_with_their_item(self) -> None:
        model = ranker()
        model.set_published(5, 7.0)
        learner(model).forget(torch.tensor([5]))
        assert torch.isneginf(model.item_published_seconds).all()
