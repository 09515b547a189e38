from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from online_models import state_tree
from online_models.batch import Batch
from streamer.distiller import Distiller, check_method
from streamer.errors import SettingsError
from streamer.memory import Memory
from streamer.network import Network
from streamer.settings import Settings
from streamer.snapshots import SnapshotStore
from streamer.soft_losses import SOFT_LOSSES, SecondTask

ITEMS = 12


def of_method(settings: Settings, method: str, **changes) -> Settings:
    learning = settings.learning.model_copy(update={"distillation": method, **changes})
    return settings.model_copy(update={"learning": learning})


@pytest.fixture
def batch(small_settings: Settings, walk) -> Batch:
    """Sixteen examples; the teacher prefers the candidate of the largest row and has kept three of each list."""
    memory = Memory(small_settings)
    made = walk(48)
    memory.admit(made)
    memory.observe(memory.build(made), made)
    built = memory.build(walk(16, 48))
    wanted = torch.where(built.offered, built.candidates.items.float(), -torch.inf)  # [B, N]
    kept = wanted >= wanted.topk(3, 1).values[:, -1:]
    logits = torch.where(kept & built.offered, wanted / 4, torch.nan)
    return replace(built, teacher_logits=logits, teacher_remainder=torch.zeros(16))


def made_of(settings: Settings, batch: Batch) -> tuple[Network, Distiller]:
    network = Network(settings, batch.candidates.source_scores.shape[-1])
    return network, Distiller(settings.learning, network)


@pytest.mark.parametrize("method", list(SOFT_LOSSES))
def test_the_soft_loss_falls(small_settings: Settings, batch: Batch, method: str) -> None:
    _, distiller = made_of(of_method(small_settings, method), batch)
    losses = [distiller.step(batch)["soft_loss"] for _ in range(30)]
    assert losses[-1] < 0.98 * losses[0]


@pytest.mark.parametrize("method", list(SOFT_LOSSES))
def test_a_batch_without_labels_teaches_nothing_soft(small_settings: Settings, batch: Batch, method: str) -> None:
    silent = replace(batch, teacher_logits=torch.full_like(batch.labels, torch.nan))
    network, distiller = made_of(of_method(small_settings, method), batch)
    plain = Network(small_settings, batch.candidates.source_scores.shape[-1])
    for _ in range(3):
        assert distiller.step(silent)["soft_loss"] == 0
        if method == "direct":  # the one that repeats the hard labels
            plain.learner.learn(batch)
    assert all(torch.equal(a, b) for a, b in zip(network.ranker.parameters(), plain.ranker.parameters(), strict=True))


def test_the_head_changes_no_served_logit(small_settings: Settings, batch: Batch) -> None:
    network, distiller = made_of(of_method(small_settings, "auxiliary"), batch)
    distiller.step(batch)
    before = network.learner.score(batch.context, batch.candidates)
    with torch.no_grad():
        for parameter in distiller.soft_loss.parameters():
            parameter.add_(torch.randn_like(parameter) * 10)
    assert torch.equal(before, network.learner.score(batch.context, batch.candidates))


def test_the_exported_graphs_have_none_of_the_head(small_settings: Settings, batch: Batch) -> None:
    network, distiller = made_of(of_method(small_settings, "auxiliary"), batch)
    own = {id(parameter) for parameter in distiller.soft_loss.parameters()}
    fresh = Network(small_settings, batch.candidates.source_scores.shape[-1])
    assert len(own) >= 4, "the head has weights"
    distiller.step(batch)
    for name, graph in network.ranker.graphs().items():
        weights = dict(graph.module.named_parameters())
        assert list(weights) == list(dict(fresh.ranker.graphs()[name].module.named_parameters()))
        assert not own & {id(parameter) for parameter in (*weights.values(), *graph.tables.values())}
    assert list(network.ranker.state_dict()) == list(fresh.ranker.state_dict())


def test_the_auxiliary_label_reaches_the_bottom_and_not_the_blend(small_settings: Settings, batch: Batch) -> None:
    network, distiller = made_of(of_method(small_settings, "auxiliary"), batch)
    blend, items = network.ranker.core.wide.weight.clone(), network.ranker.items.weight.clone()
    distiller.step(batch)
    assert torch.equal(blend, network.ranker.core.wide.weight), "the main logit's own weights"
    assert not torch.equal(items, network.ranker.items.weight), "what both logits share"


def test_direct_distillation_moves_the_served_logit_to_the_teacher(small_settings: Settings, batch: Batch) -> None:
    top = batch.teacher_logits.nan_to_num(-torch.inf).argmax(1)
    shares = {}
    for method in ("auxiliary", "direct"):
        network, distiller = made_of(of_method(small_settings, method, distillation_weight=3.0), batch)
        for _ in range(40):
            distiller.step(batch)
        scores = network.learner.score(batch.context, batch.candidates).masked_fill(~batch.offered, -torch.inf)
        shares[method] = scores.softmax(1).gather(1, top[:, None]).mean().item()
    assert shares["direct"] > shares["auxiliary"], "the auxiliary logit keeps the teacher's opinion to itself"


@pytest.mark.parametrize("method", list(SOFT_LOSSES))
def test_it_goes_on_bit_for_bit(small_settings: Settings, batch: Batch, method: str, tmp_path) -> None:
    settings = of_method(small_settings, method)
    network, distiller = made_of(settings, batch)
    for _ in range(3):
        distiller.step(batch)
    store = SnapshotStore(tmp_path)
    store.save({"network": network.state_dict(), "distiller": distiller.state_dict()}, {})
    again_network, again = made_of(settings, batch)
    snapshot = store.latest()
    assert snapshot is not None
    again_network.load_state_dict(snapshot.state["network"])
    again.load_state_dict(snapshot.state["distiller"])
    for _ in range(3):
        assert distiller.step(batch) == again.step(batch)
    assert state_tree.equal(again.state_dict(), distiller.state_dict())
    assert state_tree.equal(again_network.state_dict(), network.state_dict())


def test_the_state_of_another_method_is_left(small_settings: Settings, batch: Batch) -> None:
    _, auxiliary = made_of(of_method(small_settings, "auxiliary"), batch)
    _, direct = made_of(of_method(small_settings, "direct"), batch)
    auxiliary.step(batch)
    before = auxiliary.state_dict()
    auxiliary.load_state_dict(direct.state_dict())
    direct.load_state_dict(before)
    assert state_tree.equal(auxiliary.state_dict(), before)


def test_a_row_whose_item_has_left_starts_afresh(small_settings: Settings, batch: Batch) -> None:
    _, distiller = made_of(of_method(small_settings, "auxiliary"), batch)
    distiller.step(batch)
    (table,) = distiller.soft_loss.item_tables()
    row = int(table.abs().sum(1).argmax())
    assert table[row].abs().sum() > 0
    distiller.forget(np.array([row]))
    assert table[row].abs().sum() == 0
    assert all(moment[row].abs().sum() == 0 for moment in distiller.optimizer.state[table].values())


def test_a_bad_number_does_no_harm(small_settings: Settings, batch: Batch) -> None:
    network, distiller = made_of(of_method(small_settings, "auxiliary"), batch)
    distiller.step(batch)
    before = (network.state_dict()["ranker"], distiller.state_dict()["soft_loss"])
    distiller.step(replace(batch, teacher_logits=torch.full_like(batch.labels, torch.inf)))
    assert state_tree.equal(before, (network.state_dict()["ranker"], distiller.state_dict()["soft_loss"]))
    assert network.learner.skipped_steps == 1


def test_an_unknown_method_is_named_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match="'hints'; the methods are auxiliary, direct, ranking, off"):
        check_method("hints")


def test_the_second_task_is_learnt_and_reaches_no_served_graph(small_settings: Settings, batch: Batch) -> None:
    """The teacher finds every second item that is taken satisfying."""
    told = torch.where(batch.candidates.items.gather(1, batch.labels.argmax(1, keepdim=True)).squeeze(1) % 2 > 0, 3, -3)
    taught = replace(batch, teacher_satisfaction=told.float())
    network, distiller = made_of(of_method(small_settings, "auxiliary", satisfaction_weight=1.0), batch)
    assert isinstance(distiller.soft_loss, SecondTask)
    items = network.ranker.items.weight.clone()

    def distance() -> float:
        return float(distiller.soft_loss(network.ranker, taught)[1])

    before = distance()
    for _ in range(40):
        distiller.step(taught)
    assert distance() < 0.99 * before, "the loss of the second task alone"
    assert not torch.equal(items, network.ranker.items.weight)
    head = {id(parameter) for parameter in distiller.soft_loss.head.parameters()}
    for graph in network.ranker.graphs().values():
        assert not head & {id(parameter) for parameter in graph.module.parameters()}


@pytest.mark.parametrize("left", [False, True])
def test_a_teacher_without_an_opinion_teaches_no_second_task(
    small_settings: Settings, batch: Batch, left: bool
) -> None:
    """It has said nothing of the items, or what was taken has left the catalogue meanwhile."""
    said = torch.full((16,), 3.0 if left else torch.nan)
    silent = replace(batch, teacher_satisfaction=said, labels=batch.labels * (not left))
    network, distiller = made_of(of_method(small_settings, "auxiliary", satisfaction_weight=1.0), batch)
    assert float(distiller.soft_loss(network.ranker, silent)[1]) == 0
