"""The served session encoder with the counting sources beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.encoders.blended_core import BlendedCore, CoreSizes
from online_models.encoders.intents import Intent, IntentVector
from online_models.encoders.transformer import TransformerBlock
from online_models.encoders.windows import SECONDS_A_WEEK, causal, within


@dataclass(frozen=True, kw_only=True)
class SessionSizes(CoreSizes):
    """Widths and bounds of the two transformers."""

    heads: int = 2
    window_seconds: float = SECONDS_A_WEEK


class SessionCore(BlendedCore):
    """Session encoder and blend of the sources: all of the in-session ranker but its item table.

    Parameters
    ----------
    sizes
        Widths and bounds.
    intents
        Questions about the next event; their answers feed the item encoder.
    """

    def __init__(self, sizes: SessionSizes, intents: Sequence[Intent]) -> None:
        super().__init__(sizes)
        d = sizes.dimension
        self.intents, self.window_seconds, self.heads = tuple(intents), sizes.window_seconds, sizes.heads
        self.norm = nn.LayerNorm(d)
        self.dropout = nn.Dropout(sizes.dropout)
        self.intent_encoder = TransformerBlock(d, sizes.heads, sizes.dropout)
        self.item_encoder = TransformerBlock(d, sizes.heads, sizes.dropout)
        self.outputs = nn.ModuleList(nn.Linear(d, intent.classes) for intent in intents)
        self.feed = IntentVector([intent.classes for intent in intents], d)
        self._add_blend(sizes)

    def encode(
        self,
        history_vectors: Tensor,
        history_actions: Tensor,
        history_ages_seconds: Tensor,
        history_mask: Tensor,
        features: Tensor,
        surface: Tensor,
        source_vector: Tensor,
        query: Tensor,
    ) -> tuple[Tensor, ...]:
        """User vector [B, D], then the logits of every intent."""
        tokens = self._events(history_vectors, history_actions, history_ages_seconds, history_mask)
        asked = self._asked(features, surface, source_vector, query)
        tokens = torch.cat([tokens, asked.unsqueeze(1)], 1)  # [B, L + 1, D]
        tokens = self.dropout(self.norm(tokens))
        allowed = self._allowed(history_mask, history_ages_seconds)  # [B, heads, L + 1, L + 1]
        encoded = self.intent_encoder(tokens, allowed)
        newest = encoded[:, -1]  # [B, D]
        logits = [output(newest) for output in self.outputs]
        wanted = [intent.probabilities(given) for intent, given in zip(self.intents, logits, strict=True)]
        user = self.item_encoder(encoded + self.feed(wanted).unsqueeze(1), allowed, queries=1).squeeze(1)  # [B, D]
        return user, *logits

    def told(self, more: list[Tensor]) -> tuple[Tensor, ...]:
        """Probabilities of the intents."""
        return tuple(intent.probabilities(given) for intent, given in zip(self.intents, more, strict=True))

    def _allowed(self, history_mask: Tensor, ages_seconds: Tensor) -> Tensor:
        """Half of the heads see the whole history, the others its short-term window alone."""
        everywhere = causal(F.pad(history_mask, (0, 1), value=1.0))  # [B, 1, L + 1, L + 1]
        recent = within(everywhere, F.pad(ages_seconds, (0, 1)), self.window_seconds)
        short = self.heads // 2
        return torch.cat([everywhere] * (self.heads - short) + [recent] * short, 1)
