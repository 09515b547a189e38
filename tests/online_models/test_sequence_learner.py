from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from online_models import state_tree
from online_models.bucketing import sequences
from online_models.evaluation.interactions import Histories
from online_models.learner import seeded
from online_models.optim import LazyAdam
from online_models.sequence_learner import SequenceLearner, mixed, popular, uniform
from online_models.sequences import SequenceLoss, Sequences, binary_cross_entropy, sampled_softmax
from online_models.zoo.sasrec import SASRec

ROWS = 34


def make(loss: SequenceLoss = sampled_softmax, rate: float = 1e-2, **options: object) -> SequenceLearner:
    with seeded(5):
        ranker = SASRec(SASRec.Config(catalog_rows=ROWS, dimension=16, layers=1, dropout=0.1))
    return SequenceLearner(ranker, partial(LazyAdam, lr=rate), loss=loss, **{"negatives": 16, **options})  # type: ignore[arg-type]


def chains(seed: int, users: int = 32, length: int = 8) -> Sequences:
    """After item i comes i + 1 (in a ring), wherever a user begins: every item is equally popular."""
    begins = np.random.default_rng(seed).integers(0, ROWS - 2, users)
    rings = (begins[:, None] + np.arange(length)) % (ROWS - 2) + 2
    return sequences(Histories.of(rings.tolist()), 50)


@pytest.mark.parametrize(("loss", "negatives"), [(sampled_softmax, 16), (binary_cross_entropy, 0)])
def test_a_planted_next_item_is_learnt(loss: SequenceLoss, negatives: int) -> None:
    learner = make(loss, negatives=negatives)
    for seed in range(120):
        learner.learn_sequences(chains(seed))
    asked = Histories.of([[7, 8, 9], [20, 21, 22], [3], [33, 2]])
    best = learner.score_all(asked, 50)[:, 2:].argmax(1) + 2
    assert best.tolist() == [10, 23, 4, 3]


def test_groups_are_one_step_of_their_common_mean() -> None:
    whole = chains(1, users=6)
    parts = [_rows(whole, slice(0, 2)), _rows(whole, slice(2, 6))]
    together, apart = make(), make()
    for learner in (together, apart):
        for module in learner.ranker.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    one, two = together.learn_sequences(whole), apart.learn_sequences(*parts)
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-5) and one["targets"] == two["targets"] == 42
    assert together.steps == apart.steps == 1


def test_nothing_to_learn_changes_nothing() -> None:
    learner = make()
    before = learner.state_dict()
    assert learner.learn_sequences(sequences(Histories.of([[5], [6]]), 50)) == {"targets": 0.0}
    assert state_tree.equal(before, learner.state_dict())


def test_resume_is_exact() -> None:
    learner, resumed = make(), make()
    for seed in range(5):
        learner.learn_sequences(chains(seed))
    resumed.load_state_dict(state_tree.unpack(*state_tree.pack(learner.state_dict())))
    for seed in range(5, 8):
        assert learner.learn_sequences(chains(seed)) == resumed.learn_sequences(chains(seed))
    assert state_tree.equal(learner.state_dict(), resumed.state_dict())


def test_a_step_that_is_not_finite_is_skipped() -> None:
    learner = make()
    learner.learn_sequences(chains(1))
    before = learner.ranker.items.weight.detach().clone()
    spoilt = learner.sequence_loss
    learner.sequence_loss = lambda *given: spoilt(*given) * torch.nan
    assert learner.learn_sequences(chains(2))["skipped_steps"] == 1
    assert torch.equal(before, learner.ranker.items.weight)


def test_ragged_histories_are_embedded_as_alone() -> None:
    learner = make()
    learner.learn_sequences(chains(1))
    draw = np.random.default_rng(2)
    lists = [draw.integers(2, ROWS, length).tolist() for length in (1, 30, 2, 2, 60, 7, 1)]
    together = learner.embed(Histories.of(lists), 50, positions=40)
    alone = torch.cat([learner.states(sequences(Histories.of([one]), 50)) for one in lists])
    torch.testing.assert_close(together, alone)
    assert len(learner.embed(Histories.of([]), 50)) == 0


def test_who_has_no_history_gets_what_is_popular() -> None:
    learner = make()
    learner.learn_sequences(sequences(Histories.of([[5, 6], [7, 6], [6, 5]]), 50))
    assert learner.score_all(Histories.of([[]]), 50)[0].argmax() == 6


@pytest.mark.parametrize("sampler", [uniform, popular, mixed])
def test_log_q_is_the_log_of_the_expected_draws(sampler: object) -> None:
    counts, number = torch.zeros(8), 64
    counts[2:6] = torch.tensor([1.0, 4.0, 9.0, 30.0])
    generator, drawn, log_q = torch.Generator().manual_seed(3), torch.zeros(8), torch.full((8,), -torch.inf)
    for _ in range(400):
        items, logs = sampler(counts, number, generator)  # type: ignore[operator]
        drawn += torch.bincount(items, minlength=8)
        log_q[items] = logs
    assert (drawn[[0, 1, 6, 7]] == 0).all()
    torch.testing.assert_close((drawn / 400)[2:6], log_q.exp()[2:6], rtol=0.05, atol=0.05)


def _rows(given: Sequences, rows: slice) -> Sequences:
    return Sequences(**{name: getattr(given, name)[rows] for name in given.__dataclass_fields__})
