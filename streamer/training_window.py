"""The teacher's training window: its latest examples as batches on disk, in segments that never change.

A batch keeps its candidates and scores as they were when it was built: the counts have seen its outcomes meanwhile, so
nothing of it may be computed again. Rows of items that have left the catalogue are blanked when a segment is read.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from online_models.batch import Batch, concatenate
from streamer import snapshots
from streamer.errors import SettingsError, SnapshotError
from streamer.flat_batches import flat, unflat, widened, without

_SNAPSHOTS_KEPT = 3  # an older snapshot may be the one that a restart finds whole
_log = logging.getLogger(__name__)


class Segment(NamedTuple):
    """One file of the window."""

    number: int
    examples: int


@dataclass(frozen=True)
class Lesson:
    """Examples to train on.

    With the batch come, for each example [B], whether its item satisfied, and the loss of the weights that labelled it,
    before they had learnt it; both are NaN where they are not known.
    """

    batch: Batch
    satisfied: Tensor
    losses: Tensor

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.batch)


@dataclass(frozen=True)
class WindowView:
    """The closed segments as they were at one moment, for a refresh that runs beside the stream."""

    directory: Path
    segments: tuple[Segment, ...]
    freed: dict[int, int]

    def split(self, held_out_share: float) -> tuple[WindowView, WindowView]:
        """Part the newest segments, at least one of them, from the others."""
        wanted, held_out = held_out_share * sum(part.examples for part in self.segments), 0
        count = 0
        while count < len(self.segments) and (count == 0 or held_out < wanted):
            count += 1
            held_out += self.segments[-count].examples
        first = len(self.segments) - count
        return self._of(self.segments[:first]), self._of(self.segments[first:])

    def lessons(self, order: NDArray[np.int64] | None = None) -> Iterator[Lesson]:
        """Read segments one at a time, in the given order; what has left the window meanwhile is passed by."""
        for place in range(len(self.segments)) if order is None else order:
            lesson = self._read(self.segments[place])
            if lesson is not None:
                yield lesson

    @property
    def newest(self) -> int:
        """Number of the newest segment; 0 where there is none."""
        return self.segments[-1].number if self.segments else 0

    def numbered(self) -> Iterator[tuple[int, Lesson]]:
        """Read segments in their order, with their numbers."""
        for segment in self.segments:
            lesson = self._read(segment)
            if lesson is not None:
                yield segment.number, lesson

    def behind(self, number: int) -> WindowView:
        """Segments that are newer than this one."""
        return self._of(tuple(segment for segment in self.segments if segment.number > number))

    def _of(self, segments: tuple[Segment, ...]) -> WindowView:
        return WindowView(self.directory, segments, self.freed)

    def _read(self, segment: Segment) -> Lesson | None:
        try:
            state, _ = snapshots.load(path_of(self.directory, segment.number))
        except SnapshotError as error:
            _log.warning("a segment of the training window is left out: %s", error)
            return None
        gone = torch.tensor([row for row, since in self.freed.items() if since > segment.number], dtype=torch.int64)
        return lesson_of(state, gone)


class TrainingWindow:
    """The latest examples, bounded, on disk.

    Parameters
    ----------
    directory
        Of the segments; made where it is missing.
    most_examples
        How many the window may hold.
    segment_examples
        How many at least go into one file.

    Raises
    ------
    SettingsError
        The window could not hold two segments, one to learn from and one to judge by.
    """

    def __init__(self, directory: Path, most_examples: int, segment_examples: int) -> None:
        if most_examples < 2 * segment_examples:
            raise SettingsError(
                f"teacher.window_examples is {most_examples}; give at least {2 * segment_examples}, two segments of"
                f" teacher.segment_examples={segment_examples}"
            )
        self.directory, self.most_examples, self.segment_examples = directory, most_examples, segment_examples
        directory.mkdir(parents=True, exist_ok=True)
        self._segments: list[Segment] = []
        self._open: list[Lesson] = []
        self._next = 1
        self._freed: dict[int, int] = {}  # row -> number of the segment that was open when its item left
        self._named: deque[set[int]] = deque(maxlen=_SNAPSHOTS_KEPT)

    def __len__(self) -> int:
        """Return how many examples the window holds, those that are not in a file yet included."""
        return sum(segment.examples for segment in self._segments) + sum(len(lesson) for lesson in self._open)

    def append(self, lesson: Lesson) -> None:
        """Add the newest examples; a full segment is written and the oldest ones leave."""
        self._open.append(lesson)
        if sum(len(one) for one in self._open) >= self.segment_examples:
            self._close_segment()
        while self._segments and len(self) > self.most_examples:
            self._segments.pop(0)

    def close(self) -> None:
        """Put what has come so far into a file of its own, however little it is."""
        if self._open:
            self._close_segment()

    def forget(self, rows: NDArray[np.int64]) -> None:
        """Rows [K] have lost their item: what it did must not be learnt for the next one."""
        gone = torch.from_numpy(rows)
        self._open = [replace(one, batch=without(one.batch, gone)) for one in self._open]
        self._freed |= dict.fromkeys(rows.tolist(), self._next)

    @property
    def open_number(self) -> int:
        """Number that the segment will have which is open now."""
        return self._next

    def open_lessons(self) -> list[Lesson]:
        """Return what has come since the newest segment was closed."""
        return list(self._open)

    def view(self) -> WindowView:
        """Return the closed segments as they are now."""
        return WindowView(self.directory, tuple(self._segments), dict(self._freed))

    def sweep(self) -> None:
        """Remove files that none of the latest snapshots names; call it when a snapshot has been written."""
        self._named.append({segment.number for segment in self._segments})
        kept = set().union(*self._named)
        for path in self.directory.glob(f"segment-*{snapshots.SUFFIX}"):
            if int(path.stem.removeprefix("segment-")) not in kept:
                path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """Names of the segments, and the examples that are not in one yet."""
        oldest = self._segments[0].number if self._segments else self._next
        self._freed = {row: since for row, since in self._freed.items() if since > oldest}
        return {
            "segments": [list(segment) for segment in self._segments],
            "open": [state_of(one) for one in self._open],
            "next": self._next,
            "freed": [list(self._freed), list(self._freed.values())],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; files written after it are removed, they will be written again."""
        self._segments = [Segment(*segment) for segment in state["segments"]]
        self._open = [lesson_of(one) for one in state["open"]]
        self._next = state["next"]
        self._freed = dict(zip(*state["freed"], strict=True))
        self._named.clear()
        self.sweep()

    def _close_segment(self) -> None:
        width = max(one.batch.labels.shape[1] for one in self._open)
        lesson = Lesson(
            concatenate([widened(one.batch, width) for one in self._open]),
            torch.cat([one.satisfied for one in self._open]),  # [B]
            torch.cat([one.losses for one in self._open]),  # [B]
        )
        snapshots.save(path_of(self.directory, self._next), state_of(lesson))
        self._segments.append(Segment(self._next, len(lesson)))
        self._next += 1
        self._open = []


_no_rows = torch.zeros(0, dtype=torch.int64)


def state_of(lesson: Lesson) -> dict[str, Any]:
    """Return a lesson as tensors by name, for a file."""
    return {"batch": flat(lesson.batch), "satisfied": lesson.satisfied, "losses": lesson.losses}


def lesson_of(state: Mapping[str, Any], gone: Tensor = _no_rows) -> Lesson:
    """Rebuild what :func:`state_of` has taken apart, without the rows [K] of items that have left."""
    satisfied = torch.as_tensor(state["satisfied"])
    losses = state.get("losses", torch.full_like(satisfied, torch.nan))  # files of earlier versions have none
    return Lesson(without(unflat(state["batch"]), gone), satisfied, torch.as_tensor(losses))


def path_of(directory: Path, number: int) -> Path:
    """Where a segment lies.

    >>> path_of(Path("window"), 7).name
    'segment-000000000007.safetensors'
    """
    return directory / f"segment-{number:012d}{snapshots.SUFFIX}"
