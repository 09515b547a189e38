"""What every served ranker shares: how a session is read, and the blend of the counting sources with the encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from online_models.vocabulary import ACTIONS, QUERY_BUCKETS, SURFACES

EPSILON = 1e-2  # a source that does not know an item speaks as if with a hundredth of its loudest score
FAINTEST = 1e-6
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


@dataclass(frozen=True, kw_only=True)
class CoreSizes:
    """Widths: ``features``, ``sources`` and ``item_features`` are F, S and G of the batches."""

    features: int
    sources: int
    item_features: int
    dimension: int = 64
    dropout: float = 0.1


class BlendedCore(nn.Module):
    """All of a served ranker but its item table: an encoder of the session, and the blend.

    With the user vector ``u`` that the family's :meth:`encode` makes of the session::

        logit(j) = w_0(c) · u·e_j  +  Σ_s w_s(c) · f_s(j)  +  v · g_j

    ``f_s(j)`` are ``v_s(j) / max_j v_s(j)`` of candidate source ``s`` and ``log`` of it plus ε, ``g_j`` the item's
    features, and every ``w(c)`` is linear in the context features ``c``, whose entry 0 is the constant 1.

    A family defines :meth:`encode`, and calls :meth:`_add_blend` at the end of its constructor: the order of the
    parameters is that of the optimiser's state in snapshots.

    Parameters
    ----------
    sizes
        Widths.
    """

    def __init__(self, sizes: CoreSizes) -> None:
        super().__init__()
        d = sizes.dimension
        self.actions = nn.Embedding(len(ACTIONS) + 1, d)
        self.surfaces = nn.Embedding(len(SURFACES) + 1, d)
        self.words = nn.Embedding(QUERY_BUCKETS, d, padding_idx=0, sparse=True)
        self.times = nn.Linear(2, d)
        self.context = nn.Linear(sizes.features + 3 * d, d)

    def _add_blend(self, sizes: CoreSizes) -> None:
        """Start as an even blend of the sources: before anything is learnt the list is already theirs."""
        self.wide = nn.Linear(sizes.features, 2 * sizes.sources + 1, bias=False)
        self.item_effect = nn.Linear(sizes.item_features, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        with torch.no_grad():
            self.wide.weight.zero_()
            self.wide.weight[: sizes.sources, 0] = 0.1  # log(v / max v + ε)
            self.wide.weight[sizes.sources : 2 * sizes.sources, 0] = 1.0  # v / max v
            self.wide.weight[2 * sizes.sources, 0] = 1.0
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
        """Logits [B, N], the sources' weights [B, 2 S + 1], and what else the family tells."""
        user, *more = self.encode(
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
        return logits, weights, *self.told(more)

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
        """User vector [B, D], then whatever the family's loss and :meth:`told` need of the encoder."""
        raise NotImplementedError(f"{type(self).__name__} must define encode(…) -> (user [B, D], …)")

    def told(self, more: list[Tensor]) -> tuple[Tensor, ...]:
        """Give the served graph's outputs besides logits and weights; none unless the family has some."""
        return ()

    def rank(
        self,
        user: Tensor,
        features: Tensor,
        candidate_vectors: Tensor,
        source_scores: Tensor,
        candidate_features: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Whole logits [B, N], the encoder's own [B, N], and the weights [B, 2 S + 1]."""
        deep = (candidate_vectors @ user.unsqueeze(2)).squeeze(2)  # [B, N]
        logits, weights = self.blend(deep, features, source_scores, candidate_features)
        return logits, deep, weights

    def blend(
        self, deep: Tensor, features: Tensor, source_scores: Tensor, candidate_features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Whole logits [B, N] from the encoder's own [B, N], and the weights [B, 2 S + 1]."""
        heard = self.heard(source_scores)  # [B, N, 2 S]
        weights = self.wide(features)  # [B, 2 S + 1]
        blended = (heard @ weights[:, :-1].unsqueeze(2)).squeeze(2) + weights[:, -1:] * deep  # [B, N]
        return blended + self.item_effect(candidate_features).squeeze(-1), weights

    def heard(self, source_scores: Tensor) -> Tensor:
        """``f_s(j)``: what the sources say of each candidate, as the blend reads it. [B, N, 2 S]."""
        share = source_scores / source_scores.amax(1, keepdim=True).clamp(min=FAINTEST)  # [B, N, S]
        return torch.cat([(share + EPSILON).log(), share], -1)

    def _events(
        self, history_vectors: Tensor, history_actions: Tensor, history_ages_seconds: Tensor, history_mask: Tensor
    ) -> Tensor:
        """One vector for each event: its item, its action and when it was; zeros where padded. [B, L, D]."""
        ages = history_ages_seconds
        gaps = (torch.cat([ages[:, :1], ages[:, :-1]], 1) - ages).clamp(min=0)  # [B, L] seconds since the one before
        times = self.times(torch.stack([ages, gaps], -1).clamp(min=0).log1p() / 10)  # [B, L, D]
        # The table's vectors are small (they meet in a dot product): scaled up they stand level with the other parts.
        scale = history_vectors.shape[-1] ** 0.5
        events = history_vectors * scale + self.actions(history_actions) + times
        seen: Tensor = events * history_mask.unsqueeze(-1)
        return seen

    def _asked(self, features: Tensor, surface: Tensor, source_vector: Tensor, query: Tensor) -> Tensor:
        """One vector for the context: features, surface, words of the query, source item. [B, D]."""
        words = self.words(query).sum(1) / (query > 0).sum(1, keepdim=True).clamp(min=1)  # [B, D]
        scale = source_vector.shape[-1] ** 0.5
        asked: Tensor = self.context(torch.cat([features, self.surfaces(surface), words, source_vector * scale], -1))
        return asked


class UserEncoder(nn.Module):
    """What does not depend on the candidates: the user vector, and what else the family tells of the session."""

    def __init__(self, core: BlendedCore) -> None:
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
    ) -> tuple[Tensor, ...]:
        """User vector [B, D], then the family's own outputs."""
        user, *more = self.core.encode(
            history_vectors,
            history_actions,
            history_ages_seconds,
            history_mask,
            features,
            surface,
            source_vector,
            query,
        )
        return user, *self.core.told(more)


class CandidateScorer(nn.Module):
    """The rest: logits of candidates for a user vector that is already there."""

    def __init__(self, core: BlendedCore) -> None:
        super().__init__()
        self.core = core

    def forward(
        self,
        user_vector: Tensor,
        features: Tensor,
        candidate_vectors: Tensor,
        source_scores: Tensor,
        candidate_features: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, N] and the sources' weights [B, 2 S + 1]."""
        logits, _, weights = self.core.rank(user_vector, features, candidate_vectors, source_scores, candidate_features)
        return logits, weights
