from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from online_models.bucketing import sequences
from online_models.checks import example_batch
from online_models.encoders.intent_heads import action_head, age_head, category_head, familiarity_head
from online_models.evaluation.interactions import Histories
from online_models.learner import TorchLearner, seeded
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import Sequences
from online_models.zoo.intent_rec import IntentRec

DAY = 86_400.0
WEEK = 7 * DAY


def ranker(rows: int = 40, parts: dict[str, Any] | None = None, **changes: Any) -> IntentRec:
    sizes = {"dimension": 16, "history": 12, "dropout": 0.0, "categories": 4, **changes}
    with seeded(3):
        model = IntentRec(IntentRec.Config(catalog_rows=rows, **sizes), **(parts or {})).eval()
    categories = torch.zeros(rows, sizes["categories"])
    categories[torch.arange(2, rows), torch.arange(2, rows) % sizes["categories"]] = 1
    model.describe(torch.arange(rows), categories, torch.zeros(rows).double())
    return model


def histories(items: list[list[int]], times_seconds: list[list[float]] | None = None) -> Sequences:
    times = times_seconds or [[60.0 * place for place in range(len(row))] for row in items]
    asked = [row[-1] + 60.0 for row in times]
    return sequences(Histories.of(items, times_seconds=times, now_seconds=asked), 12)


@torch.no_grad()
def states(model: IntentRec, given: Sequences) -> Tensor:
    return model.encode(given)


class TestWindow:
    """One layer an encoder: beyond the window S is blind."""

    @staticmethod
    def recent(model: IntentRec, oldest: int, times: list[float]) -> Tensor:
        """S of the newest event."""
        caught: list[Tensor] = []
        assert model.core.short_term is not None
        hook = model.core.short_term.register_forward_hook(lambda module, inputs, output: caught.append(output))
        states(model, histories([[oldest, 6, 7]], [times]))
        hook.remove()
        return caught[0][0, -1]

    def test_what_lies_before_the_window_is_not_seen(self) -> None:
        times = [0.0, WEEK + 1, WEEK + 2]
        assert torch.equal(self.recent(ranker(), 5, times), self.recent(ranker(), 9, times))

    def test_what_lies_inside_is(self) -> None:
        times = [3.0, WEEK + 1, WEEK + 2]
        assert not torch.allclose(self.recent(ranker(), 5, times), self.recent(ranker(), 9, times))

    def test_the_length_of_the_window_is_a_setting(self) -> None:
        times, wider = [0.0, WEEK + 1, WEEK + 2], ranker(window_seconds=2 * WEEK)
        assert not torch.allclose(self.recent(wider, 5, times), self.recent(wider, 9, times))

    def test_the_item_encoder_sees_beyond_it(self) -> None:
        times = [[0.0, WEEK + 1, WEEK + 2]]
        model = ranker()
        left, right = (states(model, histories([[first, 6, 7]], times)) for first in (5, 9))
        assert not torch.allclose(left[0, -1], right[0, -1])


class TestStates:
    def test_the_future_is_not_seen(self) -> None:
        model = ranker()
        left, right = (states(model, histories([[5, 6, 7, last]])) for last in (8, 9))
        assert torch.equal(left[0, :3], right[0, :3]) and not torch.allclose(left[0, 3], right[0, 3])

    def test_padding_changes_nothing(self) -> None:
        model = ranker()
        alone = states(model, histories([[5, 6]]))
        beside = states(model, histories([[5, 6], [5, 6, 7, 8, 9]]))
        assert beside[0, -2:] == pytest.approx(alone[0], abs=1e-5)

    @pytest.mark.parametrize("what", ["actions", "times", "categories", "published"])
    def test_every_fact_of_an_event_is_heard(self, what: str) -> None:
        model, given = ranker(), histories([[5, 6, 7]])
        before = states(model, given)[0, -1]
        if what == "actions":
            given = replace(given, actions=given.actions + 1)
        elif what == "times":
            given = replace(given, times_seconds=given.times_seconds - 7_777)
        elif what == "categories":
            model.item_categories[7] = torch.tensor([1.0, 1.0, 0.0, 0.0])
        else:
            model.item_published_seconds[7] = -50 * DAY
        assert not torch.allclose(states(model, given)[0, -1], before)


class TestFeed:
    """What the intents say is heard by the item encoder where they feed it, and only there."""

    @staticmethod
    def moved(model: IntentRec) -> bool:
        given = histories([[5, 6, 7]])
        before = states(model, given)
        with torch.no_grad():
            model.core.outputs[1].bias += torch.tensor([3.0, -3.0, 0.0, 0.0])
        return not torch.allclose(states(model, given), before)

    def test_intents_feed_the_items(self) -> None:
        assert self.moved(ranker())

    def test_without_a_feed_they_do_not(self) -> None:
        assert not self.moved(ranker(parts={"feed": None}))

    def test_a_single_task_has_none(self) -> None:
        model = ranker(parts={"heads": ()})
        assert model.intents(histories([[5, 6]])) == {} and len(model.core.outputs) == 0

    def test_the_loss_of_items_reaches_the_heads_through_the_feed(self) -> None:
        for parts, reached in (({}, True), ({"feed": None}, False)):
            model = ranker(parts=parts, intent_weight=0.0)
            loss = model.sequence_loss(histories([[5, 6, 7]]), torch.tensor([9, 10]), torch.zeros(2))
            loss.backward()  # type: ignore[no-untyped-call]
            gradient = model.core.outputs[1].weight.grad
            assert (gradient is not None and bool(gradient.any())) is reached

    def test_without_the_window_there_is_one_encoder_less(self) -> None:
        model = ranker(parts={"short_term": None})
        assert model.core.short_term is None and states(model, histories([[5, 6]])).isfinite().all()


class TestHeads:
    """Each learns a signal that only it can see."""

    @staticmethod
    def taught(model: IntentRec, given: Sequences, steps: int = 60) -> dict[str, Tensor]:
        learner = SequenceLearner(model, negatives=8, seed=1)
        for _ in range(steps):
            learner.learn_sequences(given)
        with torch.no_grad():
            return model.intents(given.without_newest())

    def test_actions(self) -> None:
        given = histories([[5, 6, 7, 8], [9, 10, 11, 12]])
        # a click follows a view and a view a click
        given = replace(given, actions=torch.tensor([[1, 2, 1, 2], [2, 1, 2, 1]]))
        model = ranker(parts={"heads": (action_head(),)}, intent_weight=1.0)
        told = self.taught(model, given)["action"]
        assert torch.equal(told.argmax(-1), given.actions[:, 1:])

    def test_categories(self) -> None:
        items = np.random.default_rng(0).integers(2, 10, (16, 6)) * 4  # every item is of category 0 …
        items[:, 1::2] += 1  # … or of category 1, in turns
        given = histories(items.tolist())
        told = self.taught(ranker(50, {"heads": (category_head(4),)}, intent_weight=1.0), given)["categories"]
        assert (told[:, 0::2, 1] > 0.8).all() and (told[:, 1::2, 0] > 0.8).all()
        assert (told[..., 2:] < 0.2).all(), "what never comes is not said: no answer 'all of them'"

    def test_ages(self) -> None:
        model = ranker(parts={"heads": (age_head(),)}, intent_weight=1.0)
        model.item_published_seconds[:] = torch.where(torch.arange(40) % 2 == 0, -100 * DAY, 0.0)
        told = self.taught(model, histories([[4, 5, 6, 7], [8, 9, 10, 11]]))["age"]
        assert told.argmax(-1).tolist() == [[0, 4, 0]] * 2

    def test_familiarity(self) -> None:
        model = ranker(parts={"heads": (familiarity_head(),)}, intent_weight=1.0)
        given = histories([[5, 5, 9, 6], [7, 7, 11, 8], [10, 10, 14, 11]])  # again, kin, new
        told = self.taught(model, given)["familiarity"]
        assert told.argmax(-1).tolist() == [[0, 1, 2]] * 3

    def test_the_planted_next_item_is_found(self) -> None:
        given = histories([[5, 6, 7, 8], [9, 6, 11, 12]])
        model = ranker()
        self.taught(model, given, 150)
        scores = states(model, given.without_newest()) @ model.items.weight.detach().T  # [B, T, R]
        assert torch.equal(scores[..., 2:].argmax(-1) + 2, given.items[:, 1:])


class TestLoss:
    def test_what_has_no_weight_teaches_no_intent(self) -> None:
        model, given = ranker(), histories([[5, 6, 7]])
        silent = replace(given, target_weights=torch.zeros_like(given.target_weights))
        assert model.sequence_loss(silent, torch.tensor([9]), torch.zeros(1)).item() == 0

    def test_the_weight_of_the_intents(self) -> None:
        given, negatives = histories([[5, 6, 7]]), (torch.tensor([9, 10]), torch.zeros(2))
        losses = [ranker(intent_weight=weight).sequence_loss(given, *negatives).item() for weight in (0.0, 1.0, 2.0)]
        assert losses[0] < losses[1] and losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], abs=1e-4)

    def test_long_enjoyment_weighs_more(self) -> None:
        model, given = ranker(intent_weight=1.0), histories([[5, 6, 7]])
        one, two = (
            model.sequence_loss(
                replace(given, target_weights=torch.tensor([[0.0, first, second]])), torch.tensor([9]), torch.zeros(1)
            ).item()
            for first, second in ((1.0, 0.0), (0.0, 1.0))
        )
        weights = torch.tensor([[0.0, 3.0, 1.0]])
        both = model.sequence_loss(replace(given, target_weights=weights), torch.tensor([9]), torch.zeros(1)).item()
        assert both == pytest.approx((3 * one + two) / 4, abs=1e-4)

    def test_listwise_batches_teach_the_intents_too(self) -> None:
        model, batch = ranker(64, intent_weight=1.0), example_batch(seed=1)
        batch = replace(batch, actions=torch.full_like(batch.actions, 3))
        learner = TorchLearner(model)
        for _ in range(60):
            learner.learn(batch)
        told = model.intents(Sequences.of_context(batch.context))["action"][:, -1]
        assert (told.argmax(-1) == 3).all()


def test_the_graph_says_what_the_ranker_says() -> None:
    model, given = ranker(history=4), histories([[5, 6, 7, 8], [9, 6, 11, 12]])
    graph = model.graphs()["encode"]
    assert graph.outputs == ("user_vector", "intent_action", "intent_categories", "intent_age", "intent_familiarity")
    with torch.no_grad():
        user, action, *_ = graph.module(**model._inputs(given))
    assert torch.equal(user, states(model, given)[:, -1])
    assert torch.equal(action, model.intents(given)["action"][:, -1])
