from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from river import optim, reco

from online_models.checks import SIZES, example_batch
from online_models.zoo.biased_mf import BiasedMF


def taught(steps: int = 5) -> BiasedMF:
    learner = BiasedMF.make_for_checks()
    for seed in range(steps):
        learner.learn(example_batch(seed))
    return learner


def test_scores_are_rivers_own() -> None:
    learner, batch = taught(), example_batch(seed=9)
    scores = learner.score(batch.context, batch.candidates)
    for b, user in enumerate(batch.context.user.tolist()):
        for n, item in enumerate(batch.candidates.items[b].tolist()):
            assert scores[b, n].item() == pytest.approx(learner.model.predict_one(user, item), abs=1e-6)


def test_learning_is_rivers_own() -> None:
    config = BiasedMF.Config(rows=SIZES.rows, users=SIZES.users, factors=4, negatives=100)
    learner, batch = BiasedMF(config), example_batch(seed=1)
    river = reco.BiasedMF(
        4,
        optim.SGD(config.learning_rate),
        optim.SGD(config.learning_rate),
        l2_latent=config.l2_latent,
    )
    river.u_latents.update(enumerate(learner.model.u_latents.copy()))
    river.i_latents.update(enumerate(learner.model.i_latents.copy()))
    pairs = []
    original = learner.model.learn_one
    learner.model.learn_one = lambda *pair: (pairs.append(pair), original(*pair))
    learner.learn(batch)
    assert len(pairs) == batch.labels.numel()
    for pair in pairs:
        river.learn_one(*pair)
    for user, item, _ in pairs:
        assert learner.model.predict_one(user, item) == pytest.approx(river.predict_one(user, item), abs=1e-12)


def test_it_learns_who_likes_what() -> None:
    learner = BiasedMF.make_for_checks()
    batch = example_batch(seed=1, examples=4)
    batch = replace(batch, context=replace(batch.context, user=torch.arange(4)))
    for _ in range(150):
        learner.learn(batch)
    scores = learner.score(batch.context, batch.candidates)
    assert torch.equal(scores.argmax(1), batch.labels.argmax(1))


def test_negatives_are_bounded_and_never_padding() -> None:
    learner = BiasedMF.make_for_checks()
    items = np.array([5, 6, 7, 8, 0, 0])
    pairs = learner._pairs(items, np.array([True, False, False, False, False, False]))
    assert pairs[0] == (5, 1.0) and len(pairs) == 3
    assert all(target == 0 and item in (6, 7, 8) for item, target in pairs[1:])
    assert learner._pairs(items, np.zeros(6, bool)) == [], "a list without a click is left out"


def test_a_state_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the state's u_biases is \(32,\), this model's is \(8,\)"):
        BiasedMF(BiasedMF.Config(rows=SIZES.rows, users=8, factors=4)).load_state_dict(taught().state_dict())


def test_freed_rows_start_afresh() -> None:
    learner = taught()
    rows = np.flatnonzero(learner.model.i_biases)[:3]
    before = learner.model.i_latents.copy()
    learner.forget(rows)
    assert (learner.model.i_biases[rows] == 0).all() and learner.model.i_biases.any()
    assert (learner.model.i_latents != before).any(1).nonzero()[0].tolist() == rows.tolist()
