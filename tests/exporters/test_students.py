from __future__ import annotations

from pathlib import Path

import pytest

from exporters.assignment import Assignment
from exporters.errors import AssignmentError
from exporters.item_tables import ItemTables
from exporters.registry import Registry
from exporters.retrieval import VectorIndex
from exporters.runtime import ModelHost
from exporters.students import ServedStudent, Students, student_of_version


def student(folder: Path, name: str) -> ServedStudent:
    host = ModelHost(registry=Registry(folder), name=name)
    return ServedStudent(host=host, tables=ItemTables(4, 2, 1, (), 1), index=VectorIndex(2))


def test_a_version_tells_its_student(tmp_path: Path) -> None:
    for name in ("student", "caser"):
        one = student(tmp_path, name)
        assert one.label("") is None
        assert student_of_version(one.label("000001-0a1b2c3d")) == name
    assert student(tmp_path, "student").label("000001-0a1b2c3d") == "000001-0a1b2c3d", "as it was before there were two"


def test_a_share_for_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssignmentError, match=r"no student \['caser'\]; there are \['student'\]"):
        Students([student(tmp_path, "student")], Assignment({"student": 0.5, "caser": 0.5}))


def test_where_none_is_ready_each_keeps_its_users(tmp_path: Path) -> None:
    students = Students(
        [student(tmp_path, "student"), student(tmp_path, "caser")], Assignment({"student": 0.5, "caser": 0.5})
    )
    assert {students.answering(f"u{number}").name for number in range(50)} == {"student", "caser"}
