"""One graph and its providers. A provider that fails is played by a session that claims CUDA, and then raises."""

from __future__ import annotations

import logging

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from exporters import metrics
from exporters.errors import RuntimeLoadError
from exporters.session import Execution, RankerSession


@pytest.fixture(scope="module")
def graph() -> bytes:
    """Twice what is given, for any number of candidates."""
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "N", 3])
    marked = helper.make_tensor_value_info("mark", TensorProto.INT64, [4])
    twice = helper.make_tensor_value_info("twice", TensorProto.FLOAT, ["B", "N", 3])
    nodes = [helper.make_node("Add", ["x", "x"], ["twice"])]
    proto = helper.make_graph(nodes, "twice", [given, marked], [twice])
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


FEEDS = {"x": np.ones((1, 2, 3), np.float32), "mark": np.zeros(4, np.int64)}


class OnCuda:
    """A real session that claims to run on CUDA, and does what a broken one does."""

    def __init__(self, session: onnxruntime.InferenceSession, error: Exception | None) -> None:
        self._session, self._error = session, error
        self.runs = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def run(self, *given: object) -> object:
        self.runs += 1
        if self._error is not None:
            raise self._error
        return self._session.run(*given)


@pytest.fixture
def cuda(monkeypatch):
    """Let ONNX Runtime say that there is CUDA; `fail` says where it breaks."""
    opened: list[list[str]] = []
    real, fail = onnxruntime.InferenceSession, {"load": None, "run": None}

    def open_session(model, options, providers):
        opened.append(providers)
        session = real(model, options, providers=["CPUExecutionProvider"])
        if providers[0] != "CUDAExecutionProvider":
            return session
        if fail["load"] is not None:
            raise fail["load"]
        return OnCuda(session, fail["run"])

    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: available)
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    return {"opened": opened, "fail": fail}


def fell_back(provider: str, when: str) -> float:
    return metrics.PROVIDER_FALLBACKS.labels(provider, when)._value.get()


def test_cuda_is_taken_where_there_is_one(graph, cuda):
    session = RankerSession(graph)
    assert session.provider == "CUDAExecutionProvider" and cuda["opened"] == [
        ["CUDAExecutionProvider", "CPUExecutionProvider"]
    ]
    assert session.run(FEEDS)["twice"].max() == 2
    assert RankerSession(graph, Execution(providers=("cpu",))).provider == "CPUExecutionProvider"


def test_a_provider_that_does_not_load_is_left_out_and_counted(graph, cuda, caplog):
    before = fell_back("CUDA", "load")
    cuda["fail"]["load"] = RuntimeError("CUDA driver version is insufficient")
    with caplog.at_level(logging.WARNING):
        session = RankerSession(graph)
    assert session.provider == "CPUExecutionProvider" and session.run(FEEDS)["twice"].max() == 2
    assert fell_back("CUDA", "load") == before + 1 and "driver version" in caplog.text


def test_a_provider_that_breaks_while_it_serves_costs_no_answer(graph, cuda):
    before = fell_back("CUDA", "run")
    cuda["fail"]["run"] = RuntimeError("CUDA error: an illegal memory access was encountered")
    session = RankerSession(graph)
    broken = session._session
    for _ in range(3):
        assert session.run(FEEDS)["twice"].max() == 2
    assert session.provider == "CPUExecutionProvider" and broken.runs == 1
    assert fell_back("CUDA", "run") == before + 1


def test_wrong_inputs_are_not_the_providers_fault(graph, cuda):
    before = fell_back("CUDA", "run")
    session = RankerSession(graph)
    with pytest.raises(RuntimeLoadError, match="did not run"):
        session.run({**FEEDS, "x": np.ones((1, 2, 7), np.float32)})
    assert session.provider == "CUDAExecutionProvider" and fell_back("CUDA", "run") == before


def test_a_provider_that_is_not_installed_is_counted_only_where_it_was_asked_for(graph):
    before = fell_back("TensorRT", "load")
    session = RankerSession(graph, Execution(providers=("TensorRT", "CPU")))
    assert session.provider == "CPUExecutionProvider" and session.run(FEEDS)["twice"].max() == 2
    assert fell_back("TensorRT", "load") == before + 1
    nobody_asked = fell_back("CUDA", "load")
    RankerSession(graph)
    assert fell_back("CUDA", "load") == nobody_asked


def test_warming_up_answers_one_request_of_full_size(graph, cuda):
    session = RankerSession(graph)
    session.warm_up()
    assert session._session.runs == 1
    cuda["fail"]["run"] = RuntimeError("out of memory")
    breaks = RankerSession(graph)
    breaks.warm_up()  # the CPU stands in
    assert breaks.provider == "CPUExecutionProvider"


def test_threads_of_a_call_sleep_between_calls(graph):
    options = RankerSession(graph, Execution(threads=2))._options()
    assert options.intra_op_num_threads == 2 and options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
