"""Three encoders in a row: the short-term window, the intents, the item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from online_models.encoders.clock import CLOCK
from online_models.encoders.intents import Intent
from online_models.encoders.transformer import TransformerBlock
from online_models.encoders.windows import causal, within
from online_models.vocabulary import ACTIONS

Block = Callable[[int, int, float], nn.Module]
Feed = Callable[[Sequence[int], int], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the hierarchy reads of a configuration."""

    categories: int
    dimension: int
    heads: int
    history: int
    window_seconds: float
    dropout: float


class IntentHierarchy(nn.Module):
    """Short-term interest, intents and item encoder of IntentRec, without tables.

    Parameters
    ----------
    sizes
        Widths and bounds.
    heads
        Intents.
    feed
        Makes the module from the intents' probabilities to Z; None: the heads stand on the item encoder, Z is 0.
    short
        Makes the encoder of the window; None: S is 0.
    """

    def __init__(self, sizes: Sizes, heads: Sequence[Intent], feed: Feed | None, short: Block | None) -> None:
        super().__init__()
        d, parts = sizes.dimension, (sizes.dimension, sizes.heads, sizes.dropout)
        self.intents, self.window_seconds = tuple(heads), sizes.window_seconds
        self.actions = nn.Embedding(len(ACTIONS) + 1, d)
        self.categories = nn.Linear(sizes.categories, d, bias=False)
        self.places = nn.Embedding(sizes.history, d)
        self.event, self.merged, self.clock = nn.Linear(2 * d + CLOCK, d), nn.Linear(2 * d, d), nn.Linear(CLOCK, d)
        self.norm = nn.LayerNorm(d)
        self.dropout = nn.Dropout(sizes.dropout)
        self.short_term = short(*parts) if short else None
        self.feed = feed([head.classes for head in heads], d) if feed and heads else None
        self.intent_encoder = TransformerBlock(*parts) if self.feed else None
        self.intent_input = nn.Linear(d, d) if self.feed else None
        self.item_encoder = TransformerBlock(*parts)
        self.outputs = nn.ModuleList(nn.Linear(d, head.classes) for head in heads)
        self._start_small()

    def _start_small(self) -> None:
        """Let every part that is merged in start small beside the item's vector, which the score compares with."""
        for module in (self.actions, self.categories, self.places, self.event, self.merged, self.clock):
            nn.init.normal_(module.weight, std=0.02)
        for linear in (self.event, self.merged, self.clock):
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        history_vectors: Tensor,
        history_categories: Tensor,
        history_actions: Tensor,
        history_ages_seconds: Tensor,
        history_clock: Tensor,
        history_mask: Tensor,
    ) -> tuple[Tensor, ...]:
        """User states [B, T, D], then the logits of every intent [B, T, C_i]."""
        real = history_mask.unsqueeze(-1)  # [B, T, 1]
        events = self._events(history_vectors, history_categories, history_actions, history_clock) * real
        allowed = causal(history_mask)  # [B, 1, T, T]
        recent = self._recent(events, within(allowed, history_ages_seconds, self.window_seconds))  # [B, T, D]
        clock = self.clock(history_clock)  # [B, T, D]
        wanted, logits = self._wanted(events, recent, clock, allowed)
        merged = events + self.merged(torch.cat([recent, wanted], -1))  # [B, T, D]
        back = torch.arange(history_mask.shape[1] - 1, -1, -1, device=history_mask.device)  # [T] the newest has place 0
        places = self.places(back.clamp(max=self.places.num_embeddings - 1))  # [T, D]
        tokens = (merged + clock + self.dropout(places)) * real
        states = self.norm(self.item_encoder(tokens, allowed))
        if self.feed is None:
            logits = [output(states) for output in self.outputs]
        return states, *logits

    def _events(self, vectors: Tensor, categories: Tensor, actions: Tensor, clock: Tensor) -> Tensor:
        """F: what is known of each event. [B, T, D]."""
        share = categories / categories.sum(-1, keepdim=True).clamp(min=1)
        facts = torch.cat([self.categories(share), self.actions(actions), clock], -1)  # [B, T, 2 D + CLOCK]
        # the table's vectors are small (they meet in a dot product): scaled up they stand level with the rest
        events: Tensor = self.dropout(vectors * vectors.shape[-1] ** 0.5 + self.event(facts))
        return events

    def _recent(self, events: Tensor, windowed: Tensor) -> Tensor:
        """S: the short-term interest, zeros where it is left out. [B, T, D]."""
        if self.short_term is None:
            return torch.zeros_like(events)
        recent: Tensor = self.short_term(events, windowed)
        return recent

    def _wanted(self, events: Tensor, recent: Tensor, clock: Tensor, allowed: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Z [B, T, D] and the intents' logits; zeros and nothing where the intents feed nothing."""
        if self.feed is None or self.intent_encoder is None or self.intent_input is None:
            return torch.zeros_like(events), []
        tokens = events + self.intent_input(recent) + clock  # [B, T, D]
        encoded = self.intent_encoder(tokens, allowed)
        logits = [output(encoded) for output in self.outputs]
        probabilities = [head.probabilities(given) for head, given in zip(self.intents, logits, strict=True)]
        return self.feed(probabilities), logits


class NewestIntents(nn.Module):
    """What is known after the newest event alone."""

    def __init__(self, core: IntentHierarchy) -> None:
        super().__init__()
        self.core = core

    def forward(
        self,
        history_vectors: Tensor,
        history_categories: Tensor,
        history_actions: Tensor,
        history_ages_seconds: Tensor,
        history_clock: Tensor,
        history_mask: Tensor,
    ) -> tuple[Tensor, ...]:
        """User vector [B, D], then the probabilities of every intent [B, C_i]."""
        states, *logits = self.core(
            history_vectors, history_categories, history_actions, history_ages_seconds, history_clock, history_mask
        )
        pairs = zip(self.core.intents, logits, strict=True)
        return states[:, -1], *(head.probabilities(given[:, -1]) for head, given in pairs)
