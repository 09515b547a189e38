"""A small real ranker with the inputs of the served one, and what is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exporters.publish import DensePublisher
from exporters.registry import Registry
from online_models.learner import Graph

L, D, F, G, S, Q, N = 6, 16, 5, 3, 2, 4, 9


class TinyRanker(nn.Module):
    """Attention, layer norm, embeddings, linear layers, a tied weight, buffers: everything that an export must keep."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.actions = nn.Embedding(10, D, padding_idx=0)
        self.surfaces = nn.Embedding(8, D)
        self.tokens = nn.Embedding(64, D, padding_idx=0)
        self.positions = nn.Parameter(0.1 * torch.randn(L, D))
        self.attention = nn.MultiheadAttention(D, 2, dropout=0.1, batch_first=True)
        self.norm = nn.LayerNorm(D)
        self.features = nn.Linear(F, D)
        self.content = nn.Sequential(nn.Linear(G, D), nn.ReLU(), nn.Linear(D, D))
        self.blend = nn.Linear(D, S)
        self.alias = self.blend
        self.register_buffer("scale", torch.tensor([2.0, 3.0]))
        self.register_buffer("floor", torch.tensor([0.5]), persistent=False)
        self.register_buffer("steps", torch.tensor(3))

    def encode(
        self, vectors: Tensor, actions: Tensor, ages: Tensor, mask: Tensor, features: Tensor, surface: Tensor,
        source: Tensor, query: Tensor,
    ) -> Tensor:  # fmt: skip
        x = vectors + self.actions(actions) + self.positions + torch.log1p(ages).unsqueeze(-1)  # [B, L, D]
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.norm(x) * mask.unsqueeze(-1)
        pooled = x.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return pooled + self.features(features) + self.surfaces(surface) + source + self.tokens(query).sum(1)


class RankGraph(nn.Module):
    """logits [B, N] and source_weights [B, S]."""

    def __init__(self, ranker: TinyRanker) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(
        self, history_vectors: Tensor, history_actions: Tensor, history_ages_seconds: Tensor, history_mask: Tensor,
        features: Tensor, surface: Tensor, source_vector: Tensor, query: Tensor, candidate_vectors: Tensor,
        source_scores: Tensor, candidate_features: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        r = self.ranker
        user = r.encode(
            history_vectors,
            history_actions,
            history_ages_seconds,
            history_mask,
            features,
            surface,
            source_vector,
            query,
        )  # [B, D]
        weights = r.alias(user) * r.scale + r.floor  # [B, S]
        items = candidate_vectors + r.content(candidate_features)  # [B, N, D]
        deep = (items @ user.unsqueeze(-1)).squeeze(-1)
        return deep + (source_scores * weights.unsqueeze(1)).sum(-1), weights


class EncodeGraph(nn.Module):
    """user_vector [B, D]."""

    def __init__(self, ranker: TinyRanker) -> None:
        super().__init__()
        self.ranker = ranker

    def forward(
        self, history_vectors: Tensor, history_actions: Tensor, history_ages_seconds: Tensor, history_mask: Tensor,
        features: Tensor, surface: Tensor, source_vector: Tensor, query: Tensor,
    ) -> Tensor:  # fmt: skip
        return self.ranker.encode(
            history_vectors,
            history_actions,
            history_ages_seconds,
            history_mask,
            features,
            surface,
            source_vector,
            query,
        )


CANDIDATE_INPUTS = ("candidate_vectors", "source_scores", "candidate_features")


def rank_inputs(batch: int = 2, candidates: int = N, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "history_vectors": torch.randn(batch, L, D, generator=g),
        "history_actions": torch.randint(0, 10, (batch, L), generator=g),
        "history_ages_seconds": 1_000 * torch.rand(batch, L, generator=g),
        "history_mask": (torch.rand(batch, L, generator=g) > 0.3).float(),
        "features": torch.randn(batch, F, generator=g),
        "surface": torch.randint(0, 8, (batch,), generator=g),
        "source_vector": torch.randn(batch, D, generator=g),
        "query": torch.randint(0, 64, (batch, Q), generator=g),
        "candidate_vectors": torch.randn(batch, candidates, D, generator=g),
        "source_scores": torch.rand(batch, candidates, S, generator=g),
        "candidate_features": torch.randn(batch, candidates, G, generator=g),
    }


def rank_graph(ranker: TinyRanker, batch: int = 2) -> Graph:
    inputs = rank_inputs(batch)
    dynamic = {name: {0: "B", 1: "N"} if name in CANDIDATE_INPUTS else {0: "B"} for name in inputs}
    return Graph(module=RankGraph(ranker), inputs=inputs, outputs=("logits", "source_weights"), dynamic=dynamic)


def encode_graph(ranker: TinyRanker) -> Graph:
    inputs = {name: value for name, value in rank_inputs().items() if name not in CANDIDATE_INPUTS}
    dynamic = {name: {0: "B"} for name in inputs}
    return Graph(module=EncodeGraph(ranker), inputs=inputs, outputs=("user_vector",), dynamic=dynamic)


class Tiny:
    """The helpers above, for tests in this folder."""

    ranker = TinyRanker
    rank_graph = staticmethod(rank_graph)
    encode_graph = staticmethod(encode_graph)
    rank_inputs = staticmethod(rank_inputs)
    dimension, feature_count = D, G

    @staticmethod
    def feeds(batch: int = 2, candidates: int = N, seed: int = 0) -> dict[str, np.ndarray]:
        return {name: tensor.numpy() for name, tensor in rank_inputs(batch, candidates, seed).items()}

    @staticmethod
    def publish(publisher: DensePublisher, ranker: TinyRanker, step: int = 1, **more: object):
        tables = {"item_vectors": np.full((4, D), step, np.float32), "item_features": np.zeros((4, G), np.float32)}
        given = {
            "item_ids": [None, None, "a", "b"],
            "meta": {"sources": ["item_knn"]},
            "metrics": {"hr@10": 0.1},
        } | more
        offsets = {"headwater.examples": {"0": step}}
        return publisher.publish({"rank": rank_graph(ranker)}, tables, offsets=offsets, step=step, **given)


@pytest.fixture(scope="session")
def tiny() -> type[Tiny]:
    return Tiny


@pytest.fixture(scope="session")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An architectures folder in which the tiny ranker is traced already: tests need not wait for it again."""
    registry = Registry(tmp_path_factory.mktemp("traced"))
    Tiny.publish(DensePublisher(registry), TinyRanker())
    return registry.architectures_dir


@pytest.fixture
def registry(tmp_path: Path, traced: Path) -> Registry:
    """An empty registry that shares the traced graphs."""
    registry = Registry(tmp_path / "models", keep=4)
    registry.directory.mkdir()
    registry.architectures_dir.symlink_to(traced)
    return registry
