"""Three ways in which a ranker may know its user, from cacheable to trained end to end.

Each is a module ``(context, candidates) -> (vector [B, width], scores [B, N])``: who the user is, and what a
recommendation model thinks of each candidate (zeros where there is none).
"""

from __future__ import annotations

import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn

from online_models.batch import Candidates, Context
from online_models.learner import Graph
from online_models.ranker import Retriever


class UserSide(nn.Module):
    """What a ranker is told of its user."""

    width: int

    def forward(self, context: Context, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Vector [B, width] and scores of the candidates [B, N]."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(context, candidates)")

    def item_tables(self) -> list[Tensor]:
        """Parameters and buffers indexed by catalogue row."""
        return []

    def graphs(self) -> dict[str, Graph]:
        """Named computations that give the vector; none where it is a look-up."""
        return {}


class UserCluster(UserSide):
    """Stage 1: the user is one of a few clusters, so that every answer can be cached by cluster.

    A user's cluster is the centroid nearest to the mean vector of the history; who has none is in cluster 0.

    Parameters
    ----------
    clusters
        Number of clusters besides cluster 0.
    width
        Of a cluster's vector.
    rows
        Catalogue rows.
    dimension
        Of the item vectors that histories are compared by.

    Examples
    --------
    >>> side = UserCluster(clusters=2, width=3, rows=4, dimension=1)
    >>> side.fit(torch.tensor([[0.0], [0.0], [-1.0], [1.0]]), torch.tensor([[2, 2], [3, 3], [0, 2], [0, 3]]), seed=1)
    >>> clusters = side.cluster_of(torch.tensor([[2, 2], [3, 3], [0, 0], [0, 2]]))
    >>> bool(clusters[0] == clusters[3] != clusters[1]), clusters[2].item()
    (True, 0)
    """

    def __init__(self, clusters: int, width: int, rows: int, dimension: int) -> None:
        super().__init__()
        self.width = width
        self.clusters = nn.Embedding(clusters + 1, width)
        nn.init.normal_(self.clusters.weight, std=0.02)
        self.vectors: Tensor
        self.centroids: Tensor
        self.register_buffer("vectors", torch.zeros(rows, dimension))  # [R, D]
        self.register_buffer("centroids", torch.zeros(clusters, dimension))  # [K, D]

    def fit(self, vectors: Tensor, histories: Tensor, seed: int = 0) -> None:
        """Find the clusters of histories [U, L] in the space of item vectors [R, D] (k-means++)."""
        self.vectors.copy_(vectors)
        means = self._means(histories)[(histories > 0).any(1)]
        found, _ = kmeans2(means.double().numpy(), len(self.centroids), minit="++", seed=seed)
        self.centroids.copy_(torch.from_numpy(found))

    def cluster_of(self, histories: Tensor) -> Tensor:
        """Cluster of each history [B, L]. [B]."""
        nearest = torch.cdist(self._means(histories), self.centroids).argmin(1) + 1
        return torch.where((histories > 0).any(1), nearest, 0)

    def _means(self, histories: Tensor) -> Tensor:
        real = (histories > 0).unsqueeze(-1)  # [B, L, 1]
        return (self.vectors[histories] * real).sum(1) / real.sum(1).clamp(min=1)

    def forward(self, context: Context, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Vector of the cluster, no scores."""
        vector = self.clusters(self.cluster_of(context.history_items))  # [B, width]
        return vector, torch.zeros(candidates.items.shape)

    def item_tables(self) -> list[Tensor]:
        """Vectors that histories are compared by."""
        return [self.vectors]


class FineTuned(UserSide):
    """Stage 3: a recommendation model whose encoders are trained on with the ranker.

    Parameters
    ----------
    retriever
        Pretrained, or not.
    width
        Of its user vectors.
    """

    def __init__(self, retriever: Retriever, width: int) -> None:
        super().__init__()
        self.retriever, self.width = retriever, width

    def forward(self, context: Context, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """User vector and its inner products with the candidates."""
        user = self.retriever.embed_context(context)  # [B, width]
        vectors = self.retriever.embed_items(candidates.items, candidates.features)  # [B, N, width]
        return user, torch.einsum("bd,bnd->bn", user, vectors)

    def item_tables(self) -> list[Tensor]:
        """Tables of the recommendation model."""
        return self.retriever.item_tables()

    def graphs(self) -> dict[str, Graph]:
        """Graphs of the recommendation model."""
        return self.retriever.graphs()


class RecommenderOutputs(FineTuned):
    """Stage 2: what a recommendation model says is a feature; nothing is learnt in it, and it never drops out."""

    def __init__(self, retriever: Retriever, width: int) -> None:
        super().__init__(retriever, width)
        self.retriever.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> RecommenderOutputs:
        """Leave the recommendation model as it is while the ranker trains."""
        super().train(mode)
        self.retriever.eval()
        return self
