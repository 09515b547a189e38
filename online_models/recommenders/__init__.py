"""Systems as a protocol of evaluation meets them: fit or learn on a log, then score the whole catalogue.

A module here says which recommenders it brings in ``RECOMMENDERS: dict[str, Factory]``; :func:`recommenders` finds
them, and ``headwater evaluate --model NAME`` offers them.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions


class Recommender(Protocol):
    """What is evaluated.

    Offline protocols call :meth:`fit` once, then :meth:`score`. The prequential one never calls ``fit`` on what it
    tests: it walks the stream in micro-batches of ``micro_batch`` events, asks :meth:`score` with each event's history
    up to just before it, and then hands the events to :meth:`learn`.
    """

    micro_batch: int  # events that may be tested before they are learnt; 1 for what counts

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Learn a whole log; ``validation`` holds one later event of some users, for stopping and for settings."""
        ...

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Learn a micro-batch of the stream; ``histories`` is what was known before each of its events."""
        ...

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score every catalogue row for each history, larger is better. [B, R]; columns 0 and 1 are ignored."""
        ...


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a factory is told: the catalogue and how it will be used."""

    rows: int
    user_count: int
    seed: int = 0
    repeats: bool = False  # whether an item that the user has taken may be the next one (sessions)
    sample: Interactions | None = None  # the catalogue's texts and categories; never read for events
    fit_minutes: float | None = None  # who learns epoch by epoch ends its fit then; None: as it sees fit


Factory = Callable[[Setting], Recommender]


def recommenders() -> dict[str, Factory]:
    """Every recommender by name, in the order of modules and of their tables.

    Raises
    ------
    ValueError
        Two modules use one name.
    """
    found: dict[str, Factory] = {}
    for info in pkgutil.iter_modules(__path__, f"{__name__}."):
        table: dict[str, Factory] = getattr(importlib.import_module(info.name), "RECOMMENDERS", {})
        for name, factory in table.items():
            if name in found:
                raise ValueError(f"{info.name} calls a recommender {name!r}, as another module does; rename one")
            found[name] = factory
    return found
