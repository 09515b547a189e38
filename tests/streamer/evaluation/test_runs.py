from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from online_models.evaluation.protocols.examples import log_of
from streamer.errors import SettingsError
from streamer.evaluation.data import Dataset
from streamer.evaluation.runs import Bar, Options, evaluate


def dataset(events: int = 400) -> Dataset:
    rng = np.random.default_rng(0)
    pairs = [(int(user), int(item)) for user, item in rng.integers((0, 2), (20, 42), (events, 2))]
    times = np.arange(events) * 600.0
    log = log_of(pairs, times_seconds=times, name="made-up")
    return Dataset(name="made-up", description="made up", log=log, item_ids=[""] * log.rows)


class Watch:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told: dict[str, tuple[int, int]] = {}

    @contextmanager
    def __call__(self, label: str, total: int) -> Iterator[Bar]:
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more

        yield count
        self.told[label] = (done, total)


@pytest.mark.parametrize("protocol", ["leave-one-out", "time-split", "sessions", "prequential"])
def test_a_report_holds_means_and_deviations_over_seeds(protocol: str) -> None:
    watch = Watch()
    options = Options(protocol=protocol, models=("popular", "popular-7d"), seeds=(0, 1))
    report = json.loads(json.dumps(evaluate(dataset(), options, watch), allow_nan=False))
    assert {"dataset", "protocol", "seeds", "minutes", "digest", "models"} <= set(report)
    assert list(report["models"]) == ["popular", "popular-7d"]
    values = report["models"]["popular"]
    assert {"hr@5", "hr@10", "hr@20", "ndcg@10", "mrr@20", "debiased_hr@10", "coverage@10"} <= set(values)
    assert values["sd"]["hr@10"] == 0.0  # counting knows no chance
    assert 0 <= values["ndcg@10"] <= values["hr@10"] <= 1
    assert report["repeats"] is (protocol == "sessions")
    assert ("curve" in values) == (protocol == "prequential")
    assert all(done == total > 0 for done, total in watch.told.values())
    assert len(watch.told) == 4


def test_one_seed_has_no_deviation() -> None:
    report = evaluate(dataset(), Options(models=("popular",)), Watch())
    assert report["models"]["popular"]["sd"] == {}


def test_refits_stand_beside_the_online_run() -> None:
    options = Options(protocol="prequential", models=("popular",), refits=("static", "every-10", "online"))
    models = evaluate(dataset(), options, Watch())["models"]
    assert list(models) == ["popular/static", "popular/every-10", "popular"]


def test_no_run_begins_when_time_is_up() -> None:
    report = evaluate(dataset(), Options(models=("popular", "popular-7d"), minutes=1e-9), Watch())
    assert report["models"] == {}
    assert report["cut_short"] == ["popular (seed 0): not begun", "popular-7d (seed 0): not begun"]


def test_a_fit_that_was_cut_short_says_so_and_is_tested_all_the_same() -> None:
    report = evaluate(dataset(), Options(models=("popular", "sasrec"), fit_minutes=1e-9), Watch())
    assert report["cut_short"] == ["sasrec (seed 0): its fit, in epoch 1"]
    assert report["fit_minutes"] == 1e-9
    assert report["models"]["sasrec"]["fit_epochs"] == 1
    assert report["models"]["sasrec"]["tests"] == report["models"]["popular"]["tests"] > 0
    assert "fit_epochs" not in report["models"]["popular"]


def test_a_walk_that_was_cut_short_says_so() -> None:
    options = Options(protocol="prequential", models=("popular-decayed",), minutes=0.2 / 60)
    report = evaluate(dataset(40_000), options, Watch())
    assert len(report["cut_short"]) == 1 and "events tested" in report["cut_short"][0]
    whole = evaluate(dataset(), Options(protocol="prequential", models=("popular",)), Watch())
    assert whole["cut_short"] == []


@pytest.mark.parametrize(
    ("clock", "protocol", "allowed"),
    [
        ("relative", "prequential", "choose leave-one-out"),
        ("relative", "sessions", "choose leave-one-out"),
        ("order", "time-split", "choose leave-one-out or sessions"),
    ],
)
def test_protocols_that_need_a_clock_refuse_data_without_one(clock: str, protocol: str, allowed: str) -> None:
    with pytest.raises(SettingsError, match=allowed):
        evaluate(replace(dataset(), clock=clock), Options(protocol=protocol, models=("popular",)), Watch())


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"no model populer; there are .*popular-7d"):
        evaluate(dataset(), Options(models=("populer",)), Watch())


def test_a_log_of_too_short_users_is_refused() -> None:
    log = log_of([(0, 2), (1, 3)])
    short = Dataset(name="short", description="", log=log, item_ids=[])
    with pytest.raises(SettingsError, match="no event that leave-one-out can test"):
        evaluate(short, Options(models=("popular",)), Watch())


def test_a_part_without_a_test_has_no_figure() -> None:
    report = evaluate(dataset(60), Options(protocol="prequential", models=("popular",)), Watch())
    values = report["models"]["popular"]
    assert values["tests_session_over_5"] == 0 and "hr@10_session_over_5" not in values


def test_figures_are_never_infinite() -> None:
    report = evaluate(dataset(), Options(protocol="prequential", models=("popular-7d",)), Watch())
    numbers = [value for value in report["models"]["popular-7d"].values() if isinstance(value, float)]
    assert not any(math.isinf(value) for value in numbers)
