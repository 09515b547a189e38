"""Item vectors and the queries that are asked of them: made up at any size, or learnt from a data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Setting
from online_models.recommenders.sequential import sasrec

Vectors = NDArray[np.float32]
_HISTORY = 50


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Items [N, D] and queries [Q, D]."""

    items: Vectors
    queries: Vectors


def clustered(items: int, dimension: int, queries: int, seed: int = 0) -> Sample:
    """Items in groups of uneven size with uneven norms; a query lies between three items of any groups.

    >>> clustered(100, 8, 5).items.shape, clustered(100, 8, 5).queries.shape
    ((100, 8), (5, 8))
    """
    random = np.random.default_rng(seed)
    groups = max(16, int(np.sqrt(items)))
    centres = random.normal(size=(groups, dimension))
    popular, any_group = random.zipf(1.3, items) % groups, random.integers(0, groups, items)
    own = np.where(random.random(items) < 0.5, popular, any_group)  # [N]
    vectors = (centres[own] + 0.7 * random.normal(size=(items, dimension))).astype(np.float32)
    vectors *= np.exp(0.3 * random.normal(size=(items, 1))).astype(np.float32) / np.sqrt(dimension)
    taken = vectors[random.integers(0, items, (queries, 3))].mean(1)  # [Q, D]
    noise = 0.1 * random.normal(size=(queries, dimension)) / np.sqrt(dimension)
    return Sample(items=vectors, queries=(taken + noise).astype(np.float32))


def gaussian(items: int, dimension: int, queries: int, seed: int = 0) -> Sample:
    """Directions without any structure: the worst case for every index, and like no real catalogue."""
    random = np.random.default_rng(seed)
    drawn = random.normal(size=(items + queries, dimension)).astype(np.float32)
    return Sample(items=drawn[:items], queries=drawn[items:])


MADE_UP: dict[str, Callable[[int, int, int, int], Sample]] = {"clustered": clustered, "gaussian": gaussian}


def learnt(log: Interactions, queries: int, minutes: float, seed: int = 0) -> Sample:
    """Vectors of a SASRec that has learnt a data set: its items, and its users after their histories."""
    setting = Setting(rows=log.rows, user_count=log.user_count, seed=seed, fit_minutes=minutes)
    recommender = sasrec(setting)
    recommender.fit(log)
    users = np.unique(log.users)
    asked = np.random.default_rng(seed).choice(users, min(queries, len(users)), replace=False)
    order = np.argsort(log.users, kind="stable")
    sorted_users, sorted_items = log.users[order], log.items[order]
    starts, ends = np.searchsorted(sorted_users, asked), np.searchsorted(sorted_users, asked, side="right")
    histories = [sorted_items[start:end][-_HISTORY:].tolist() for start, end in zip(starts, ends, strict=True)]
    vectors = recommender.learner.embed(Histories.of(histories), _HISTORY).numpy()
    catalogue = recommender.learner.ranker.catalogue_vectors().detach().numpy()[np.unique(log.items)]
    return Sample(items=np.ascontiguousarray(catalogue), queries=np.ascontiguousarray(vectors))
