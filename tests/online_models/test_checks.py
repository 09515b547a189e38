"""Every law finds the learner that breaks it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from online_models import checks
from online_models.batch import Batch, Candidates, Context
from online_models.checks import ALL_LAWS, SIZES, Sizes, check_learner, example_batch
from online_models.learner import Graph


class Lawful:
    """Popularity of items by how often they were taken: the smallest learner that keeps every law."""

    def __init__(self) -> None:
        self.counts = torch.zeros(SIZES.rows)

    def learn(self, batch: Batch) -> dict[str, float]:
        taken = batch.candidates.items[batch.labels > 0]
        share = (self.counts[taken] + 1) / (self.counts.sum() + SIZES.rows)
        self.counts.index_add_(0, taken, torch.ones(len(taken)))
        return {"loss": -share.log().mean().item()}

    def score(self, context: Context, candidates: Candidates) -> Tensor:
        return self.counts[candidates.items]

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.counts.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = state["counts"].clone()

    def export(self) -> dict[str, Graph]:
        return {}


class NeverLearns(Lawful):
    def learn(self, batch: Batch) -> dict[str, float]:
        return {"loss": 1.0}


class LearnsWhileScoring(Lawful):
    def score(self, context: Context, candidates: Candidates) -> Tensor:
        self.counts[5] += 1
        return super().score(context, candidates)


class DrawsWhileScoring(Lawful):
    def score(self, context: Context, candidates: Candidates) -> Tensor:
        torch.rand(1)
        return super().score(context, candidates)


class LooksAtOtherRows(Lawful):
    def score(self, context: Context, candidates: Candidates) -> Tensor:
        scores = super().score(context, candidates)
        return scores - scores.mean()


class LooksAtPlaces(Lawful):
    def score(self, context: Context, candidates: Candidates) -> Tensor:
        return super().score(context, candidates) - torch.arange(candidates.items.shape[1])


class CountsPadding(Lawful):
    def score(self, context: Context, candidates: Candidates) -> Tensor:
        return super().score(context, candidates) / candidates.items.shape[1]


class AveragesPaddedHistory(Lawful):
    def score(self, context: Context, candidates: Candidates) -> Tensor:
        return super().score(context, candidates) + context.history_items.float().mean(1, keepdim=True)


class LearnsFromPadding(Lawful):
    def learn(self, batch: Batch) -> dict[str, float]:
        self.counts += (batch.candidates.items == 0).sum()
        return super().learn(batch)


class FailsOnStrangers(Lawful):
    def score(self, context: Context, candidates: Candidates) -> Tensor:
        return super().score(context, candidates).log()


class ChangesTheBatch(Lawful):
    def learn(self, batch: Batch) -> dict[str, float]:
        batch.weights.mul_(2)
        return super().learn(batch)


class BelievesEverything(Lawful):
    def learn(self, batch: Batch) -> dict[str, float]:
        self.counts += batch.context.features.mean()
        return super().learn(batch)


class Unseeded(Lawful):
    def __init__(self) -> None:
        super().__init__()
        self.counts += torch.rand(1)


class ForgetsAtRestart(Lawful):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.counts = state["counts"].half().float() * 0.999


class KeepsAHiddenCounter(Lawful):
    def __init__(self) -> None:
        super().__init__()
        self.steps = itertools.count()

    def learn(self, batch: Batch) -> dict[str, float]:
        self.counts += 0.5 ** next(self.steps)
        return super().learn(batch)


class RemembersEverybody(Lawful):
    def __init__(self) -> None:
        super().__init__()
        self.users: set[int] = set()

    def learn(self, batch: Batch) -> dict[str, float]:
        self.users.update(batch.context.user.tolist())
        return super().learn(batch)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "users": sorted(self.users)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.users = set(state["users"])


class Branches(nn.Module):
    """Differs while it is traced, as a value baked into a graph does."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if torch.compiler.is_exporting() else x


class Doubles(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


class KeywordForward(nn.Module):
    def forward(self, **inputs: Tensor) -> Tensor:
        return inputs["x"]


def graph(module: nn.Module) -> dict[str, Graph]:
    return {"g": Graph(module=module, inputs={"x": torch.zeros(2, 3)}, outputs=("y",), dynamic={"x": {0: "B"}})}


class ExportsAnother(Lawful):
    def export(self) -> dict[str, Graph]:
        return graph(Branches())


class ExportsKeywords(Lawful):
    def export(self) -> dict[str, Graph]:
        return graph(KeywordForward())


class ExportsWell(Lawful):
    def export(self) -> dict[str, Graph]:
        return graph(Doubles())


BREAKERS: dict[type[Lawful], str] = {
    NeverLearns: "learn_lowers_loss",
    LearnsWhileScoring: "score_is_pure",
    DrawsWhileScoring: "score_is_pure",
    LooksAtOtherRows: "rows_are_independent",
    LooksAtPlaces: "candidate_order_is_free",
    CountsPadding: "padding_changes_nothing",
    AveragesPaddedHistory: "padding_changes_nothing",
    LearnsFromPadding: "padded_candidates_teach_nothing",
    FailsOnStrangers: "unseen_ids_score",
    ChangesTheBatch: "inputs_stay_untouched",
    BelievesEverything: "bad_numbers_do_no_harm",
    Unseeded: "same_seed_same_weights",
    ForgetsAtRestart: "resume_is_exact",
    KeepsAHiddenCounter: "resume_is_exact",
    RemembersEverybody: "memory_is_bounded",
    ExportsAnother: "graphs_agree",
    ExportsKeywords: "graphs_agree",
}


@pytest.mark.parametrize("cls", BREAKERS)
def test_a_broken_learner_is_found(cls: type[Lawful]) -> None:
    with pytest.raises(AssertionError):
        ALL_LAWS[BREAKERS[cls]](cls)


def test_every_law_has_a_breaker() -> None:
    assert set(BREAKERS.values()) == set(ALL_LAWS)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("make", [Lawful, ExportsWell])
def test_a_lawful_learner_passes(make: Callable[[], Lawful]) -> None:
    check_learner(make)


def test_exceptions_are_left_out() -> None:
    check_learner(NeverLearns, {"learn_lowers_loss": "it is a constant"})


def test_laws_are_documented_in_one_line() -> None:
    assert all(law.__doc__ and law.__doc__.count("\n") == 0 for law in ALL_LAWS.values())


def test_exceptions_from_unknown_laws_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mistaken(Lawful):
        law_exceptions = {"check_everything": "no such law"}

    monkeypatch.setattr(checks, "_classes", lambda *packages: [Mistaken])
    with pytest.raises(ValueError, match=r"Mistaken.law_exceptions names \['check_everything'\]; the laws are"):
        checks.learners()


def test_example_batches_are_seeded_and_within_their_sizes() -> None:
    first, again, other = example_batch(1), example_batch(1), example_batch(2)
    assert torch.equal(first.candidates.items, again.candidates.items)
    assert not torch.equal(first.candidates.items, other.candidates.items)
    assert first.candidates.items.max() < Sizes().rows and first.candidates.mask.all()
    assert (first.context.history_ages_seconds[first.context.history_items == 0] == 0).all()
    assert (first.context.history_items > 0).any(1).all()
    assert first.candidates.source_scores.shape == (8, 12, SIZES.sources)
