"""Guard against offsets that a stream framework passes by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from streamer.effects import Record

PATIENCE_SECONDS = 5.0


class GapGuard:
    """Lets records of a partition through only where they follow what has been applied.

    A gap is read again, once. What is still missing then is the broker's own (transaction markers, retention) and the
    stream goes on behind it. Where the second reading does not come, because the partition was away meanwhile, it is
    asked for again.

    Parameters
    ----------
    clock
        Monotonic seconds.

    Examples
    --------
    >>> guard = GapGuard()
    >>> guard.check(9, [Record(12, 0, None, None)])  # 10 and 11 are missing: read again from 10
    ([], 10)
    >>> guard.check(9, [Record(12, 0, None, None)])[1] is None
    True
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._gap_end: int | None = None
        self._asked_at = 0.0

    def check(self, applied: int, records: Sequence[Record]) -> tuple[list[Record], int | None]:
        """Split off what may be applied now, and name the offset to read again from, if any.

        Parameters
        ----------
        applied
            The last applied offset; -1 where nothing has been applied, and any beginning will do.
        records
            Records in the order in which they came: what was left in a buffer, and then the second reading, say.
        """
        accepted: list[Record] = []
        again_from = None
        for run in _runs(records):
            fresh = [record for record in run if record.offset > applied]
            if fresh and self._follows(applied, fresh[0].offset):
                accepted += fresh
                applied, again_from = fresh[-1].offset, None
            elif fresh and self._asks(fresh[0].offset):
                again_from = applied + 1
        return accepted, again_from

    def _follows(self, applied: int, first: int) -> bool:
        """Whether what begins there follows on what was applied, as far as the broker has it."""
        follows = applied < 0 or first == applied + 1 or (self._gap_end is not None and first <= self._gap_end)
        if follows:
            self._gap_end = None
        return follows

    def _asks(self, first: int) -> bool:
        """Whether a second reading is to be asked for: not while one is awaited, and this was left in a buffer."""
        if self._gap_end is not None and self._clock() - self._asked_at < PATIENCE_SECONDS:
            return False
        self._gap_end, self._asked_at = first if self._gap_end is None else self._gap_end, self._clock()
        return True


def _runs(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Cut where an offset is not the next one.

    >>> [len(run) for run in _runs([Record(offset, 0, None, None) for offset in (8, 9, 5, 6, 7)])]
    [2, 3]
    """
    run: list[Record] = []
    for record in records:
        if run and record.offset != run[-1].offset + 1:
            yield run
            run = []
        run.append(record)
    if run:
        yield run
