from __future__ import annotations

import io

import pytest
from rich.console import Console

from streamer.wide_table import WideTable

HEADINGS = ("model", "events a second", "HR@10", "NDCG@10 untied", "what was said")
ROWS = (
    ("popular-7d", "12,345", ".1234 ± .0012", ".0567", "nothing at all"),
    ("sasrec", "1,234", ".2", ".1", "a b c"),
)


def printed(table: WideTable, width: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue().splitlines()


@pytest.fixture
def table() -> WideTable:
    made = WideTable("figures", HEADINGS, text=("what was said",))
    for row in ROWS:
        made.add_row(*row)
    return made


def test_a_wide_terminal_has_one_table(table: WideTable) -> None:
    lines = printed(table, 120)
    assert sum("popular-7d" in line for line in lines) == 1
    assert [line for line in lines if "popular-7d" in line and "nothing at all" in line]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_cuts_nothing_and_names_every_row_in_every_part(table: WideTable, width: int) -> None:
    lines = printed(table, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width and "…" not in text
    for row in ROWS:
        for cell in row[1:]:
            assert any(cell in line for line in lines), cell
    assert sum("popular-7d" in line for line in lines) == sum("sasrec" in line for line in lines)
    assert text.count("figures") == 1


def test_headings_are_broken_before_columns_move(table: WideTable) -> None:
    lines = printed(table, 74)
    assert sum("popular-7d" in line for line in lines) == 1
    assert not any("events a second" in line for line in lines)


def test_a_column_wider_than_the_terminal_is_folded() -> None:
    made = WideTable("", ("key", "text"), text=("text",))
    made.add_row("k", "x" * 100)
    lines = printed(made, 40)
    assert sum(line.count("x") for line in lines) - sum("text" in line for line in lines) == 100
    assert max(map(len, lines)) <= 40


def test_all_keys_come_again() -> None:
    made = WideTable("", ("model", "version", "first", "second"), keys=2)
    made.add_row("student", "000001-ab", "1" * 20, "2" * 20)
    lines = printed(made, 50)
    assert sum("student" in line and "000001-ab" in line for line in lines) == 2
