"""The intents that a public log can label: which question, how many answers, and where its labels come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from online_models.encoders.intents import (
    Intent,
    age_labels,
    category_overlap,
    familiarity_labels,
)
from online_models.vocabulary import ACTIONS, AGE_EDGES_DAYS, FAMILIARITIES


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What was taken at P places, with what came before it: all that an intent's labels are made of."""

    actions: Tensor  # [P] int64, 0 where unknown
    categories: Tensor  # [P, C] multi-hot
    previous_categories: Tensor  # [P, C] of the event before
    ages_seconds: Tensor  # [P] since the item came out, infinite where unknown
    again: Tensor  # [P] bool: the history holds the item already


Labels = Callable[[Taken], Tensor]


@dataclass(frozen=True, kw_only=True)
class Head(Intent):
    """An intent with where its labels [P, classes] come from."""

    labels: Labels


def action_head() -> Head:
    """Which action comes next."""

    def labels(taken: Taken) -> Tensor:
        return F.one_hot(taken.actions, len(ACTIONS) + 1).float() * (taken.actions > 0).unsqueeze(-1)

    return Head(name="action", classes=len(ACTIONS) + 1, labels=labels)


def category_head(categories: int) -> Head:
    """Which categories the next item has; several at once."""
    return Head(name="categories", classes=categories, several=True, labels=lambda taken: taken.categories)


def age_head() -> Head:
    """How old the next item is."""
    return Head(name="age", classes=len(AGE_EDGES_DAYS) + 1, labels=lambda taken: age_labels(taken.ages_seconds))


def familiarity_head() -> Head:
    """Whether the next item is taken again, is of the kind just taken, or new."""

    def labels(taken: Taken) -> Tensor:
        known = taken.again | (taken.categories.sum(-1) * taken.previous_categories.sum(-1) > 0)
        return familiarity_labels(taken.again, category_overlap(taken.categories, taken.previous_categories), known)

    return Head(name="familiarity", classes=len(FAMILIARITIES), labels=labels)


def all_heads(categories: int) -> tuple[Head, ...]:
    """Every intent of the paper that a public log can label."""
    return action_head(), category_head(categories), age_head(), familiarity_head()
