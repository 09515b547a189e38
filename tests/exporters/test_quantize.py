from __future__ import annotations

import numpy as np
import onnx
import pytest

from exporters import quantize
from exporters.architectures import Architectures, architecture_key
from exporters.errors import ExportError
from exporters.gate import RecentExamples
from exporters.modules import frozen_copy, values_of
from exporters.onnx import with_values
from exporters.publish import DensePublisher
from exporters.quantize import quantized
from exporters.runtime import ModelHost
from exporters.session import RankerSession


@pytest.fixture
def publisher(registry) -> DensePublisher:
    return DensePublisher(registry, int8=True)


@pytest.fixture
def hosts(registry) -> dict[str, ModelHost]:
    return {precision: ModelHost(registry=registry, precision=precision) for precision in ("float32", "int8")}


def filled(registry, graph, module) -> bytes:
    architectures = Architectures(registry.architectures_dir)
    return with_values(architectures.get(architecture_key(graph, module), graph, module), values_of(module))


def checks(tiny, ranker, examples: int = 60) -> RecentExamples:
    """Recent examples in which the ranker is always right."""
    inputs = tiny.rank_inputs(examples, seed=5)
    logits = tiny.rank_graph(ranker).module.eval()(**inputs)[0].detach().numpy()
    labels = (logits == logits.max(1, keepdims=True)).astype(np.float32)
    feeds = {name: value.numpy() for name, value in inputs.items()}
    return RecentExamples(feeds=feeds, labels=labels, mask=np.ones(labels.shape, bool))


def test_an_int8_graph_is_smaller_and_ranks_nearly_the_same(tiny, registry):
    graph = tiny.rank_graph(tiny.ranker())
    module = frozen_copy(graph.module)
    content = filled(registry, graph, module)
    small = quantized(content)
    kinds = [node.op_type for node in onnx.load_model_from_string(small).graph.node]
    assert "MatMulInteger" in kinds or "DynamicQuantizeMatMul" in kinds
    feeds = tiny.feeds(candidates=50, seed=2)
    plain, int8 = RankerSession(content).run(feeds)["logits"], RankerSession(small).run(feeds)["logits"]
    assert 0 < np.abs(plain - int8).max() < 0.2 * plain.std()
    with pytest.raises(ExportError, match="could not be quantised"):
        quantized(b"no graph")


def test_both_precisions_are_published_as_one_version_and_each_server_takes_its_own(tiny, publisher, hosts):
    ranker = tiny.ranker()
    written = tiny.publish(publisher, ranker, checks=checks(tiny, ranker))
    assert sorted(written.graphs) == ["rank", "rank.int8"] == sorted(written.parity)
    assert written.parity["rank"] < 1e-4 < written.parity["rank.int8"] and "int8" not in written.gate
    answers = {}
    for precision, host in hosts.items():
        assert host.start().swapped and set(host.current.sessions) == {"rank"}
        answers[precision] = host.current.sessions["rank"].run(tiny.feeds(seed=3))["logits"]
    assert 0 < np.abs(answers["float32"] - answers["int8"]).max() < 0.5


def test_an_int8_form_that_ranks_clearly_worse_is_left_out_and_the_version_says_why(
    tiny, registry, publisher, hosts, monkeypatch
):
    ranker, other = tiny.ranker(0), tiny.ranker(1)
    graph = tiny.rank_graph(other)
    module = frozen_copy(graph.module)
    wrong = quantized(filled(registry, graph, module))
    monkeypatch.setattr(quantize, "quantized", lambda content: wrong)
    monkeypatch.setattr(quantize, "TOLERANCE", 1e9)
    written = tiny.publish(publisher, ranker, checks=checks(tiny, ranker))
    assert list(written.graphs) == ["rank"]
    assert "int8 refused" in written.gate["int8"] and "mean reciprocal rank" in written.gate["int8"]
    assert hosts["int8"].start().swapped  # float32, where there is no int8


def test_an_int8_form_that_is_too_far_from_torch_is_left_out(tiny, publisher, monkeypatch):
    monkeypatch.setattr(quantize, "TOLERANCE", 1e-6)
    written = tiny.publish(publisher, tiny.ranker())
    assert list(written.graphs) == ["rank"] and "too far from torch" in written.gate["int8"]


def test_nothing_is_quantised_unless_it_is_asked_for(tiny, registry, monkeypatch):
    monkeypatch.setattr(quantize, "quantized", lambda content: 1 / 0)
    assert list(tiny.publish(DensePublisher(registry), tiny.ranker()).graphs) == ["rank"]
