from __future__ import annotations

import numpy as np
import pytest

from exporters.errors import GateRefused
from exporters.gate import Gate, GateLimits, RecentExamples, ShadowScore

RNG = np.random.default_rng(0)
B, N = 200, 20
LABELS = np.eye(N, dtype=np.float32)[RNG.integers(0, N, B)]
MASK = np.ones((B, N), bool)


class Scores:
    """A session that answers the logits it was given."""

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": self.logits.astype(np.float32)}


def recent(labels=LABELS, mask=MASK) -> RecentExamples:
    return RecentExamples(feeds={}, labels=labels, mask=mask)


def skilled(skill: float, seed: int = 1) -> Scores:
    """Logits that know the label by ``skill`` standard deviations."""
    return Scores(np.random.default_rng(seed).normal(size=(B, N)) + skill * LABELS)


@pytest.mark.parametrize(("bad", "reason"), [(np.nan, "not_finite"), (np.inf, "not_finite"), (1e9, "too_large")])
def test_broken_weights_are_refused_by_name(bad, reason):
    with pytest.raises(GateRefused, match=r"'head\.weight'") as caught:
        Gate().check_values({"ok": np.ones(3), "head.weight": np.array([1.0, bad])})
    assert caught.value.reason == "weights_" + reason


def test_counts_in_tables_may_be_large_but_not_broken():
    Gate().check_finite({"popularity.weights": np.array([1e6])}, "tables")
    with pytest.raises(GateRefused, match=r"1 of 2 values of 'popularity\.weights'") as caught:
        Gate().check_finite({"popularity.weights": np.array([1e6, np.nan])}, "tables")
    assert caught.value.reason == "tables_not_finite"


def test_integers_and_empty_values_are_no_weights():
    Gate().check_values({"ids": np.array([10**9]), "none": np.zeros((0, 4))})


@pytest.mark.parametrize(("bad", "reason"), [(np.nan, "not_finite"), (-np.inf, "not_finite"), (1e6, "too_large")])
def test_broken_outputs_are_refused_unless_they_are_padding(bad, reason):
    logits = np.zeros((B, N))
    logits[3, 4] = bad
    with pytest.raises(GateRefused) as caught:
        Gate().check_outputs(recent(), Scores(logits), None)
    assert caught.value.reason == "outputs_" + reason
    mask = MASK.copy()
    mask[3, 4] = False
    labels = LABELS * mask
    assert Gate().check_outputs(recent(labels, mask), Scores(logits), None).note == "nothing serves yet"


def test_a_clearly_worse_model_is_refused_and_told_why():
    with pytest.raises(GateRefused, match="mean reciprocal rank") as caught:
        Gate().check_outputs(recent(), skilled(0.0), skilled(3.0))
    assert caught.value.reason == "worse_than_serving"


def test_a_model_that_says_nothing_is_clearly_worse():
    with pytest.raises(GateRefused):
        Gate().check_outputs(recent(), Scores(np.zeros((B, N))), skilled(2.0))


@pytest.mark.parametrize(("new", "old"), [(3.0, 0.0), (2.0, 2.0), (1.9, 2.0)])
def test_better_equal_and_hardly_worse_models_pass(new, old):
    report = Gate().check_outputs(recent(), skilled(new), skilled(old, seed=2))
    assert report.examples == B and report.as_dict()["new_mrr"] > 0 and "serving_hr@10" in report.as_dict()


def test_too_few_examples_decide_nothing():
    few = Gate(limits=GateLimits(min_examples=B + 1)).check_outputs(recent(), skilled(0.0), skilled(5.0))
    assert few.note == "too few examples to compare"
    none = Gate().check_outputs(recent(labels=np.zeros_like(LABELS)), skilled(0.0), skilled(5.0))
    assert none.examples == 0


def test_a_serving_version_with_other_inputs_is_not_compared():
    class Other:
        def run(self, feeds):
            raise KeyError("history_gaps")

    assert "history_gaps" in Gate().check_outputs(recent(), skilled(1.0), Other()).note


def test_scores_are_the_textbook_ones():
    logits = np.array([[1.0, 3.0, 2.0, 9.0], [0.0, 0.0, 0.0, 0.0], [5.0, 1.0, 1.0, 1.0]])
    labels = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 0]])
    mask = np.array([[True, True, True, False]] * 3)
    score = ShadowScore.of(logits, labels, mask)
    assert score.reciprocal_ranks.tolist() == [0.5, pytest.approx(1 / 3)]  # a tie counts as the worse place
    expected = [np.log(np.exp([1.0, 3.0, 2.0]).sum()) - 2, np.log(3)]
    assert score.loss == pytest.approx(np.mean(expected)) and score.hit_rate == 1
