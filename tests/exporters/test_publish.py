from __future__ import annotations

import numpy as np
import pytest
import torch

from exporters.announcements import Announcement, decode, encode
from exporters.errors import GateRefused
from exporters.gate import RecentExamples
from exporters.publish import DensePublisher
from exporters.runtime import RankerSession


@pytest.fixture
def told() -> list[Announcement]:
    return []


@pytest.fixture
def publisher(registry, told) -> DensePublisher:
    return DensePublisher(registry, name="student", announce=told.append)


def recent(tiny, ranker, batch: int = 64) -> RecentExamples:
    """Examples whose taken item is the one that ``ranker`` ranks first."""
    feeds = tiny.feeds(batch, seed=11)
    with torch.no_grad():
        logits = tiny.rank_graph(ranker).module.eval()(**tiny.rank_inputs(batch, seed=11))[0].numpy()
    labels = (logits == logits.max(1, keepdims=True)).astype(np.float32)
    return RecentExamples(feeds=feeds, labels=labels, mask=np.ones_like(labels, bool))


def test_what_is_published_answers_like_the_module(tiny, registry, publisher, told):
    ranker = tiny.ranker(4)
    written = tiny.publish(publisher, ranker, step=12)
    session = RankerSession(registry.folder("student", written.version) / "rank.onnx")
    with torch.no_grad():
        logits, weights = tiny.rank_graph(ranker).module.eval()(**tiny.rank_inputs(5, 31, seed=8))
    answer = session.run(tiny.feeds(5, 31, seed=8))
    np.testing.assert_allclose(answer["logits"], logits, atol=1e-4)
    np.testing.assert_allclose(answer["source_weights"], weights, atol=1e-4)
    assert (
        written.parity["rank"] < 1e-4
        and written.metrics == {"hr@10": 0.1}
        and written.meta == {"sources": ["item_knn"]}
    )
    assert [(one.kind, one.version, one.step) for one in told] == [("published", written.version, 12)]
    assert told[0].sha256 == registry.manifest_sha256("student", written.version) and told[0].time_ms > 0
    assert decode(encode(told[0])) == told[0] and told[0].key == b"student"


def test_publishing_again_exports_nothing_and_leaves_the_learner_as_it_was(tiny, publisher):
    ranker = tiny.ranker(5).train()
    before = {name: value.clone() for name, value in ranker.state_dict().items()}
    tiny.publish(publisher, ranker)
    with torch.no_grad():
        ranker.norm.weight.mul_(2)
    tiny.publish(publisher, ranker, step=2)
    assert publisher.architectures.exports == 0  # traced before, by the fixture, in another publisher
    assert ranker.training and all(parameter.requires_grad for parameter in ranker.parameters())
    assert torch.equal(ranker.blend.weight, before["blend.weight"])


def test_two_graphs_of_one_learner_make_one_version(tiny, registry, publisher):
    ranker = tiny.ranker(6)
    graphs = {"rank": tiny.rank_graph(ranker), "encode": tiny.encode_graph(ranker)}
    written = publisher.publish(graphs, {}, [], {}, {}, {}, 3)
    assert set(written.graphs) == {"rank", "encode"} and "user_vector" in written.graphs["encode"].outputs
    answer = RankerSession(registry.folder("student", written.version) / "encode.onnx").run(tiny.feeds(3))
    assert answer["user_vector"].shape == (3, 16)


def test_broken_weights_and_tables_are_refused_and_what_serves_goes_on(tiny, registry, publisher, told):
    good = tiny.publish(publisher, tiny.ranker())
    broken = tiny.ranker()
    with torch.no_grad():
        broken.norm.weight[0] = float("nan")
    with pytest.raises(GateRefused, match=r"norm\.weight"):
        tiny.publish(publisher, broken, step=2)
    with pytest.raises(GateRefused, match="item_vectors") as caught:
        publisher.publish({}, {"item_vectors": np.full((2, 2), np.inf, np.float32)}, [], {}, {}, {}, 3)
    assert caught.value.reason == "tables_not_finite"
    assert [one.kind for one in told] == ["published", "refused", "refused"]
    assert told[1].reason.startswith("weights_not_finite: ") and told[1].key != told[0].key
    assert registry.versions("student") == [good.version] and registry.current("student").version == good.version


def test_a_clearly_worse_model_is_refused_and_a_better_one_is_not(tiny, registry, publisher):
    teacher = tiny.ranker(7)
    examples = recent(tiny, teacher)
    first = tiny.publish(publisher, tiny.ranker(8), checks=examples)
    assert first.gate["note"] == "nothing serves yet"
    second = tiny.publish(publisher, teacher, step=2, checks=examples)
    assert second.gate["new_mrr"] == 1 and second.gate["serving_mrr"] < 0.9
    with pytest.raises(GateRefused) as caught:
        tiny.publish(publisher, tiny.ranker(8), step=3, checks=examples)
    assert caught.value.reason == "worse_than_serving"
    later = DensePublisher(registry)  # a trainer that was restarted judges by the version on disk
    with pytest.raises(GateRefused):
        tiny.publish(later, tiny.ranker(9), step=4, checks=examples)
    assert registry.current("student").version == second.version


def test_a_damaged_serving_version_does_not_stop_the_next(tiny, registry, publisher):
    first = tiny.publish(publisher, tiny.ranker(0))
    (registry.folder("student", first.version) / "rank.onnx").write_bytes(b"")
    later = DensePublisher(registry)
    written = tiny.publish(later, tiny.ranker(1), step=2, checks=recent(tiny, tiny.ranker(1)))
    assert written.gate["note"] == "nothing serves yet"


def test_a_stale_graph_is_traced_again_before_anything_is_refused(tiny, registry, tmp_path):
    """The cache holds the graph of another computation under this key: parity finds it, a new trace heals it."""
    import shutil

    registry.architectures_dir.unlink()
    (key,) = [entry.name for entry in _traced(tiny, registry)]
    folder = registry.architectures_dir / key
    import onnx

    proto = onnx.load(folder / "graph.onnx")
    divisions = [node for node in proto.graph.node if node.op_type == "Div"]
    divisions[-1].op_type = "Mul"
    onnx.save(proto, folder / "graph.onnx")
    healed = DensePublisher(registry)
    written = tiny.publish(healed, tiny.ranker(3), step=2)
    assert healed.architectures.exports == 1 and written.parity["rank"] < 1e-4
    shutil.rmtree(registry.architectures_dir)


def _traced(tiny, registry):
    tiny.publish(DensePublisher(registry), tiny.ranker())
    return list(registry.architectures_dir.iterdir())


def test_graphs_that_disagree_are_refused(tiny, registry, told):
    impossible = DensePublisher(registry, announce=told.append, tolerance=0.0)
    with pytest.raises(GateRefused, match="torch and ONNX Runtime disagree: logits") as caught:
        tiny.publish(impossible, tiny.ranker())
    assert caught.value.reason == "parity" and told[0].kind == "refused" and registry.versions("student") == []


def test_item_vectors_are_part_of_what_is_judged(tiny, registry, publisher, told):
    """The same graph with vectors that have lost their meaning is worse, although every graph alone is as good."""
    ranker = tiny.ranker(7)
    vectors = np.random.default_rng(3).normal(size=(40, 16)).astype(np.float32)
    rows = np.random.default_rng(4).integers(2, 40, (64, 9))
    feeds = {**tiny.feeds(64, seed=11), "candidate_vectors": vectors[rows]}
    inputs = {name: torch.from_numpy(value) for name, value in feeds.items()}
    with torch.no_grad():
        logits = tiny.rank_graph(ranker).module.eval()(**inputs)[0].numpy()
    labels = (logits == logits.max(1, keepdims=True)).astype(np.float32)
    mask = np.ones_like(labels, bool)
    examples = RecentExamples(feeds=feeds, labels=labels, mask=mask, rows={"candidate_vectors": rows})

    def publish(table: np.ndarray, step: int):
        graphs = {"rank": tiny.rank_graph(ranker)}
        return publisher.publish(graphs, {"item_vectors": table}, [], {}, {}, {}, step, checks=examples, epoch=3)

    first = publish(vectors, 1)
    assert first.epoch == 3 and first.stamp == (3 << 32) + 1
    shuffled = vectors[np.random.default_rng(5).permutation(40)]
    with pytest.raises(GateRefused) as caught:
        publish(5 * shuffled, 2)
    assert caught.value.reason == "worse_than_serving" and told[-1].kind == "refused"
    with pytest.raises(GateRefused) as caught:
        publish(1e6 * vectors, 3)
    assert caught.value.reason == "weights_too_large" and "item_vectors" in told[-1].reason
    assert publish(vectors, 4).gate["serving_mrr"] == 1
