from __future__ import annotations

import inspect

import pytest

from streamer import errors
from streamer.errors import EventError, HeadwaterError
from streamer.snapshots import DamagedSnapshotError

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", [*KINDS, DamagedSnapshotError])
def test_one_except_clause_catches_them_all(kind: type[HeadwaterError]) -> None:
    assert issubclass(kind, HeadwaterError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert len(KINDS) == 7
    for kind in KINDS:
        assert kind.__name__ in (errors.__doc__ or "")


def test_an_event_error_has_a_word_for_machines_and_a_line_for_people() -> None:
    error = EventError("nan_value", "price holds NaN")
    assert error.reason == "nan_value" and str(error) == "price holds NaN"
