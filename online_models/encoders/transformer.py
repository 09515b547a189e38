"""The transformer block that the encoders are built of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TransformerBlock(nn.Module):
    """Pre-norm block: ``x + MHA(LN(x))``, then ``x + FFN(LN(x))`` with GELU and twice the width.

    Parameters
    ----------
    dimension
        D.
    heads
        Attention heads; D is divisible by it.
    dropout
        On both branches.

    Examples
    --------
    >>> block = TransformerBlock(dimension=8, heads=2, dropout=0.0)
    >>> tokens, mask = torch.zeros(1, 4, 8), causal_mask(torch.ones(1, 3))
    >>> block(tokens, mask).shape, block(tokens, mask, queries=1).shape
    (torch.Size([1, 4, 8]), torch.Size([1, 1, 8]))
    """

    def __init__(self, dimension: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.forward_norm = nn.LayerNorm(dimension), nn.LayerNorm(dimension)
        self.query, self.keys_values = nn.Linear(dimension, dimension), nn.Linear(dimension, 2 * dimension)
        self.output = nn.Linear(dimension, dimension)
        self.feed_forward = nn.Sequential(
            nn.Linear(dimension, 2 * dimension), nn.GELU(), nn.Linear(2 * dimension, dimension)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, allowed: Tensor | None, queries: int = 0) -> Tensor:
        """Attend where ``allowed`` [B, 1, T, T] is true, from the last ``queries`` tokens (0: all) -> [B, Q, D].

        None stands for causal attention without padding, which needs no mask in memory.
        """
        normed = self.attention_norm(tokens)
        query = self._split(self.query(normed[:, -queries:] if queries else normed), self.heads)  # [B, heads, Q, D / h]
        both = self._split(self.keys_values(normed), 2 * self.heads)  # [B, 2 heads, T, D / heads]
        key, value = both[:, : self.heads], both[:, self.heads :]
        mixed = self._attend(query, key, value, allowed)  # [B, heads, Q, D / heads]
        rest: Tensor = tokens[:, -queries:] if queries else tokens  # [B, Q, D]
        rest = rest + self.dropout(self.output(mixed.transpose(1, 2).flatten(2)))
        rest = rest + self.dropout(self.feed_forward(self.forward_norm(rest)))
        return rest

    @staticmethod
    def _attend(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None) -> Tensor:
        number = query.shape[2]  # Q
        if allowed is None:
            # a single query is the newest event, which sees everything
            return F.scaled_dot_product_attention(query, key, value, is_causal=number > 1)
        seen = allowed if number == key.shape[2] else allowed[:, :, -number:]
        if not torch.onnx.is_in_onnx_export():
            return F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        # The exporter writes the function above as some thirty nodes, most of which find out shapes.
        logits = (query / query.shape[3] ** 0.5) @ key.transpose(2, 3)  # [B, heads, Q, T]
        return torch.where(seen, logits, -torch.inf).softmax(3) @ value

    @staticmethod
    def _split(tokens: Tensor, heads: int) -> Tensor:
        """Make heads of the parts of a vector. [B, T, E] -> [B, heads, T, E / heads]."""
        _, length, dimension = tokens.shape
        return tokens.view(-1, length, heads, dimension // heads).transpose(1, 2)


def causal_mask(history_mask: Tensor) -> Tensor:
    """Causal attention over real events and one token behind them, ``history_mask`` [B, T - 1] -> [B, 1, T, T].

    Every token may see itself, so no row is empty: a softmax over nothing would be NaN.
    """
    keys = F.pad(history_mask, (0, 1), value=1.0)  # [B, T]
    length = keys.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=keys.device).tril()
    itself = torch.eye(length, dtype=torch.bool, device=keys.device)
    allowed: Tensor = (keys.unsqueeze(1) > 0) & causal | itself  # [B, T, T]
    return allowed.unsqueeze(1)
