"""Recommenders whose lists are known, and that write down what they are told."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Histories, Interactions
from online_models.recommenders import Setting


class Spy:
    """Scores rows by a fixed order, the highest row first, and remembers every call."""

    def __init__(self, setting: Setting, micro_batch: int = 1) -> None:
        self.setting, self.micro_batch = setting, micro_batch
        self.calls: list[tuple[Any, ...]] = []

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        held = (
            [] if validation is None else list(zip(validation.users.tolist(), validation.items.tolist(), strict=True))
        )
        self.calls.append(("fit", list(zip(train.users.tolist(), train.items.tolist(), strict=True)), held))

    def learn(self, events: Interactions, histories: Histories) -> None:
        self.calls.append(("learn", events.items.tolist(), lists_of(histories)))

    def score(self, histories: Histories) -> NDArray[np.float32]:
        self.calls.append(("score", histories.users.tolist(), lists_of(histories)))
        return np.tile(np.arange(self.setting.rows, dtype=np.float32), (len(histories), 1))


class SpyMaker:
    """A factory that keeps what it made."""

    def __init__(self, micro_batch: int = 1) -> None:
        self.micro_batch = micro_batch
        self.made: list[Spy] = []

    def __call__(self, setting: Setting) -> Spy:
        self.made.append(Spy(setting, self.micro_batch))
        return self.made[-1]


def lists_of(histories: Histories) -> list[list[int]]:
    return [histories.items_of(place).tolist() for place in range(len(histories))]
