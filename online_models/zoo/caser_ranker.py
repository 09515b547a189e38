"""Caser, served: convolutions over the last items, with the counting sources beside the encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from online_models.encoders.blended_core import BlendedCore
from online_models.encoders.window_convolutions import WindowConvolutions
from online_models.served import ServedRanker, ServedSizes


class CaserRanker(ServedRanker):
    """Ranks candidates by Caser's convolutions ("deep") and by the counting sources ("wide"), weighed by context.

    With ``x_k`` the item, action and time of an event and ``c`` the context (features, surface, query, source item)::

        z        = Caser's convolutions over [x_{n-L+1} … x_n]
        u        = W [z; c] + b
        logit(j) = w_0(c) · u·e_j  +  Σ_s w_s(c) · f_s(j)  +  v · g_j

    The blend and the loss are those of every served ranker, see :class:`~online_models.served.ServedRanker`.

    Parameters
    ----------
    config
        Sizes, see :class:`CaserRanker.Config`.

    References
    ----------
    J. Tang, K. Wang, "Personalized Top-N Sequential Recommendation via Convolutional Sequence Embedding", WSDM 2018.
    What differs: rows of the image also carry the action and the time; the context takes the place of the user's own
    vector, so that a new user is served; items have one vector, read and scored, as in the other served family; the
    loss is a softmax over the candidates.

    Examples
    --------
    >>> ranker = CaserRanker(CaserRanker.Config(catalog_rows=32, features=3, sources=2, item_features=2))
    >>> sorted(ranker.graphs())
    ['encode', 'rank', 'score']
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(ServedSizes):
        """Sizes: ``window`` is L, how many events the convolutions see."""

        window: int = 5
        horizontal_filters: int = 16
        vertical_filters: int = 4

    def __init__(self, config: Config) -> None:
        super().__init__(config, lambda: _Core(config))
        self.config = config


class _Core(BlendedCore):
    """Everything but the item table."""

    def __init__(self, config: CaserRanker.Config) -> None:
        super().__init__(config)
        d = config.dimension
        self.convolutions = WindowConvolutions(
            d,
            window=config.window,
            horizontal_filters=config.horizontal_filters,
            vertical_filters=config.vertical_filters,
            dropout=config.dropout,
        )
        self.user = nn.Linear(2 * d, d)
        self._add_blend(config)

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
        """User vector [B, D]."""
        events = self._events(history_vectors, history_actions, history_ages_seconds, history_mask)  # [B, L, D]
        seen = self.convolutions.last(events)  # [B, D]
        asked = self._asked(features, surface, source_vector, query)
        return (self.user(torch.cat([seen, asked], -1)),)
