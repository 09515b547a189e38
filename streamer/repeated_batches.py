"""After a kill: examples that have their labels already, put together as they were when they were labelled."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from streamer.soft_labels import SoftLabel
from streamer.teacher_labels import Received

_MOST_WAITING = 4_096


class Given(NamedTuple):
    """What is known of a label that a killed process has written: when it was given, and to which example."""

    learnt: int
    partition: int
    offset: int

    @classmethod
    def of(cls, label: SoftLabel) -> Given:
        """Read it from the label."""
        return cls(label.learnt, label.partition, label.offset)


class RepeatedBatches:
    """Arranges what comes after a restart into the micro-batches that the killed process has made of it.

    A label says how many examples its teacher had taken before the micro-batch, and so the labels behind a snapshot say
    which examples were taken together, in which order. Taken so once more they lead from the snapshot to the very
    weights, counts and random numbers that the killed process had, and whatever it would have said next is said now.
    The broker may bring the examples in another order, so they wait for each other, and new ones for them all. Of the
    last micro-batch only some labels may be written: the others are new, and no label knows the weights that were lost.

    An example that does not come again, since the topic keeps it no longer, is not waited for.

    Parameters
    ----------
    given
        What the labels behind the snapshot say.
    most_waiting
        New examples that wait; where there are more, the rest is taken as it comes.

    Examples
    --------
    >>> def received(offset):
    ...     return Received(0, offset, None)
    >>> repeated = RepeatedBatches([Given(8, 0, 3), Given(8, 0, 4), Given(10, 0, 5)])
    >>> batches = repeated.arrange([received(3)]), repeated.arrange([received(number) for number in (4, 5, 6)])
    >>> [[one.offset for one in batch] for found in batches for batch in found], repeated.over
    ([[3, 4], [5], [6]], True)
    """

    def __init__(self, given: Iterable[Given] = (), most_waiting: int = _MOST_WAITING) -> None:
        groups: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
        for learnt, partition, offset in given:
            if learnt >= 0:  # labels of earlier versions of the program do not say it
                groups[learnt].add((partition, offset))
        self._groups = deque(groups[learnt] for learnt in sorted(groups))
        self._wanted = {place for group in self._groups for place in group}
        self._here: dict[tuple[int, int], Received] = {}
        self._new: list[Received] = []
        self._ends: dict[int, int] = {}  # partition -> newest offset that has come
        self._most = most_waiting

    @property
    def over(self) -> bool:
        """Whether everything that was labelled before has been given out, so that what comes is new."""
        return not self._groups

    @property
    def waiting(self) -> bool:
        """Whether examples are held back: they must not count as taken yet."""
        return bool(self._here or self._new)

    def arrange(self, received: Sequence[Received]) -> list[list[Received]]:
        """Take what has come; returns the micro-batches that can be taken now, in their order."""
        for one in received:
            place = (one.partition, one.offset)
            self._ends[one.partition] = max(self._ends.get(one.partition, -1), one.offset)
            if place in self._wanted:
                self._here[place] = one
            else:
                self._new.append(one)
        batches = []
        while self._groups and self._complete(self._groups[0]):
            batches.append(self._given_out(self._groups.popleft()))
        if not self._groups:
            batches.append(sorted(self._new, key=_place))
            self._new = []
        return [batch for batch in batches if batch]

    def _complete(self, group: set[tuple[int, int]]) -> bool:
        crowded = len(self._new) > self._most
        return crowded or all(place in self._here or self._ends.get(place[0], -1) > place[1] for place in group)

    def _given_out(self, group: set[tuple[int, int]]) -> list[Received]:
        self._wanted -= group
        return [self._here.pop(place) for place in sorted(group) if place in self._here]


def _place(one: Received) -> tuple[int, int]:
    return one.partition, one.offset
