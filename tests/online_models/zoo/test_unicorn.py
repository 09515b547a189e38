from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from online_models.batch import Batch, Context
from online_models.checks import SIZES, example_batch
from online_models.encoders.user_sides import FineTuned, RecommenderOutputs, UserCluster, UserSide
from online_models.learner import TorchLearner, seeded
from online_models.vocabulary import QUERY_LENGTH, surface_row
from online_models.zoo.sasrec import SASRec
from online_models.zoo.unicorn import RECOMMEND, SEARCH, SIMILAR, UniCoRn, as_asked, impute, task_of

WIDTH = 16


def sasrec() -> SASRec:
    with seeded(5):
        return SASRec(SASRec.Config(catalog_rows=SIZES.rows, dimension=WIDTH, history=10, dropout=0.0))


def ranker(user: UserSide | None = None, **changes: Any) -> UniCoRn:
    config = UniCoRn.Config(
        catalog_rows=SIZES.rows, features=SIZES.features, sources=SIZES.sources, item_features=SIZES.item_features,
        dimension=WIDTH, hidden=16, history=10, dropout=0.0,
    )  # fmt: skip
    with seeded(3):
        model = UniCoRn(config, user if user is not None else FineTuned(sasrec(), WIDTH), **changes).eval()
    for row in range(2, SIZES.rows):
        model.set_title(row, torch.tensor([100 + row, 200 + row]))
    return model


def context(**changes: Tensor) -> Context:
    """Three requests: a recommendation, similar items of item 5, a search for words 7 and 8; surfaces say nothing."""
    query = torch.zeros(3, QUERY_LENGTH, dtype=torch.int64)
    query[2, :2] = torch.tensor([7, 8])
    three = example_batch(seed=2, examples=3).context
    plain = {"surface": torch.zeros(3, dtype=torch.int64), "source_item": torch.tensor([0, 5, 0]), "query": query}
    return replace(three, **(plain | changes))


def titles() -> Tensor:
    table = torch.zeros(SIZES.rows, QUERY_LENGTH, dtype=torch.int64)
    table[5, :3] = torch.tensor([11, 12, 13])
    return table


class TestImputation:
    def test_the_task_follows_from_what_is_asked(self) -> None:
        assert task_of(context()).tolist() == [RECOMMEND, SIMILAR, SEARCH]

    def test_a_surface_that_names_the_task_decides(self) -> None:
        named = context(surface=torch.tensor([surface_row(name) for name in ("search", "search", "similar")]))
        assert task_of(named).tolist() == [SEARCH, SEARCH, SIMILAR]

    def test_similar_speaks_in_the_words_of_its_source(self) -> None:
        filled = impute(context(), titles())
        assert filled.query[1].tolist() == [11, 12, 13, 0, 0, 0, 0, 0] and filled.source_item[1] == 5

    def test_search_keeps_its_words_and_has_no_source(self) -> None:
        both = context(surface=torch.tensor([0, 0, surface_row("search")]), source_item=torch.tensor([0, 5, 5]))
        filled = impute(both, titles())
        assert filled.query[2, :2].tolist() == [7, 8] and filled.source_item[2] == 0

    def test_a_recommendation_has_neither(self) -> None:
        filled = impute(context(surface=torch.tensor([surface_row("home"), 0, 0])), titles())
        assert not filled.query[0].any() and filled.source_item[0] == 0

    def test_the_task_stays_and_twice_is_once(self) -> None:
        once = impute(context(), titles())
        twice = impute(once, titles())
        assert torch.equal(task_of(once), task_of(context())) and torch.equal(twice.query, once.query)

    def test_nothing_is_imputed_where_none_is_wanted(self) -> None:
        given = context()
        assert as_asked(given, titles()) is given


def batch(seed: int = 4) -> Batch:
    return example_batch(seed=seed)


@torch.no_grad()
def scores(model: UniCoRn, given: Batch) -> Tensor:
    return model(given.context, given.candidates)


class TestHearing:
    @pytest.mark.parametrize("name", ["surface", "features", "history_items"])
    def test_every_part_of_the_context_is_heard(self, name: str) -> None:
        given, model = batch(), ranker()
        value = getattr(given.context, name)
        other = value + 1 if value.is_floating_point() else (value + 1) % 7 + 1
        changed = replace(given, context=replace(given.context, **{name: other}))
        assert not torch.allclose(scores(model, changed), scores(model, given))

    def test_the_title_of_the_source_is_heard_as_a_query_where_it_is_imputed(self) -> None:
        asked = torch.zeros(8, QUERY_LENGTH, dtype=torch.int64)
        similar = replace(batch().context, surface=torch.full((8,), surface_row("similar")), query=asked)
        similar = replace(similar, source_item=torch.full((8,), 9))
        words = [
            model.inputs(similar, batch().candidates)["query"][0, :2].tolist()
            for model in (ranker(), ranker(imputation=as_asked))
        ]
        assert words == [[109, 209], [0, 0]]

    def test_words_that_stand_in_the_title_count(self) -> None:
        given = batch()
        asked = torch.zeros(8, QUERY_LENGTH, dtype=torch.int64)
        asked[:, 0] = 100 + given.candidates.items[:, 3]
        searched = replace(given.context, surface=torch.full((8,), surface_row("search")), query=asked)
        told = ranker().core.target.weight
        caught: list[Tensor] = []
        model = ranker()
        model.core.target.register_forward_hook(lambda module, inputs, output: caught.append(inputs[0]))
        scores(model, replace(given, context=searched))
        overlap = caught[0][..., told.shape[1] - 2]  # before what the recommender says
        assert overlap[:, 3].tolist() == [1.0] * 8 and overlap.sum().item() == 8


class TestStages:
    def test_recommender_outputs_stay_as_they_were(self) -> None:
        model = ranker(RecommenderOutputs(sasrec(), WIDTH))
        learner, before = TorchLearner(model), sasrec().state_dict()
        for seed in range(5):
            learner.learn(batch(seed))
        after = model.user.retriever.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())

    def test_fine_tuned_encoders_move(self) -> None:
        model = ranker()
        learner, before = TorchLearner(model), sasrec().state_dict()
        for seed in range(5):
            learner.learn(batch(seed))
        after = model.user.retriever.state_dict()
        assert not torch.equal(after["items.weight"], before["items.weight"])

    def test_a_frozen_recommender_never_drops_out(self) -> None:
        side = RecommenderOutputs(sasrec(), WIDTH)
        ranker(side).train()
        assert not any(module.training for module in side.retriever.modules())

    def test_users_of_a_cluster_get_one_answer(self) -> None:
        side = UserCluster(clusters=3, width=8, rows=SIZES.rows, dimension=2)
        vectors = torch.zeros(SIZES.rows, 2)
        vectors[10:20], vectors[20:30], vectors[30:40] = (
            torch.tensor([5.0, 0.0]), torch.tensor([0.0, 5.0]), torch.tensor([-5.0, -5.0])
        )  # fmt: skip
        spread = torch.randn(SIZES.rows, 2, generator=torch.Generator().manual_seed(0)) * 0.1
        histories = torch.arange(10, 40)[:, None].expand(-1, 4)
        side.fit(vectors + spread, histories, seed=1)
        clusters = side.cluster_of(histories).view(3, 10)
        assert (clusters == clusters[:, :1]).all() and len(set(clusters[:, 0].tolist())) == 3
        assert side.cluster_of(torch.zeros(1, 4, dtype=torch.int64)).item() == 0
        given = batch()
        model, two = ranker(side), torch.tensor([[10, 11], [12, 13]])
        alike = {
            name: getattr(given.context, name)[:1].expand(2, *getattr(given.context, name).shape[1:])
            for name in ("features", "surface", "source_item", "query", "time_seconds", "user")
        }
        asked = Context(history_items=two, history_actions=two * 0 + 1, history_ages_seconds=two.float(), **alike)
        shown = replace(
            given.candidates,
            items=given.candidates.items[:1].expand(2, -1),
            source_scores=given.candidates.source_scores[:1].expand(2, -1, -1),
            features=given.candidates.features[:1].expand(2, -1, -1),
        )
        with torch.no_grad():
            first, second = model(asked, shown)
        assert torch.equal(first, second)


class TestLearning:
    def test_one_model_learns_three_tasks(self) -> None:
        model, given = ranker(), example_batch(seed=4, examples=24)
        task = torch.arange(24) % 3
        surfaces = torch.tensor([surface_row(name) for name in ("home", "similar", "search")])[task]
        target = given.candidates.items.gather(1, given.labels.argmax(1, keepdim=True))  # [B, 1]
        query = torch.zeros(24, QUERY_LENGTH, dtype=torch.int64)
        query[:, :1] = (100 + target) * (task == SEARCH).unsqueeze(1)
        given = replace(given, context=replace(given.context, surface=surfaces, query=query))
        learner = TorchLearner(model, lambda parameters: torch.optim.Adam([p for p in parameters], lr=1e-2))
        for parameter in model.modules():
            if isinstance(parameter, torch.nn.Embedding):
                parameter.sparse = False
        for _ in range(80):
            learner.learn(given)
        right = scores(model, given).argmax(1) == given.labels.argmax(1)
        assert [right[task == number].float().mean().item() > 0.8 for number in range(3)] == [True] * 3

    def test_probabilities_are_those_of_being_taken(self) -> None:
        model, given = ranker(), batch()
        learner = TorchLearner(model)
        for _ in range(200):
            learner.learn(replace(given, labels=torch.zeros_like(given.labels)))
        assert (scores(model, given).sigmoid() < 0.2).all()


def test_the_graph_says_what_the_ranker_says() -> None:
    model, given = ranker(), batch()
    graphs = model.graphs()
    assert set(graphs) == {"rank", "encode"}
    with torch.no_grad():
        told = graphs["rank"].module(**model.inputs(given.context, given.candidates))
    assert torch.equal(told, scores(model, given))
