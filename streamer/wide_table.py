"""Tables for terminals of any width: columns that do not fit beside the others stand below, and nothing is cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table

_ANY_WIDTH = 100_000


class WideTable:
    """Rows of figures as one table where the terminal is wide enough, else as several with the same first columns.

    Headings are broken between their words before columns are moved; a column that is wider than the terminal by itself
    is folded.

    Parameters
    ----------
    title
        Stands above the first part; empty for none.
    headings
        Of the columns. The first ones are text, the others figures.
    keys
        So many columns name the row; they are repeated in every part.
    text
        Headings of further columns that hold text.

    Examples
    --------
    >>> table = WideTable("", ("way", "events a second", "p99 ms"))
    >>> table.add_row("a loop", "12,345", "1.5")
    >>> Console(width=40).print(table)
    ┏━━━━━━━━┳━━━━━━━━━━━━━━━━━┳━━━━━━━━┓
    ┃ way    ┃ events a second ┃ p99 ms ┃
    ┡━━━━━━━━╇━━━━━━━━━━━━━━━━━╇━━━━━━━━┩
    │ a loop │          12,345 │    1.5 │
    └────────┴─────────────────┴────────┘
    >>> len(list(table.__rich_console__(Console(width=24), Console(width=24).options)))
    2
    """

    def __init__(self, title: str, headings: Iterable[str], *, keys: int = 1, text: Sequence[str] = ()) -> None:
        self.title, self.headings, self.keys, self.text = title, tuple(headings), keys, frozenset(text)
        self.rows: list[tuple[str, ...]] = []

    def add_row(self, *cells: str) -> None:
        """Add a row, a cell a column; markup is rendered."""
        self.rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """Draw the parts."""
        whole = range(len(self.headings))
        table = self._drawn(whole, self.title, broken=False)
        if _width(console, options, table) <= options.max_width:
            yield table
            return
        for place, part in enumerate(self._parts(console, options)):
            yield self._drawn(part, "" if place else self.title, broken=True)

    def _parts(self, console: Console, options: ConsoleOptions) -> Iterator[list[int]]:
        """Put as many columns into each part as fit."""
        names = list(range(self.keys))
        part = list(names)
        for column in range(self.keys, len(self.headings)):
            wider = self._drawn([*part, column], "", broken=True)
            if len(part) > self.keys and _width(console, options, wider) > options.max_width:
                yield part
                part = list(names)
            part.append(column)
        yield part

    def _drawn(self, columns: Sequence[int], title: str, *, broken: bool) -> Table:
        table = Table(title=title or None, title_justify="left")
        for column in columns:
            heading = self.headings[column]
            is_text = column < self.keys or heading in self.text
            table.add_column(
                heading.replace(" ", "\n") if broken else heading,
                justify="left" if is_text else "right",
                overflow="fold",
                vertical="top",
            )
        for row in self.rows:
            table.add_row(*(row[column] for column in columns))
        return table


def _width(console: Console, options: ConsoleOptions, table: Table) -> int:
    """Columns of the terminal that a table takes where nothing is folded."""
    return Measurement.get(console, options.update(width=_ANY_WIDTH), table).maximum
