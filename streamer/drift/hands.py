"""What an action can change: learning rates, the share of replay, publishing, the teacher, the version that serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch

from streamer.replay_buffer import ReplayBuffer

Values = list[float]


class Hand(Protocol):
    """One thing that can be changed and put back.

    Attributes
    ----------
    lasting
        Whether it returns by itself; what does not is done once, or stays until somebody reverts it.
    """

    lasting: bool

    def read(self) -> Values:
        """Return what must be known to put it back."""
        ...

    def change(self, before: Values, amount: float, reason: str) -> None:
        """Put the changed value in place of the one read before; the same again changes nothing."""
        ...

    def put_back(self, before: Values) -> None:
        """Undo the change."""
        ...


class LearningRate:
    """The learning rates of an optimiser, multiplied by the amount."""

    lasting = True

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def read(self) -> Values:
        """Return the rate of every group."""
        return [float(group["lr"]) for group in groups(self._optimizer)]

    def change(self, before: Values, amount: float, reason: str) -> None:
        """Raise the rates."""
        self.put_back([rate * amount for rate in before])

    def put_back(self, before: Values) -> None:
        """Set the rates."""
        for group, rate in zip(groups(self._optimizer), before, strict=True):
            group["lr"] = rate


class Replay:
    """The chance that a new batch is followed by an old one, raised to the amount."""

    lasting = True

    def __init__(self, replay: ReplayBuffer) -> None:
        self._replay = replay

    def read(self) -> Values:
        """Return the share."""
        return [self._replay.share]

    def change(self, before: Values, amount: float, reason: str) -> None:
        """Raise the share; it is never lowered."""
        self._replay.share = max(before[0], amount)

    def put_back(self, before: Values) -> None:
        """Set the share."""
        self._replay.share = before[0]


class Errand:
    """Something that another process does when it is told; done once.

    Parameters
    ----------
    do
        Called with the reason.
    undo
        Called when the action is reverted.
    """

    lasting = False

    def __init__(self, do: Callable[[str], None], undo: Callable[[], None] = lambda: None) -> None:
        self._do, self._undo = do, undo

    def read(self) -> Values:
        """Return nothing: the other process knows."""
        return []

    def change(self, before: Values, amount: float, reason: str) -> None:
        """Send word."""
        if reason:
            self._do(reason)

    def put_back(self, before: Values) -> None:
        """Send word that it is over."""
        self._undo()


def groups(optimizer: torch.optim.Optimizer) -> Iterator[dict[str, Any]]:
    """Give the parameter groups that steps are made with: those of the innermost optimisers.

    An optimiser around others keeps a list of its own, which loading a state leaves behind.
    """
    inner = getattr(optimizer, "optimizers", None) or [o for o in [getattr(optimizer, "optimizer", None)] if o]
    if not inner:
        yield from optimizer.param_groups
    for one in inner:
        yield from groups(one)
