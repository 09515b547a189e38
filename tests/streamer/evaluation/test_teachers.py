from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from online_models.distill.soft_lists import SoftLists
from online_models.evaluation.protocols.measures import Result
from streamer.errors import SettingsError
from streamer.evaluation.data import load
from streamer.evaluation.runs import Options
from streamer.evaluation.table import teachers_table
from streamer.evaluation.teachers import ALONE, Teachers, _teacher_values, compare_teachers, label_bytes, widths_of


@contextmanager
def silent(label: str, total: int):
    yield lambda count: None


def test_each_teacher_has_its_costs_and_what_the_student_gained_from_it() -> None:
    dataset = load("simulator", None, limit=1_200)
    report = compare_teachers(dataset, Options(seeds=(0, 1)), Teachers(widths=(1, 2)), silent)
    assert list(report["models"]) == [ALONE, "teacher 1x", "teacher 2x"] and report["protocol"] == "prequential"
    alone, one, two = report["models"].values()
    assert "teacher" not in alone and alone["tests"] == one["tests"] == two["tests"]
    assert 1.5 < two["teacher"]["parameters"] / one["teacher"]["parameters"] < 4.5
    for values in (one, two):
        assert values["gain"]["hr@10"] == pytest.approx(values["hr@10"] - alone["hr@10"])
        assert values["gain"]["ndcg@10_sd"] is not None
        assert all(values["teacher"][name] > 0 for name in ("label_seconds_per_1000", "learn_seconds_per_1000"))
        assert 100 < values["teacher"]["label_bytes"] < 2_000
    assert len(teachers_table(report).rows) == 3


def test_a_walk_that_ran_out_of_time_is_named() -> None:
    dataset = load("simulator", None, limit=600)
    report = compare_teachers(dataset, Options(minutes=1e-6), Teachers(widths=(1,)), silent)
    assert report["cut_short"][-1] == "teacher 1x (seed 0): not begun" or "not begun" in report["cut_short"][0]


def test_a_gain_is_over_the_events_that_both_have_tested() -> None:
    alone = Result(metrics={}, events=np.arange(10, 16), ranks=np.array([1, 50, 50, 1, 1, 1]))
    cut_short = Result(metrics={}, events=np.arange(10, 13), ranks=np.array([1, 1, 50]))
    values = _teacher_values([cut_short], [{"parameters": 5.0}], {ALONE: [alone]})
    assert values["gain"]["hr@10"] == pytest.approx(1 / 3) and values["gain"]["hr@10_sd"] is None


def test_a_label_grows_with_what_it_keeps() -> None:
    import torch

    scores, ids = torch.randn(4, 30), [f"item-{row}" for row in range(30)]
    few, many = (label_bytes(SoftLists.of_scores(scores, kept), ids) for kept in (2, 20))
    assert 10 * 18 < many - few < 30 * 18


def test_words_that_are_not_known_are_named() -> None:
    assert widths_of("1x, 2x,0.5") == (1.0, 2.0, 0.5)
    for make, message in (
        (lambda: widths_of("big"), "give widths with commas between"),
        (lambda: Teachers(family="bert4rec"), "choose one of sasrec, caser"),
        (lambda: Teachers(method="magic"), "choose one of direct, auxiliary"),
        (lambda: Teachers(widths=(0.0,)), "give some above 0"),
    ):
        with pytest.raises(SettingsError, match=message):
            make()
