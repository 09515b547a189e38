"""A transformer's state after one history, in NumPy: for few events a framework's calls cost more than the sums."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf
from torch import Tensor, nn

from online_models.encoders.transformer import TransformerBlock

Floats = NDArray[np.float32]


def state_after(
    vectors: Floats, places: nn.Embedding, blocks: nn.ModuleList, norm: nn.LayerNorm, scale: float
) -> Floats:
    """State after the newest event, as SASRec computes it, without dropout. [L, D] -> [D].

    ``LN(Block_M(… Block_1(scale · x_k + p(n - k))))`` at the newest event n; see
    :class:`~online_models.zoo.sasrec.SASRec`. The parameters are read where they lie, so they are never out of date.

    Parameters
    ----------
    vectors
        Item vectors of the history, the newest last; at least one.
    places
        Vectors of the places, counted from the newest event.
    blocks
        Of :class:`~online_models.encoders.transformer.TransformerBlock`.
    norm
        Of the last state.
    scale
        Of the item vectors.
    """
    back = np.minimum(np.arange(len(vectors) - 1, -1, -1), places.num_embeddings - 1)  # [L]
    tokens = vectors * np.float32(scale) + _array(places.weight)[back]  # [L, D]
    *before, last = blocks
    for block in before:
        tokens = _block(block, tokens, len(tokens))
    state: Floats = _normed(norm, _block(last, tokens, 1))[0]
    return state


def _block(block: nn.Module, tokens: Floats, queries: int) -> Floats:
    """Run one block for the last ``queries`` tokens, causally. [L, D] -> [Q, D]."""
    assert isinstance(block, TransformerBlock)
    normed = _normed(block.attention_norm, tokens)
    query = _linear(block.query, normed[-queries:])  # [Q, D]
    key, value = np.split(_linear(block.keys_values, normed), 2, axis=1)  # [L, D]
    mixed = np.concatenate(
        [_attended(query[:, part], key[:, part], value[:, part]) for part in _slices(tokens.shape[1], block.heads)],
        axis=1,
    )  # [Q, D]
    rest: Floats = tokens[-queries:] + _linear(block.output, mixed)
    widen, _, narrow = block.feed_forward
    return rest + _linear(narrow, _gelu(_linear(widen, _normed(block.forward_norm, rest))))


def _slices(dimension: int, heads: int) -> list[slice]:
    width = dimension // heads
    return [slice(start, start + width) for start in range(0, dimension, width)]


def _attended(query: Floats, key: Floats, value: Floats) -> Floats:
    """Causal attention of the last Q of L tokens, one head. [Q, d], [L, d], [L, d] -> [Q, d]."""
    logits = query @ key.T / np.float32(np.sqrt(query.shape[1]))  # [Q, L]
    if len(query) > 1:
        logits[np.triu_indices(len(query), len(key) - len(query) + 1, len(key))] = -np.inf
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    mixed: Floats = shares @ value / shares.sum(axis=1, keepdims=True)
    return mixed


def _normed(norm: nn.LayerNorm, tokens: Floats) -> Floats:
    centred = tokens - tokens.mean(axis=1, keepdims=True)
    variance = np.einsum("ld,ld->l", centred, centred)[:, None] / np.float32(tokens.shape[1])  # [L, 1]
    made: Floats = centred / np.sqrt(variance + np.float32(norm.eps)) * _array(norm.weight) + _array(norm.bias)
    return made


def _linear(layer: nn.Module, tokens: Floats) -> Floats:
    assert isinstance(layer, nn.Linear)
    made: Floats = tokens @ _array(layer.weight).T + _array(layer.bias)
    return made


def _gelu(tokens: Floats) -> Floats:
    made: Floats = tokens * (1 + erf(tokens * np.float32(np.sqrt(0.5)))) / 2
    return made


def _array(parameter: Tensor) -> Floats:
    values: Floats = parameter.detach().numpy()
    return values
