"""Runs of models over seeds by one protocol, and what is written down of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, get_args

import numpy as np

from online_models.evaluation.protocols import (
    Plan,
    Result,
    Split,
    as_sessions,
    leave_one_out,
    run_prequential,
    run_split,
    session_split,
    time_split,
)
from online_models.evaluation.protocols.prequential import Refit
from online_models.evaluation.protocols.split import Part
from online_models.recommenders import Factory, recommenders
from streamer.errors import SettingsError
from streamer.evaluation.data import Dataset

Protocol = Literal["leave-one-out", "time-split", "sessions", "prequential"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
REFITS: tuple[str, ...] = get_args(Refit)
QUICK = ("popular", "popular-7d", "popular-decayed", "item-knn", "cooccurrence", "transitions")
Bar = Callable[[int], None]
# (what is run, how many tests or events it has) -> a bar to be told of them
Watch = Callable[[str, int], AbstractContextManager[Bar]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is run, and how."""

    protocol: Protocol = "leave-one-out"
    models: tuple[str, ...] = QUICK
    seeds: tuple[int, ...] = (0,)
    on: Part = "test"
    refits: tuple[Refit, ...] = ("online",)  # prequential
    warm_up: float = 0.2  # prequential
    cut: float = 0.9  # time-split, sessions
    targets: int = 1  # time-split
    repeats: bool | None = None  # None: only in sessions
    minutes: float | None = None  # no run begins, and no walk goes on, when they are over
    fit_minutes: float | None = None  # of each fit of those who learn epoch by epoch

    @property
    def may_repeat(self) -> bool:
        """Whether seen items stay in the lists."""
        return self.protocol == "sessions" if self.repeats is None else self.repeats

    def factories(self) -> dict[str, Factory]:
        """Find the models.

        Raises
        ------
        SettingsError
            A model is unknown.
        """
        known = recommenders()
        unknown = [name for name in self.models if name not in known]
        if unknown:
            raise SettingsError(f"there is no model {', '.join(unknown)}; there are {', '.join(known)}")
        return {name: known[name] for name in self.models}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One model with one seed, yet to be run."""

    name: str
    make: Factory
    seed: int
    refit: Refit


def evaluate(dataset: Dataset, options: Options, watch: Watch) -> dict[str, Any]:
    """Run every model with every seed.

    Parameters
    ----------
    dataset
        The data.
    options
        Protocol, models and so on.
    watch
        Shows progress.

    Returns
    -------
    dict
        As ``--json`` writes it: ``{dataset, protocol, seeds, minutes, digest, …, models: {name: {metric: mean, …,
        "sd": {…}, "curve": {…}}}}``; ``cut_short`` names what did not come to its end in the time given.

    Raises
    ------
    SettingsError
        A model is unknown, or the data have no clock for the protocol.
    """
    check_clock(dataset, options.protocol)
    runs = list(_runs(options))
    protocol = _Protocol(dataset, options)
    results: dict[str, list[Result]] = {}
    started, cut_short = perf_counter(), []
    for run in runs:
        left = _seconds_left(options, started)
        if left <= 0:
            cut_short.append(f"{run.name} (seed {run.seed}): not begun")
            continue
        with watch(f"{run.name} (seed {run.seed})", protocol.size) as bar:
            result = protocol.run(run, left, bar)
        if protocol.ended_early(result):
            cut_short.append(f"{run.name} (seed {run.seed}): {len(result.events):,} events tested")
        if result.metrics.get("fit_cut_short"):
            epochs = result.metrics["fit_epochs"]
            cut_short.append(f"{run.name} (seed {run.seed}): its fit, in epoch {epochs:.0f}")
        results.setdefault(run.name, []).append(result)
    values = {"minutes": (perf_counter() - started) / 60, "cut_short": cut_short}
    return describe(dataset, options) | values | {"models": {name: summary(found) for name, found in results.items()}}


def check_clock(dataset: Dataset, protocol: Protocol) -> None:
    """Refuse a protocol that needs a common clock where there is none.

    Raises
    ------
    SettingsError
        Then; it says which protocols fit.
    """
    fits: dict[str, tuple[str, ...]] = {
        "absolute": PROTOCOLS,
        "relative": ("leave-one-out",),
        "order": ("leave-one-out", "sessions"),
    }
    if protocol not in fits[dataset.clock]:
        why = "its times count from each user's own first event" if dataset.clock == "relative" else "it has no times"
        raise SettingsError(
            f"{dataset.name} cannot be evaluated by {protocol}: {why}, so there is no common clock; "
            f"choose {' or '.join(fits[dataset.clock])}"
        )


def describe(dataset: Dataset, options: Options) -> dict[str, Any]:
    """Say what the figures belong to."""
    log = dataset.log
    return {
        "dataset": dataset.name,
        "description": dataset.description,
        "simulated": dataset.simulated,
        "digest": log.digest(),
        "events": len(log),
        "tested_events": int(log.tested.sum()),
        "users": log.user_count,
        "items": log.rows - 2,
        "protocol": options.protocol,
        "on": options.on,
        "repeats": options.may_repeat,
        "seeds": list(options.seeds),
        **({} if options.fit_minutes is None else {"fit_minutes": options.fit_minutes}),
        **({"warm_up": options.warm_up} if options.protocol == "prequential" else {}),
        **({"cut": options.cut} if options.protocol in ("time-split", "sessions") else {}),
    }


def summary(results: list[Result]) -> dict[str, Any]:
    """Mean of every metric over the seeds, ``sd`` (with n - 1) from two seeds on, and the mean curve.

    A metric without a test has no value: it is left out, and is null in a curve, since JSON has no NaN.
    """
    names = list(results[0].metrics)
    table = np.array([[result.metrics[name] for name in names] for result in results])  # [seeds, metrics]
    values: dict[str, Any] = _known(names, table.mean(0).tolist())
    spread = table.std(0, ddof=1).tolist() if len(results) > 1 else []
    values["sd"] = _known(names, spread) if spread else {}
    curves = [result.curve for result in results]
    if all(curves):
        means = {name: np.mean([curve[name] for curve in curves], axis=0).tolist() for name in curves[0]}
        values["curve"] = {name: [None if np.isnan(v) else v for v in line] for name, line in means.items()}
    return values


def _known(names: list[str], numbers: list[float]) -> dict[str, float]:
    return {name: number for name, number in zip(names, numbers, strict=True) if not np.isnan(number)}


class _Protocol:
    """One protocol over one data set."""

    def __init__(self, dataset: Dataset, options: Options) -> None:
        self._dataset, self._options = dataset, options
        self._split = None if options.protocol == "prequential" else _split(dataset, options)
        if self._split is not None and not len(self._split.tests):
            raise SettingsError(f"{dataset.name} has no event that {options.protocol} can test: users are too short")

    @property
    def size(self) -> int:
        """Tests of a split, or events of a stream."""
        return len(self._dataset.log) if self._split is None else len(self._split.tests)

    def run(self, run: Run, seconds: float, bar: Bar) -> Result:
        """Run one model; a walk over a stream ends when the seconds are over."""
        if self._split is not None:
            limit = self._options.fit_minutes
            return run_split(run.make, self._split, seed=run.seed, fit_minutes=limit, progress=bar)
        plan = Plan(
            warm_up=self._options.warm_up,
            refit=run.refit,
            repeats=self._options.may_repeat,
            on=self._options.on,
            stop_after_seconds=seconds,
            fit_minutes=self._options.fit_minutes,
        )
        shown = self._dataset.impressions if self._options.on == "test" else None
        return run_prequential(run.make, self._dataset.log, seed=run.seed, plan=plan, impressions=shown, progress=bar)

    def ended_early(self, result: Result) -> bool:
        """Whether a walk was stopped before the end of its stream."""
        if self._split is not None or not len(result.events):
            return self._split is None
        log, _ = Plan(warm_up=self._options.warm_up, on=self._options.on).stream(self._dataset.log)
        return int(result.events[-1]) < int(np.flatnonzero(log.tested)[-1])


def _split(dataset: Dataset, options: Options) -> Split:
    log, repeats = dataset.log, options.may_repeat
    if options.protocol == "leave-one-out":
        return leave_one_out(log, on=options.on, repeats=repeats)
    if options.protocol == "time-split":
        return time_split(log, cut=options.cut, targets=options.targets, on=options.on, repeats=repeats)
    given = dataset.cases_given
    sessions = log if given else as_sessions(log)
    return session_split(sessions, cut=options.cut, given=given, on=options.on, repeats=repeats)


def _runs(options: Options) -> Iterable[Run]:
    refits: tuple[Refit, ...] = options.refits if options.protocol == "prequential" else ("online",)
    for name, make in options.factories().items():
        for refit in refits:
            for seed in options.seeds:
                yield Run(name=name if refit == "online" else f"{name}/{refit}", make=make, seed=seed, refit=refit)


def _seconds_left(options: Options, started: float) -> float:
    if options.minutes is None:
        return float("inf")
    return options.minutes * 60 - (perf_counter() - started)
