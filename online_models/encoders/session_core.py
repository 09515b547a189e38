"""The served session encoder with the counting sources beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.encoders.intents import Intent, IntentVector
from online_models.encoders.transformer import TransformerBlock
from online_models.encoders.windows import causal, within
from online_models.vocabulary import ACTIONS, QUERY_BUCKETS, SURFACES

EPSILON = 1e-2  # a source that does not know an item speaks as if with a hundredth of its loudest score
FAINTEST = 1e-6


@dataclass(frozen=True, kw_only=True)
class SessionSizes:
    """What the core reads of a configuration."""

    features: int
    sources: int
    item_features: int
    dimension: int
    heads: int
    window_seconds: float
    dropout: float


ENCODER_INPUTS = (
    "history_vectors",
    "history_actions",
    "history_ages_seconds",
    "history_mask",
    "features",
    "surface",
    "source_vector",
    "query",
)
RANK_INPUTS = ("features", "candidate_vectors", "source_scores", "candidate_features")


class SessionCore(nn.Module):
    """Session encoder and blend of the sources: all of the in-session ranker but its item table.

    Parameters
    ----------
    sizes
        Widths and bounds.
    intents
        Questions about the next event; their answers feed the item encoder.
    """

    def __init__(self, sizes: SessionSizes, intents: Sequence[Intent]) -> None:
        super().__init__()
        d = sizes.dimension
        self.intents, self.window_seconds, self.heads = tuple(intents), sizes.window_seconds, sizes.heads
        self.actions = nn.Embedding(len(ACTIONS) + 1, d)
        self.surfaces = nn.Embedding(len(SURFACES) + 1, d)
        self.words = nn.Embedding(QUERY_BUCKETS, d, padding_idx=0, sparse=True)
        self.times = nn.Linear(2, d)
        self.context = nn.Linear(sizes.features + 3 * d, d)
        self.norm = nn.LayerNorm(d)
        self.dropout = nn.Dropout(sizes.dropout)
        self.intent_encoder = TransformerBlock(d, sizes.heads, sizes.dropout)
        self.item_encoder = TransformerBlock(d, sizes.heads, sizes.dropout)
        self.outputs = nn.ModuleList(nn.Linear(d, intent.classes) for intent in intents)
        self.feed = IntentVector([intent.classes for intent in intents], d)
        self.wide = nn.Linear(sizes.features, 2 * sizes.sources + 1, bias=False)
        self.item_effect = nn.Linear(sizes.item_features, 1, bias=False)
        self._start(sizes.sources)

    def _start(self, sources: int) -> None:
        """Start as an even blend of the sources: before anything is learnt the list is already theirs."""
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        with torch.no_grad():
            self.wide.weight.zero_()
            self.wide.weight[:sources, 0] = 0.1  # log(v / max v + ε)
            self.wide.weight[sources : 2 * sources, 0] = 1.0  # v / max v
            self.wide.weight[2 * sources, 0] = 1.0
            self.item_effect.weight.zero_()

    def forward(
        self,
        history_vectors: Tensor,
        history_actions: Tensor,
        history_ages_seconds: Tensor,
        history_mask: Tensor,
        features: Tensor,
        surface: Tensor,
        source_vector: Tensor,
        query: Tensor,
        candidate_vectors: Tensor,
        source_scores: Tensor,
        candidate_features: Tensor,
    ) -> tuple[Tensor, ...]:
        """Logits [B, N], the sources' weights [B, 2 S + 1], and the probabilities of the intents."""
        user, *intents = self.encode(
            history_vectors,
            history_actions,
            history_ages_seconds,
            history_mask,
            features,
            surface,
            source_vector,
            query,
        )
        logits, _, weights = self.rank(user, features, candidate_vectors, source_scores, candidate_features)
        pairs = zip(self.intents, intents, strict=True)
        return logits, weights, *(intent.probabilities(given) for intent, given in pairs)

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
        ages = history_ages_seconds
        gaps = (torch.cat([ages[:, :1], ages[:, :-1]], 1) - ages).clamp(min=0)  # [B, L] seconds since the one before
        times = self.times(torch.stack([ages, gaps], -1).clamp(min=0).log1p() / 10)  # [B, L, D]
        # The table's vectors are small (they meet in a dot product): scaled up they stand level with the other parts.
        scale = history_vectors.shape[-1] ** 0.5
        tokens = (history_vectors * scale + self.actions(history_actions) + times) * history_mask.unsqueeze(-1)
        words = self.words(query).sum(1) / (query > 0).sum(1, keepdim=True).clamp(min=1)  # [B, D]
        asked = torch.cat([features, self.surfaces(surface), words, source_vector * scale], -1)
        tokens = torch.cat([tokens, self.context(asked).unsqueeze(1)], 1)  # [B, L + 1, D]
        tokens = self.dropout(self.norm(tokens))
        allowed = self._allowed(history_mask, ages)  # [B, heads, L + 1, L + 1]
        encoded = self.intent_encoder(tokens, allowed)
        logits = [output(encoded[:, -1]) for output in self.outputs]
        wanted = [intent.probabilities(given) for intent, given in zip(self.intents, logits, strict=True)]
        user = self.item_encoder(encoded + self.feed(wanted).unsqueeze(1), allowed, queries=1).squeeze(1)  # [B, D]
        return user, *logits

    def _allowed(self, history_mask: Tensor, ages_seconds: Tensor) -> Tensor:
        """Half of the heads see the whole history, the others its short-term window alone."""
        everywhere = causal(F.pad(history_mask, (0, 1), value=1.0))  # [B, 1, L + 1, L + 1]
        recent = within(everywhere, F.pad(ages_seconds, (0, 1)), self.window_seconds)
        short = self.heads // 2
        return torch.cat([everywhere] * (self.heads - short) + [recent] * short, 1)

    def rank(
        self,
        user: Tensor,
        features: Tensor,
        candidate_vectors: Tensor,
        source_scores: Tensor,
        candidate_features: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Whole logits [B, N], the encoder's own [B, N], and the weights [B, 2 S + 1]."""
        deep = torch.einsum("bd,bnd->bn", user, candidate_vectors)
        share = source_scores / source_scores.amax(1, keepdim=True).clamp(min=FAINTEST)  # [B, N, S]
        heard = torch.cat([(share + EPSILON).log(), share], -1)  # [B, N, 2 S]
        weights = self.wide(features)  # [B, 2 S + 1]
        blended = torch.einsum("bns,bs->bn", heard, weights[:, :-1]) + weights[:, -1:] * deep
        return blended + self.item_effect(candidate_features).squeeze(-1), deep, weights


class SessionEncoder(nn.Module):
    """The user vector alone."""

    def __init__(self, core: SessionCore) -> None:
        super().__init__()
        self.core = core

    def forward(
        self,
        history_vectors: Tensor,
        history_actions: Tensor,
        history_ages_seconds: Tensor,
        history_mask: Tensor,
        features: Tensor,
        surface: Tensor,
        source_vector: Tensor,
        query: Tensor,
    ) -> Tensor:
        """User vector [B, D]."""
        user: Tensor = self.core.encode(
            history_vectors,
            history_actions,
            history_ages_seconds,
            history_mask,
            features,
            surface,
            source_vector,
            query,
        )[0]
        return user
