"""The HSTU layer: gated pointwise attention with a bias by position and by time.

Shapes as in :mod:`online_models.batch`; T tokens of a history, H heads, C = D / H channels of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GAP_BUCKETS = 128
_LOG_BUCKET_WIDTH = 0.301


def gap_buckets(gaps_seconds: Tensor) -> Tensor:
    """Bucket of a time gap, ``⌊ln max(|Δ|, 1) / 0.301⌋``: each bucket spans 35 % more time than the one before it.

    >>> gap_buckets(torch.tensor([0.0, 1.0, 2.0, 60.0, 86_400.0, -60.0])).tolist()
    [0, 0, 2, 13, 37, 13]
    """
    seconds = gaps_seconds.abs().float().clamp(min=1)
    return (seconds.log() / _LOG_BUCKET_WIDTH).long().clamp(max=GAP_BUCKETS - 1)


class RelativeBias(nn.Module):
    """What a query adds to its score with a key for how many events and how much time lie between them.

    ``rab(i, j) = p[i - j] + t[bucket(Δ_ij)]`` with two learned tables, shared by the heads.

    Parameters
    ----------
    length
        N: the largest distance that is told apart; farther keys count as that far.

    Examples
    --------
    >>> bias = RelativeBias(length=4)
    >>> distances, buckets = torch.tensor([[0], [1], [9]]), torch.zeros(2, 3, 1, dtype=torch.long)
    >>> bias(distances, buckets).shape
    torch.Size([2, 1, 3, 1])
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length
        self.positions = nn.Parameter(torch.randn(length + 1) * 0.02)
        self.gaps = nn.Parameter(torch.randn(GAP_BUCKETS) * 0.02)

    def forward(self, distances: Tensor, buckets: Tensor) -> Tensor:
        """Bias by distance [T, S] and gap bucket [B, T, S] -> [B, 1, T, S]."""
        near = distances.clamp(max=self.length)
        # the gradient of gather is one scatter-add, that of indexing sorts the indices first
        places = self.positions.gather(0, near.flatten()).view_as(near)  # [T, S]
        times = self.gaps.gather(0, buckets.flatten()).view_as(buckets)  # [B, T, S]
        return (places + times).unsqueeze(1)


class HSTULayer(nn.Module):
    """Hierarchical sequential transduction unit.

    ::

        U, V, Q, K = split(SiLU(f_1(LN(X))))
        A          = SiLU(Q Kᵀ + rab) / N ⊙ mask
        X'         = X + f_2(dropout(LN(A V) ⊙ U))

    No softmax: a weight depends on its own query and key alone, so the sum grows with how often a taste shows. N is
    the constant maximum length. The mask multiplies after the SiLU, for SiLU(-∞) is NaN.

    Parameters
    ----------
    dimension
        D.
    heads
        H, which divides D.
    length
        N.
    dropout
        Before f_2.

    Raises
    ------
    ValueError
        The heads do not divide the dimension.

    References
    ----------
    J. Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for Generative
    Recommendations", ICML 2024 (2402.17152), section 3.

    Examples
    --------
    >>> layer = HSTULayer(dimension=8, heads=2, length=4, dropout=0.0)
    >>> distances = torch.zeros(3, 3, dtype=torch.long)
    >>> out, keys, values = layer(torch.randn(1, 3, 8), torch.ones(1, 3, 3).tril(), distances, distances[None])
    >>> out.shape, keys.shape
    (torch.Size([1, 3, 8]), torch.Size([1, 2, 3, 4]))
    """

    def __init__(self, dimension: int, heads: int, length: int, dropout: float) -> None:
        super().__init__()
        if dimension % heads:
            raise ValueError(f"{heads} heads do not divide dimension {dimension}; choose heads that do")
        self.heads, self.length = heads, length
        self.norm, self.mixed_norm = nn.LayerNorm(dimension), nn.LayerNorm(dimension)
        self.fused = nn.Linear(dimension, 4 * dimension, bias=False)  # f_1
        self.output = nn.Linear(dimension, dimension)  # f_2
        self.bias = RelativeBias(length)
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.fused.weight, std=0.02)
        nn.init.xavier_uniform_(self.output.weight)

    def forward(self, tokens: Tensor, mask: Tensor, distances: Tensor, buckets: Tensor) -> tuple[Tensor, ...]:
        """Attend among tokens [B, T, D] by ``mask`` [B, T, T] -> tokens [B, T, D], keys and values [B, H, T, C]."""
        gate, value, query, key = self._project(tokens)
        scores = query @ key.transpose(-1, -2) + self.bias(distances, buckets)  # [B, H, T, T]
        weights = F.silu(scores) * mask.unsqueeze(1) / self.length
        return tokens + self.output(self.dropout(self._gated(weights @ value, gate))), key, value

    def extend(
        self, tokens: Tensor, keys: Tensor, values: Tensor, mask: Tensor, biases: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Attend from each of N tokens [B, N, D] to cached keys [B, H, L, C] and to itself, never to each other.

        ``mask`` [B, L] says which keys are real; ``biases`` are towards the keys [B, 1, 1, L] and itself [1].
        """
        gate, value, query, key = self._project(tokens)  # [B, H, N, C]
        seen = F.silu(query @ keys.transpose(-1, -2) + biases[0]) * mask[:, None, None]  # [B, H, N, L]
        itself = F.silu((query * key).sum(-1, keepdim=True) + biases[1])  # [B, H, N, 1]
        gated = self._gated((seen @ values + itself * value) / self.length, gate)  # [B, N, D]
        # one draw for the whole list: noise must not tell its candidates apart, nor depend on how many there are
        rest: Tensor = tokens + self.output(F.dropout1d(gated.mT, self.dropout.p, self.training).mT)
        return rest

    def _project(self, tokens: Tensor) -> tuple[Tensor, ...]:
        fused = F.silu(self.fused(self.norm(tokens)))  # [B, T, 4 D]
        gate, *rest = fused.chunk(4, -1)
        batch, length, dimension = tokens.shape
        split = [part.view(batch, length, self.heads, dimension // self.heads).transpose(1, 2) for part in rest]
        return (gate, *split)  # [B, T, D], then [B, H, T, C]

    def _gated(self, mixed: Tensor, gate: Tensor) -> Tensor:
        gated: Tensor = self.mixed_norm(mixed.transpose(1, 2).flatten(2)) * gate  # [B, T, D]
        return gated


class HSTUEncoder(nn.Module):
    """Layers of :class:`HSTULayer` over a right-aligned history.

    Parameters
    ----------
    dimension, heads, layers, length, dropout
        Sizes, as in :class:`HSTULayer`.

    Examples
    --------
    >>> encoder = HSTUEncoder(dimension=8, heads=2, layers=2, length=4, dropout=0.0)
    >>> ages, mask = torch.tensor([[50.0, 20.0, 0.0]]), torch.ones(1, 3)
    >>> states, keys, values = encoder(torch.randn(1, 3, 8), mask, key_ages=ages, query_ages=ages)
    >>> states.shape, keys.shape
    (torch.Size([1, 3, 8]), torch.Size([1, 2, 2, 3, 4]))
    """

    def __init__(self, dimension: int, heads: int, layers: int, length: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(HSTULayer(dimension, heads, length, dropout) for _ in range(layers))

    def forward(self, tokens: Tensor, mask: Tensor, *, key_ages: Tensor, query_ages: Tensor) -> tuple[Tensor, ...]:
        """Encode tokens [B, T, D] -> states [B, T, D], keys and values [B, layers, H, T, C].

        ``mask`` [B, T] is 1 at events. The gap of query i and key j is ``key_ages[j] - query_ages[i]`` [B, T], seconds.
        """
        length = tokens.shape[1]
        columns = torch.arange(length, device=tokens.device)
        distances = (columns[:, None] - columns).clamp(min=0)  # [T, T]
        buckets = gap_buckets(key_ages[:, None, :] - query_ages[:, :, None])  # [B, T, T]
        allowed = mask[:, None, :] * (columns[:, None] >= columns).float()  # [B, T, T]
        keys, values = [], []
        for layer in self.layers:
            tokens, key, value = layer(tokens, allowed, distances, buckets)
            keys.append(key)
            values.append(value)
        return tokens, torch.stack(keys, 1), torch.stack(values, 1)

    def extend(self, tokens: Tensor, keys: Tensor, values: Tensor, mask: Tensor, *, key_ages: Tensor) -> Tensor:
        """Encode N independent tokens [B, N, D], each as if it alone came next after the cached history, now."""
        distances = torch.arange(keys.shape[3], 0, -1, device=tokens.device)[None]  # [1, L], the newest is 1 away
        buckets = gap_buckets(key_ages)[:, None]  # [B, 1, L]
        here = torch.zeros(1, 1, dtype=torch.int64, device=tokens.device)
        for place, layer in enumerate(self.layers):
            assert isinstance(layer, HSTULayer)
            biases = layer.bias(distances, buckets), layer.bias(here, here[None])  # [B, 1, 1, L], [1, 1, 1, 1]
            tokens = layer.extend(tokens, keys[:, place], values[:, place], mask, biases)
        return tokens
