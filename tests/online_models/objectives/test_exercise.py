"""What every objective promises: nothing is visible to what predicts it, and only what may be asked about is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from online_models.encoders.merge import Concatenated, Summed
from online_models.learner import seeded
from online_models.objectives.causal import Causal
from online_models.objectives.exercise import Exercise, Objective
from online_models.objectives.masked import Masked
from online_models.objectives.permuted import Permuted
from online_models.objectives.replaced_token import ReplacedToken
from online_models.sequences import Sequences
from online_models.zoo.transformers4rec import Transformers4Rec

ROWS, LENGTH = 40, 9
OBJECTIVES: dict[str, Objective] = {
    "causal": Causal(),
    "masked": Masked(share=0.4, newest_share=0.2),
    "permuted": Permuted(share=0.5, newest_share=0.2),
    "replaced": ReplacedToken(share=0.4, newest_share=0.2),
}
each = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def histories(seed: int = 0, users: int = 6) -> Sequences:
    """Random histories of 3 .. LENGTH events, all but the first of them targets."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, LENGTH + 1, (users, 1), generator=draw)
    real = torch.arange(LENGTH) >= LENGTH - lengths  # [B, T]
    times = torch.rand(users, LENGTH, generator=draw, dtype=torch.float64).cumsum(1) * 1000
    return Sequences(
        items=torch.randint(2, ROWS, (users, LENGTH), generator=draw) * real,
        actions=torch.randint(1, 5, (users, LENGTH), generator=draw) * real,
        times_seconds=times * real,
        target_weights=(real & (real.cumsum(1) > 1)).float(),
        users=torch.arange(users),
        asked_seconds=times[:, -1] + 60,
    )


def encoder(objective: Objective, merge: Callable[..., torch.nn.Module] = Summed) -> Transformers4Rec:
    with seeded(3):
        ranker = Transformers4Rec(
            Transformers4Rec.Config(catalog_rows=ROWS, dimension=16, history=LENGTH, dropout=0.0), objective, merge
        ).eval()
        torch.nn.init.normal_(ranker.items.weight, std=0.5)
    for row in range(2, ROWS):
        ranker.set_categories(row, [row % 7])
    return ranker


def exercises(objective: Objective, sequences: Sequences, seed: int = 0) -> list[Exercise]:
    """Exercises of the same random numbers, guesses that do not depend on what is hidden."""
    with seeded(seed):
        return objective.exercises(sequences, lambda exercise: torch.full_like(exercise.items, ROWS - 1))


@each
@pytest.mark.parametrize("merge", [Concatenated, Summed])
def test_what_is_predicted_is_invisible_to_its_own_prediction(
    objective: Objective, merge: Callable[..., torch.nn.Module]
) -> None:
    ranker, sequences, checked = encoder(objective, merge), histories(), 0
    (given, *_) = exercises(objective, sequences)
    before = ranker._states(given)
    for user, token in (given.weights > 0).nonzero().tolist():
        # the history's column whose item this token predicts
        column = token + 1 if isinstance(objective, Causal) else token % LENGTH
        assert given.targets[user, token] == sequences.items[user, column]
        changed = sequences.items.clone()
        changed[user, column] = 2 + (changed[user, column] - 2 + 1) % (ROWS - 2)
        (other, *_) = exercises(objective, replace(sequences, items=changed))
        after = ranker._states(other)
        assert torch.allclose(before[user, token], after[user, token], atol=1e-6), (user, token)
        checked += 1
    assert checked >= 6  # at least one of every history


@each
def test_what_surrounds_a_prediction_matters(objective: Objective) -> None:
    ranker, sequences = encoder(objective), histories()
    (given, *_) = exercises(objective, sequences)
    changed = torch.where(sequences.mask, 2 + (sequences.items - 2 + 1) % (ROWS - 2), 0)
    (other, *_) = exercises(objective, replace(sequences, items=changed))
    asked = given.weights > 0
    assert not torch.allclose(ranker._states(given)[asked], ranker._states(other)[asked], atol=1e-3)


@each
def test_only_events_with_a_target_weight_are_asked_about(objective: Objective) -> None:
    sequences = histories()
    newest = torch.zeros_like(sequences.target_weights)
    newest[:, -1] = 2.0
    for seed in range(5):
        first, *_ = exercises(objective, replace(sequences, target_weights=newest), seed)
        assert (first.weights > 0).sum() == len(newest)  # one of each history
        assert torch.equal(first.targets[first.weights > 0], sequences.items[:, -1])
        assert bool((first.weights[first.weights > 0] == 2.0).all())


@each
def test_a_question_asks_behind_the_newest_event(objective: Objective) -> None:
    ranker, sequences = encoder(objective), histories()
    state = ranker.newest_state(sequences)
    for column in range(LENGTH):
        changed = sequences.items.clone()
        changed[:, column] = torch.where(sequences.mask[:, column], 2 + (changed[:, column] - 1) % (ROWS - 2), 0)
        moved = (ranker.newest_state(replace(sequences, items=changed)) - state).abs().amax(1)
        assert torch.equal(moved > 1e-6, sequences.mask[:, column])  # every real event is seen, padding is not


@each
def test_padding_in_front_changes_no_exercise_loss(objective: Objective) -> None:
    ranker, sequences = encoder(objective), histories(users=1)
    real = slice(int((sequences.items == 0).sum()), None)
    columns = ("items", "actions", "times_seconds", "target_weights")
    trimmed = replace(sequences, **{name: getattr(sequences, name)[:, real] for name in columns})
    long, short = ranker.newest_state(sequences), ranker.newest_state(trimmed)
    assert torch.allclose(long, short, atol=1e-5)


def test_causal_predicts_every_next_event_once() -> None:
    sequences = histories()
    (given,) = exercises(Causal(), sequences)
    assert torch.equal(given.targets * (given.weights > 0), (sequences.items * (sequences.target_weights > 0))[:, 1:])


def test_masked_hides_its_share_and_the_newest_alone() -> None:
    sequences = histories(users=4_000)
    (given,) = exercises(Masked(share=0.3, newest_share=0.0), sequences)
    share = given.hidden.sum() / (sequences.target_weights > 0).sum()
    assert 0.29 < share < 0.45  # at least one in short histories
    (given,) = exercises(Masked(share=0.3, newest_share=1.0), sequences)
    assert bool((given.hidden.sum(1) == 1).all() and given.hidden[:, -1].all())


def test_permuted_order_is_followed() -> None:
    sequences = histories()
    (given,) = exercises(Permuted(share=0.6, newest_share=0.0), sequences)
    contents, queries = slice(0, LENGTH), slice(LENGTH, None)
    asked = given.weights[:, queries] > 0  # [B, T]
    allowed = given.allowed[:, 0]  # [B, S, S]
    seen = allowed[:, queries, contents]  # [B, T, T] who is seen by whose query
    for user in range(len(asked)):
        places = asked[user].nonzero().squeeze(1)
        context = (sequences.mask[user] & ~asked[user]).nonzero().squeeze(1)
        among = seen[user][places][:, places]
        # a total order: the k-th is seen by all after it and by none before, so the counts are 0, 1, 2 …
        assert sorted(among.sum(1).tolist()) == list(range(len(places)))
        assert bool(seen[user][places][:, context].all())
        assert not bool((among & among.T).any())
        # context never learns what is to be predicted, not even over another event
        assert not bool(allowed[user][context][:, places].any())
    assert not bool(allowed[:, contents, queries].any())


def test_permuted_orders_differ_between_draws() -> None:
    sequences = histories()
    first, second = (exercises(Permuted(share=1.0, newest_share=0.0), sequences, seed)[0] for seed in (1, 2))
    assert not torch.equal(first.allowed, second.allowed)


def test_replaced_tokens_are_labelled_where_they_differ() -> None:
    sequences = histories()
    masked, judged = exercises(ReplacedToken(share=0.5, newest_share=0.0, detection_weight=3.0), sequences)
    assert bool((judged.items[masked.hidden] == ROWS - 1).all())
    assert torch.equal(judged.items[~masked.hidden], sequences.items[~masked.hidden])
    assert torch.equal(judged.replaced, judged.items != sequences.items)
    assert not bool(judged.hidden.any() or (judged.weights > 0).any())
    assert torch.equal(judged.judged_weights, 3.0 * sequences.mask)


@pytest.mark.parametrize("objective", [Masked, Permuted, ReplacedToken])
def test_shares_are_probabilities(objective: Callable[..., Objective]) -> None:
    with pytest.raises(ValueError, match=r"within \[0, 1\]"):
        objective(share=1.5)
