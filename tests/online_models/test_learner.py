from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from online_models import state_tree
from online_models.batch import UNKNOWN, Batch, Candidates, Context
from online_models.checks import SIZES, check_learner, example_batch
from online_models.learner import Graph, Learner, TorchLearner, adam, seeded
from online_models.optim import Clippy, LazyAdam, clippy_adagrad
from online_models.ranker import Ranker


class Noisy(Ranker):
    """Item bias from a sparse table, a dense layer on the features, and dropout."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.items = nn.Embedding(SIZES.rows, 4, sparse=True)
        self.context = nn.Linear(SIZES.features, 4)
        self.dropout = nn.Dropout(dropout)

    def forward(self, context: Context, candidates: Candidates) -> Tensor:
        user = self.dropout(self.context(context.features))  # [B, 4]
        return torch.einsum("bd,bnd->bn", user, self.items(candidates.items))

    def item_tables(self) -> list[Tensor]:
        return [self.items.weight]

    def graphs(self) -> dict[str, Graph]:
        inputs = {"input": torch.zeros(2, SIZES.features)}
        return {"user": Graph(module=self.context, inputs=inputs, outputs=("vector",), dynamic={"input": {0: "B"}})}


def make(seed: int = 7, **options: object) -> TorchLearner:
    with seeded(seed):
        return TorchLearner(Noisy(), **options)  # type: ignore[arg-type]


OPTIMIZERS = {
    "lazy adam": adam,
    "sgd": partial(torch.optim.SGD, lr=0.1),
    "adagrad": partial(torch.optim.Adagrad, lr=0.05),
    "clippy over lazy adam": lambda parameters: Clippy(LazyAdam(parameters, lr=1e-2)),
    "clippy-adagrad": partial(clippy_adagrad, lr=0.3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_composition_keeps_the_laws(name: str) -> None:
    assert isinstance(make(), Learner)
    check_learner(partial(make, optimizer=OPTIMIZERS[name]))


def test_dropout_resumes_with_its_random_numbers() -> None:
    learner, resumed = make(), make(seed=8)
    learner.learn(example_batch(1))
    resumed.load_state_dict(learner.state_dict())
    torch.manual_seed(99)
    first = learner.learn(example_batch(2))
    torch.manual_seed(5)
    assert resumed.learn(example_batch(2)) == first
    assert not state_tree.equal(resumed.state_dict()["random"], make().state_dict()["random"])


def test_two_learners_in_two_threads_draw_their_own_numbers() -> None:
    alone, beside = make(), make()
    batches = [example_batch(number) for number in range(60)]
    stop = threading.Event()

    def disturb() -> None:
        other = make(seed=9)
        while not stop.is_set():
            other.learn(batches[0])

    for batch in batches:
        alone.learn(batch)
    thread = threading.Thread(target=disturb)
    thread.start()
    for batch in batches:
        beside.learn(batch)
    stop.set()
    thread.join()
    assert state_tree.equal(alone.state_dict(), beside.state_dict())


def test_learning_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    make().learn(example_batch(1))
    assert torch.equal(before, torch.get_rng_state())


def test_the_state_is_a_copy() -> None:
    learner = make()
    learner.learn(example_batch(1))
    state = learner.state_dict()
    raw = state_tree.pack(state)
    kept = ({name: tensor.clone() for name, tensor in raw[0].items()}, raw[1])
    other = make()
    other.load_state_dict(state)
    learner.learn(example_batch(2))
    other.learn(example_batch(3))
    assert state_tree.equal(state, state_tree.unpack(*kept))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e38])
def test_steps_that_are_not_finite_are_skipped_and_counted(bad: float) -> None:
    learner, batch = make(clip_norm=None), example_batch(1)
    learner.learn(batch)
    before = learner.state_dict()
    spoilt = replace(batch, context=replace(batch.context, features=torch.full_like(batch.context.features, bad)))
    plots = learner.learn(spoilt)
    assert plots["skipped_steps"] == 1 == learner.skipped_steps and learner.steps == 1
    for part in ("ranker", "optimizer"):
        assert state_tree.equal(before[part], learner.state_dict()[part])
    assert learner.learn(batch)["skipped_steps"] == 1 and learner.steps == 2


def test_an_infinite_gradient_of_a_finite_loss_is_skipped() -> None:
    def root(logits: Tensor, batch: Batch) -> Tensor:
        return (logits * 0).sum().sqrt()

    learner = make(distill=root)
    plots = learner.learn(example_batch(1))
    assert plots["loss"] < 100 and learner.skipped_steps == 1 and learner.steps == 0


def test_distillation_is_added() -> None:
    def pull(logits: Tensor, batch: Batch) -> Tensor:
        assert logits.shape == batch.labels.shape
        return logits.square().mean() + 2.0

    assert make(distill=pull).learn(example_batch(1))["loss"] > make().learn(example_batch(1))["loss"] + 1.9


def test_long_gradients_are_shortened_and_reported_whole() -> None:
    moved = {}
    for clip in (1e-3, None):
        learner = make(clip_norm=clip, optimizer=partial(torch.optim.SGD, lr=1.0))
        before = [parameter.detach().clone() for parameter in learner.ranker.parameters()]
        plots = learner.learn(example_batch(1))
        after = list(learner.ranker.parameters())
        moved[clip] = torch.cat([(b - a).flatten() for b, a in zip(before, after, strict=True)]).norm().item()
    assert plots["gradient_norm"] > 1e-3
    assert moved[1e-3] == pytest.approx(1e-3, rel=0.02)
    assert moved[None] == pytest.approx(plots["gradient_norm"], rel=1e-3)


def test_an_empty_batch_or_one_without_clicks_changes_no_weights_by_sgd() -> None:
    learner = make(optimizer=partial(torch.optim.SGD, lr=1.0))
    before = learner.state_dict()["ranker"]
    batch = example_batch(1)
    learner.learn(replace(batch, labels=torch.zeros_like(batch.labels)))
    assert state_tree.equal(before, learner.state_dict()["ranker"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_freed_rows_start_afresh(name: str) -> None:
    learner, batch = make(optimizer=OPTIMIZERS[name]), example_batch(1)
    learner.learn(batch)
    rows = batch.candidates.items[0, :2]
    learner.forget(rows)
    table = learner.ranker.item_tables()[0]
    assert torch.equal(table[rows], table[UNKNOWN].expand(2, -1))
    for moment in learner.optimizer.state[table].values():
        if isinstance(moment, Tensor) and moment.dim() > 0:
            assert (moment[rows] == 0).all() and (moment != 0).any()


def test_scoring_is_in_evaluation_mode_and_export_is_the_rankers() -> None:
    learner, batch = make(), example_batch(1)
    learner.learn(batch)
    assert not learner.ranker.training
    assert not learner.score(batch.context, batch.candidates).requires_grad
    assert list(learner.export()) == ["user"]


def test_a_step_says_how_far_it_went() -> None:
    learner, batch = make(optimizer=partial(torch.optim.SGD, lr=0.1), clip_norm=None), example_batch(1)
    rows = torch.unique(batch.candidates.items)
    before = [learner.ranker.items.weight.detach()[rows].clone(), *(p.detach().clone() for p in dense(learner))]
    plots = learner.learn(batch)
    length = torch.nn.utils.get_total_norm(before).item()
    assert plots["update_ratio"] == pytest.approx(0.1 * plots["gradient_norm"] / length, rel=1e-3)
    assert "sigma_median" not in plots and learner.clipping_factors() == {}


def dense(learner: TorchLearner) -> list[nn.Parameter]:
    return list(learner.ranker.context.parameters())


def test_with_clippy_a_step_says_what_was_cut_of_each_parameter() -> None:
    learner = make(optimizer=lambda parameters: Clippy(LazyAdam(parameters, lr=1.0), relative=0.1, absolute=1e-3))
    plots, factors = learner.learn(example_batch(1)), learner.clipping_factors()
    assert set(factors) == {"items.weight", "context.weight", "context.bias"}
    assert plots["sigma_min"] == min(factors.values()) < plots["sigma_median"] < 1
    spoilt = replace(example_batch(2), weights=torch.full((8,), torch.nan))
    assert learner.learn(spoilt)["update_ratio"] == 0 and learner.skipped_steps == 1


def test_spikes_are_counted_and_survive_a_resume() -> None:
    learner, batch = make(optimizer=partial(torch.optim.SGD, lr=1e-3)), example_batch(1)
    for _ in range(30):
        learner.learn(batch)
    spoilt = replace(batch, weights=torch.full((8,), torch.nan))
    assert learner.learn(spoilt)["loss_spikes"] == 1
    resumed = make(optimizer=partial(torch.optim.SGD, lr=1e-3))
    resumed.load_state_dict(learner.state_dict())
    assert resumed.learn(batch)["loss_spikes"] == 1
