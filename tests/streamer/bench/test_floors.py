from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from fastapi.testclient import TestClient
from onnx import TensorProto, helper

from streamer.bench import floors
from streamer.bench.floor_app import build


def test_inputs_have_the_shapes_and_types_that_a_graph_asks_for() -> None:
    inputs = [
        helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["B", "N", 3]),
        helper.make_tensor_value_info("actions", TensorProto.INT64, ["B", 7]),
    ]
    output = helper.make_tensor_value_info("same", TensorProto.FLOAT, ["B", "N", 3])
    graph = helper.make_graph([helper.make_node("Identity", ["vectors"], ["same"])], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = floors.drawn_feeds(session, {"B": 2, "N": 5})
    assert feeds["vectors"].shape == (2, 5, 3) and feeds["actions"].shape == (2, 7)
    assert feeds["vectors"].dtype == np.float32 and feeds["actions"].dtype == np.int64
    assert session.run(None, feeds)[0].shape == (2, 5, 3)


def test_a_call_is_repeated_with_its_number() -> None:
    numbers: list[int] = []
    found = floors.repeated(numbers.append, times=30)
    assert numbers[-30:] == list(range(30)) and found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]


def test_the_empty_route_answers_with_the_size_asked_for() -> None:
    client = TestClient(build(2_500))
    answer = client.post("/recommend", content=b'{"user_id": "u"}')
    assert answer.status_code == 200 and len(answer.content) == 2_500
