from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exporters.errors import ExportError
from exporters.modules import frozen_copy, values_of
from exporters.onnx import Exported, export, with_values
from exporters.parity import Reference, compare
from exporters.runtime import RankerSession
from online_models.learner import Graph


@pytest.fixture(scope="module")
def exported(tiny) -> Exported:
    graph = tiny.rank_graph(tiny.ranker())
    return export(graph, frozen_copy(graph.module))


def _agrees(exported: Exported, graph: Graph, inputs: dict[str, Tensor]) -> float:
    module = frozen_copy(graph.module)
    session = RankerSession(with_values(exported, values_of(module)))
    report = compare(Reference(module=module, inputs=inputs, outputs=graph.outputs), session)
    assert report.passed, report
    return report.max_abs


@pytest.mark.parametrize(("batch", "candidates"), [(1, 1), (2, 9), (5, 200)])
def test_new_values_answer_like_the_module_that_they_came_from(tiny, exported, batch, candidates):
    other = tiny.rank_graph(tiny.ranker(seed=99))
    with torch.no_grad():
        other.module.ranker.scale.mul_(3)
        other.module.ranker.floor.add_(1)  # a buffer that no state_dict carries
    _agrees(exported, other, tiny.rank_inputs(batch, candidates, seed=5))


def test_values_move_the_answer(tiny, exported):
    inputs = tiny.feeds()
    first = RankerSession(with_values(exported, values_of(tiny.rank_graph(tiny.ranker(0)).module))).run(inputs)
    second = RankerSession(with_values(exported, values_of(tiny.rank_graph(tiny.ranker(1)).module))).run(inputs)
    assert np.abs(first["logits"] - second["logits"]).max() > 0.1


def test_every_kind_of_layer_is_bound(exported):
    bound = {binding.initializer for binding in exported.bindings}
    for part in ("in_proj_weight", "norm.weight", "actions.weight", "content.0.weight", "positions", "scale", "floor"):
        assert any(part in name for name in bound), part
    assert exported.outputs == ("logits", "source_weights")


def test_a_missing_tensor_and_a_changed_shape_are_named(tiny, exported):
    values = values_of(tiny.rank_graph(tiny.ranker()).module)
    without = {name: value for name, value in values.items() if not name.endswith("positions")}
    with pytest.raises(ExportError, match=r"'ranker\.positions' is missing"):
        with_values(exported, without)
    with pytest.raises(ExportError, match=r"'ranker\.positions' has shape \[3, 16\].*\[6, 16\].*export again"):
        with_values(exported, values | {"ranker.positions": torch.zeros(3, 16)})


def test_an_initializer_that_belongs_to_nothing_fails_loudly(tiny, exported):
    lost = Exported(template=exported.template, bindings=exported.bindings[1:], constants=exported.constants)
    with pytest.raises(ExportError, match="belongs to no tensor"):
        with_values(lost, values_of(tiny.rank_graph(tiny.ranker()).module))


def test_renamed_and_transposed_initializers_are_found_by_value():
    from onnx import numpy_helper

    from exporters.onnx import _bind

    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    values = {"head.weight": weight, "other": np.ones((2, 3), np.float32)}
    binding = _bind(numpy_helper.from_array(weight.T.copy(), "val_17"), values, set())
    assert binding is not None and (binding.source, binding.transposed) == ("head.weight", True)
    with pytest.raises(ExportError, match="fits several tensors"):
        _bind(numpy_helper.from_array(weight, "val_18"), values | {"twin": weight.copy()}, set())
    with pytest.raises(ExportError, match="fits no tensor"):
        _bind(numpy_helper.from_array(weight + 1, "val_19"), values, set())


class _Fixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (1.0 if x.shape[1] == 4 else 2.0)


def test_an_axis_that_tracing_fixes_is_refused():
    graph = Graph(module=_Fixed(), inputs={"x": torch.ones(2, 4)}, outputs=("y",), dynamic={"x": {0: "B", 1: "N"}})
    with pytest.raises(ExportError):
        export(graph, graph.module)


class _Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * torch.tensor([1.0, 2.0, 3.0])


def test_constants_made_in_forward_stay():
    graph = Graph(module=_Constant(), inputs={"x": torch.randn(2, 3)}, outputs=("y",), dynamic={"x": {0: "B"}})
    exported = export(graph, frozen_copy(graph.module))
    with torch.no_grad():
        graph.module.linear.weight.add_(1)
    assert _agrees(exported, graph, {"x": torch.randn(7, 3)}) < 1e-5


def test_half_precision_modules_are_published_in_the_type_of_the_graph(tiny, exported):
    ranker = tiny.ranker(3)
    halved = {name: value.bfloat16() if value.is_floating_point() else value for name, value in
              values_of(tiny.rank_graph(ranker).module).items()}  # fmt: skip
    logits = RankerSession(with_values(exported, halved)).run(tiny.feeds())["logits"]
    assert logits.dtype == np.float32 and np.isfinite(logits).all()
