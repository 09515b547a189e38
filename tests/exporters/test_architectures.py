from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from exporters.architectures import Architectures, architecture_key
from exporters.errors import ExportError
from exporters.modules import frozen_copy
from online_models.learner import Graph


class Scaled(nn.Module):
    def __init__(self, width: int = 3, power: int = 1) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) ** self.power


class Baked(nn.Module):
    """Answers with its learnt gain, but shows the tracer a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * 2.0 if torch.compiler.is_compiling() else x * self.gain


def graph_of(module: nn.Module) -> Graph:
    return Graph(module=module, inputs={"x": torch.randn(2, 3)}, outputs=("y",), dynamic={"x": {0: "B"}})


def test_the_key_sees_the_architecture_and_no_values():
    key = architecture_key(graph_of(Scaled()), Scaled())
    assert key == architecture_key(graph_of(Scaled()), Scaled())
    assert key != architecture_key(graph_of(Scaled(power=2)), Scaled(power=2))
    wide = Graph(module=Scaled(4), inputs={"x": torch.randn(2, 4)}, outputs=("y",), dynamic={"x": {0: "B"}})
    assert key != architecture_key(wide, wide.module)


def test_the_key_does_not_see_sizes_of_dynamic_axes_or_the_mode():
    larger = Graph(module=Scaled(), inputs={"x": torch.randn(9, 3)}, outputs=("y",), dynamic={"x": {0: "B"}})
    assert architecture_key(graph_of(Scaled()), Scaled()) == architecture_key(larger, Scaled().eval())


def test_an_architecture_is_traced_once_and_found_on_disk_later(tmp_path):
    graph = graph_of(Scaled())
    module = frozen_copy(graph.module)
    first = Architectures(tmp_path)
    exported = first.get("k", graph, module)
    assert first.get("k", graph, module) is exported and first.exports == 1
    second = Architectures(tmp_path)
    assert second.get("k", graph, module).bindings == exported.bindings and second.exports == 0
    (tmp_path / "k" / "graph.onnx").write_bytes(b"damaged")
    third = Architectures(tmp_path)
    third.get("k", graph, module)
    assert third.exports == 1


def test_values_that_were_baked_into_the_graph_are_found(tmp_path):
    graph = graph_of(Baked())
    with pytest.raises(ExportError, match="baked in"):
        Architectures(tmp_path).get("k", graph, frozen_copy(graph.module))
