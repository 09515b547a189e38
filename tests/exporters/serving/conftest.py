"""A server with in-memory seams, a real registry and a small real ONNX model of version 1 and 2."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporters.catalogue import Catalogue, Item
from exporters.deltas import Row
from exporters.item_tables import ItemTables
from exporters.limits import Limits
from exporters.registry import Draft, GraphFile, Registry
from exporters.retrieval import VectorIndex
from exporters.runtime import ModelHost
from exporters.server import build_app
from exporters.services import Services
from exporters.twins import MemoryDoor, MemorySessions
from online_models.sources import READINGS

DIMENSION, FEATURES, ITEM_FEATURES, HISTORY = 4, 3, 2, 5
TABLES = ("item_knn", "transitions", "popularity")
SOURCES = tuple(name for name, reading in READINGS.items() if reading.table in TABLES)
NOW_MS = 1_700_000_000_000
TITLES = (
    "Toy Story",
    "Toy Story 2",
    "West Side Story",
    "Heat",
    "Alien",
    "Aliens",
    "Fargo",
    "Babe",
    "Clueless",
    "Seven",
)

_CONTEXT = {
    "history_vectors": (TensorProto.FLOAT, ["B", HISTORY, DIMENSION]),
    "history_actions": (TensorProto.INT64, ["B", HISTORY]),
    "history_ages_seconds": (TensorProto.FLOAT, ["B", HISTORY]),
    "history_mask": (TensorProto.FLOAT, ["B", HISTORY]),
    "features": (TensorProto.FLOAT, ["B", FEATURES]),
    "surface": (TensorProto.INT64, ["B"]),
    "source_vector": (TensorProto.FLOAT, ["B", DIMENSION]),
    "query": (TensorProto.INT64, ["B", 8]),
}
_CANDIDATES = {
    "candidate_vectors": (TensorProto.FLOAT, ["B", "N", DIMENSION]),
    "source_scores": (TensorProto.FLOAT, ["B", "N", len(SOURCES)]),
    "candidate_features": (TensorProto.FLOAT, ["B", "N", ITEM_FEATURES]),
}
_USER = helper.make_node("ReduceSum", ["history_vectors", "axis1"], ["user_vector"], keepdims=0)


def rank_graph(weights: list[float]) -> bytes:
    """logit = Σ_s w_s v_s / max v_s + Σ history vectors · candidate vector; the weights are those of TABLES."""
    return _ranking(weights, [_USER], {**_CONTEXT, **_CANDIDATES})


def score_graph(weights: list[float]) -> bytes:
    """The same from a user vector that is already there."""
    return _ranking(weights, [], {"user_vector": (TensorProto.FLOAT, ["B", DIMENSION]), **_CANDIDATES})


def _ranking(weights: list[float], first: list, inputs: dict) -> bytes:
    given = dict(zip(TABLES, weights, strict=True))
    weights = [given.get(name, 0.0) for name in SOURCES]
    nodes = [
        *first,
        helper.make_node("ReduceMax", ["source_scores", "axis1"], ["top"], keepdims=1),
        helper.make_node("Max", ["top", "epsilon"], ["peak"]),
        helper.make_node("Div", ["source_scores", "peak"], ["share"]),
        helper.make_node("MatMul", ["share", "weights"], ["wide"]),
        helper.make_node("Unsqueeze", ["user_vector", "axis2"], ["column"]),
        helper.make_node("MatMul", ["candidate_vectors", "column"], ["deep"]),
        helper.make_node("Add", ["wide", "deep"], ["both"]),
        helper.make_node("Squeeze", ["both", "axis2"], ["logits"]),
        helper.make_node("Identity", ["told"], ["source_weights"]),
    ]
    told = np.array([[*[0.0] * len(weights), *weights, 1.0]], np.float32)
    constants = {
        "axis1": np.array([1]),
        "axis2": np.array([2]),
        "epsilon": np.array(1e-4, np.float32),
        "weights": np.array(weights, np.float32)[:, None],
        "told": told,
    }
    return _model(nodes, inputs, {"logits": ["B", "N"], "source_weights": [1, "W"]}, constants)


def encode_graph() -> bytes:
    nodes = [_USER, helper.make_node("Identity", ["told"], ["intent_familiarity"])]
    constants = {"axis1": np.array([1]), "told": np.array([[0.1, 0.2, 0.7]], np.float32)}
    return _model(nodes, _CONTEXT, {"user_vector": ["B", DIMENSION], "intent_familiarity": [1, 3]}, constants)


def _model(nodes: list, inputs: dict, outputs: dict, constants: dict[str, np.ndarray]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def publish(registry: Registry, weights: list[float], step: int) -> str:
    files = {
        "rank": GraphFile(content=rank_graph(weights), architecture="small", inputs=(), outputs=("logits",)),
        "encode": GraphFile(content=encode_graph(), architecture="small", inputs=(), outputs=("user_vector",)),
        "score": GraphFile(content=score_graph(weights), architecture="small", inputs=(), outputs=("logits",)),
    }
    return registry.publish(Draft(name="student", graphs=files, step=step)).version


def fill(tables: ItemTables, index: VectorIndex) -> None:
    """Item k sits in row k + 2; Toy Story is followed by Toy Story 2, Alien by Aliens."""
    rows = [_vector_row(place) for place in range(len(TITLES))]
    rows += [_neighbours("transitions", 0, [3], [2.0]), _neighbours("transitions", 4, [7], [2.0])]
    rows += [_neighbours("item_knn", 0, [3, 9], [0.8, 0.4]), _neighbours("item_knn", 4, [7, 5], [0.9, 0.3])]
    popular = np.arange(2, 2 + len(TITLES))[::-1]
    rows.append(_row("popularity", "*", 0, popular, np.linspace(1, 0.1, len(TITLES))))
    tables.apply(rows)
    changed, vectors, held = tables.take_changed()
    index.upsert(changed[held], vectors[held])


def _vector_row(place: int) -> Row:
    values = np.zeros(DIMENSION, "<f4")
    values[place % DIMENSION] = 0.01
    return Row(table="item_vectors", item_id=f"m{place}", row=place + 2, step=1, values=values.tobytes())


def _neighbours(table: str, place: int, rows: list[int], weights: list[float]) -> Row:
    return _row(table, f"m{place}", place + 2, np.array(rows), np.array(weights))


def _row(table: str, item_id: str, row: int, rows: np.ndarray, weights: np.ndarray) -> Row:
    lists = {"neighbours": rows.astype("<i4").tobytes(), "weights": weights.astype("<f4").tobytes()}
    return Row(table=table, item_id=item_id, row=row, step=1, **lists)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.fixture
def publish_version(registry: Registry) -> Callable[..., str]:
    return lambda weights, step=1: publish(registry, weights, step)


@pytest.fixture
def services(registry: Registry) -> Services:
    """Two published versions' worth of parts; version 1 serves."""
    publish(registry, [1.0, 3.0, 0.5], step=1)
    host = ModelHost(registry=registry)
    assert host.start().swapped
    tables = ItemTables(16, DIMENSION, ITEM_FEATURES, TABLES, 12)
    index = VectorIndex(DIMENSION)
    fill(tables, index)
    catalogue = Catalogue()
    for place, title in enumerate(TITLES):
        kind = "Animation" if "Toy" in title else "Drama"
        published_ms = NOW_MS - 86_400_000 * (len(TITLES) - place)
        catalogue.put(Item(item_id=f"m{place}", title=title, categories=(kind,), published_time_ms=published_ms))
    store = MemorySessions(FEATURES)
    limits = Limits(history=HISTORY, results=50, candidates=100, deadline_ms=5_000.0)
    return Services(
        store=store, door=MemoryDoor(store), host=host, tables=tables, index=index, catalogue=catalogue,
        limits=limits, clock_ms=lambda: NOW_MS,
    )  # fmt: skip


@pytest.fixture
def empty_services(registry: Registry) -> Services:
    """Nothing known, no model."""
    store = MemorySessions(FEATURES)
    tables = ItemTables(16, DIMENSION, ITEM_FEATURES, TABLES, 12)
    host = ModelHost(registry=registry)
    return Services(store=store, door=MemoryDoor(store), host=host, tables=tables, index=VectorIndex(DIMENSION))


@pytest.fixture
def client_of() -> Callable[[Services], httpx.AsyncClient]:
    def make(services: Services) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(build_app(services), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://server")

    return make


@pytest.fixture
async def client(
    services: Services, client_of: Callable[[Services], httpx.AsyncClient]
) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(services) as opened:
        yield opened


@pytest.fixture
def event() -> Callable[..., dict]:
    def make(item_id: str, user_id: str = "u", event_id: str = "e1", **more: object) -> dict:
        fields = {
            "event_id": event_id,
            "type": "interaction",
            "user_id": user_id,
            "item_id": item_id,
            "action": "click",
        }
        return {**fields, "event_time_ms": NOW_MS - 1_000, **more}

    return make
