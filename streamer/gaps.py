"""Guard against offsets that a stream framework passes by."""

from __future__ import annotations

from collections.abc import Sequence

from streamer.effects import Record


class GapGuard:
    """Lets records of a partition through only where they follow what has been applied.

    A gap is read again, once. What is still missing then is the broker's own (transaction markers, retention) and the
    stream goes on behind it.

    >>> guard = GapGuard()
    >>> guard.check(9, [Record(12, 0, None, None)])  # 10 and 11 are missing: read again from 10
    ([], 10)
    >>> guard.check(9, [Record(12, 0, None, None)])[1] is None
    True
    """

    def __init__(self) -> None:
        self._gap_end: int | None = None

    def check(self, applied: int, records: Sequence[Record]) -> tuple[list[Record], int | None]:
        """Split off what may be applied now, and name the offset to read again from, if any.

        Parameters
        ----------
        applied
            The last applied offset; -1 where nothing has been applied, and any beginning will do.
        records
            Records in the order of their offsets.
        """
        fresh = [record for record in records if record.offset > applied]
        if not fresh:
            return [], None
        first = fresh[0].offset
        if applied < 0 or first == applied + 1 or (self._gap_end is not None and first <= self._gap_end):
            self._gap_end = None
            return fresh, None
        if self._gap_end is not None:  # left over in a buffer from before the second reading
            return [], None
        self._gap_end = first
        return [], applied + 1
