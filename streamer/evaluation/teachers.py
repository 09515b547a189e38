"""Teachers of several sizes side by side: what each costs, and what a student gains from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np

from online_models.distill.soft_lists import SoftLists
from online_models.evaluation.metrics import hit, ndcg
from online_models.evaluation.protocols import Plan, Result, run_prequential
from online_models.recommenders import Factory, Recommender, Setting, recommenders
from online_models.recommenders.distilled import CASER, METHODS, SASREC, DistilledRecommender, distilled
from online_models.recommenders.sequential import SequenceRecommender
from streamer.errors import SettingsError
from streamer.evaluation.data import Dataset
from streamer.evaluation.runs import Options, Watch, check_clock, describe, summary
from streamer.soft_labels import SoftLabel, encode

FAMILIES = {"sasrec": SASREC, "caser": CASER}
GAINS = ("hr@10", "ndcg@10")
ALONE = "student alone"


@dataclass(frozen=True, kw_only=True)
class Teachers:
    """Which teachers, for which student."""

    widths: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)  # in units of the student's
    family: str = "sasrec"
    method: str = "auxiliary"

    def __post_init__(self) -> None:
        """Check the words.

        Raises
        ------
        SettingsError
            There is no such family or method, or a width is not positive.
        """
        if self.family not in FAMILIES:
            raise SettingsError(f"--model is {self.family!r}; with --teachers choose one of {', '.join(FAMILIES)}")
        if self.method not in METHODS:
            raise SettingsError(f"--distill is {self.method!r}; choose one of {', '.join(METHODS)}")
        if not self.widths or min(self.widths) <= 0:
            raise SettingsError(f"--teachers names the widths {self.widths}; give some above 0, such as 1x,2x,4x,8x")


def widths_of(text: str) -> tuple[float, ...]:
    """Read ``1x,2x,4x``.

    Raises
    ------
    SettingsError
        A word is no width.

    Examples
    --------
    >>> widths_of("1x,0.5x")
    (1.0, 0.5)
    """
    try:
        return tuple(float(word.strip().removesuffix("x")) for word in text.split(",") if word.strip())
    except ValueError:
        raise SettingsError(f"--teachers is {text!r}; give widths with commas between, such as 1x,2x,4x,8x") from None


def compare_teachers(dataset: Dataset, options: Options, teachers: Teachers, watch: Watch) -> dict[str, Any]:
    """Walk the stream with the student alone and with each teacher, with every seed.

    Returns
    -------
    dict
        What the figures belong to, and ``models`` by name: the metrics of the student, and with a teacher ``teacher``
        (its width, parameters, seconds for a thousand events, bytes of a label, own HR@10 and NDCG@10) and ``gain``
        over the student alone, mean and deviation of the differences of equal seeds. Time that is bounded is shared:
        each walk gets an equal part of what is left, and gains are over the events that both have tested.

    Raises
    ------
    SettingsError
        The data have no clock.
    """
    options = replace(options, protocol="prequential", models=(teachers.family,))
    check_clock(dataset, "prequential")
    started, cut_short = perf_counter(), []
    results: dict[str, list[Result]] = {}
    costs: dict[str, list[dict[str, float]]] = {}
    runs = list(_runs(options, teachers))
    for place, (name, seed, make) in enumerate(runs):
        left = float("inf") if options.minutes is None else options.minutes * 60 - (perf_counter() - started)
        left /= len(runs) - place
        if left <= 0:
            cut_short.append(f"{name} (seed {seed}): not begun")
            continue
        made = _Kept(make)
        plan = Plan(warm_up=options.warm_up, repeats=options.may_repeat, on=options.on, stop_after_seconds=left)
        with watch(f"{name} (seed {seed})", len(plan.stream(dataset.log)[0])) as bar:
            result = run_prequential(made, dataset.log, seed=seed, plan=plan, progress=bar)
        if ended_early(result, plan, dataset):
            cut_short.append(f"{name} (seed {seed}): {len(result.events):,} events tested")
        results.setdefault(name, []).append(result)
        costs.setdefault(name, []).append(_cost(made.recommender, result, dataset))
    values = {"minutes": (perf_counter() - started) / 60, "cut_short": cut_short, "method": teachers.method}
    models = {name: summary(found) | _teacher_values(found, costs[name], results) for name, found in results.items()}
    return describe(dataset, options) | values | {"models": models}


def ended_early(result: Result, plan: Plan, dataset: Dataset) -> bool:
    """Whether a walk was stopped before the end of its stream."""
    last = int(np.flatnonzero(plan.stream(dataset.log)[0].tested)[-1])
    return not len(result.events) or int(result.events[-1]) < last


def label_bytes(labels: SoftLists, item_ids: list[str]) -> float:
    """Mean size of a label as it lies on the topic, without the broker's own bytes."""
    sizes = [
        len(
            encode(
                SoftLabel(
                    example_id="0" * 16,
                    version="0" * 8,
                    event_time_ms=1,
                    labelled_ms=1,
                    partition=0,
                    offset=place,
                    item_ids=[item_ids[row] for row in items if row],
                    logits=[logit for logit, row in zip(logits, items, strict=True) if row],
                    remainder=remainder,
                    scored=1,
                )
            )
        )
        for place, (items, logits, remainder) in enumerate(
            zip(labels.items.tolist(), labels.logits.tolist(), labels.remainder.tolist(), strict=True)
        )
    ]
    return float(np.mean(sizes)) if sizes else 0.0


class _Kept:
    """A factory that remembers what it made."""

    def __init__(self, make: Factory) -> None:
        self._make = make
        self.recommender: Recommender

    def __call__(self, setting: Setting) -> Recommender:
        self.recommender = self._make(setting)
        return self.recommender


def _runs(options: Options, teachers: Teachers) -> Iterator[tuple[str, int, Factory]]:
    """Begin with the student alone: what is cut short then still has something to be compared with."""
    for seed in options.seeds:
        yield ALONE, seed, recommenders()[teachers.family]
        for width in teachers.widths:
            yield f"teacher {width:g}x", seed, _factory(teachers, width)


def _factory(teachers: Teachers, width: float) -> Factory:
    def make(setting: Setting) -> DistilledRecommender:
        return distilled(setting, teachers.method, family=FAMILIES[teachers.family], teacher_width=width)

    return make


def _cost(recommender: Recommender, result: Result, dataset: Dataset) -> dict[str, float]:
    """Add up what a teacher took; nothing for a student alone."""
    if not isinstance(recommender, DistilledRecommender):
        return {}
    labeller = recommender.labeller
    ranks, thousands = labeller.places, max(labeller.labels, 1) / 1_000
    asked = ranks[result.events] if len(ranks) else np.zeros(0, np.int64)
    teacher = labeller.teacher
    assert isinstance(teacher, SequenceRecommender)
    return {
        "parameters": float(sum(part.numel() for part in teacher.learner.ranker.parameters())),
        "label_seconds_per_1000": labeller.label_seconds / thousands,
        "learn_seconds_per_1000": labeller.learn_seconds / thousands,
        "label_bytes": 0.0 if labeller.newest is None else label_bytes(labeller.newest, dataset.item_ids),
        **({"hr@10": float(hit(asked, 10).mean()), "ndcg@10": float(ndcg(asked, 10).mean())} if len(asked) else {}),
    }


def _teacher_values(
    found: list[Result], costs: list[dict[str, float]], results: dict[str, list[Result]]
) -> dict[str, Any]:
    """Costs, and gains over the student alone of the same seeds."""
    if not costs[0]:
        return {}
    pairs = list(zip(found, results[ALONE], strict=False))
    gain: dict[str, Any] = {}
    for metric in GAINS:
        differences = [_difference(one, alone, metric) for one, alone in pairs]
        gain[metric] = float(np.mean(differences))
        gain[f"{metric}_sd"] = float(np.std(differences, ddof=1)) if len(differences) > 1 else None
    return {"teacher": {name: float(np.mean([cost[name] for cost in costs])) for name in costs[0]}, "gain": gain}


def _difference(one: Result, alone: Result, metric: str) -> float:
    """How much better one is on the events that both have tested: a walk that ran out of time has fewer."""
    _, own, others = np.intersect1d(one.events, alone.events, return_indices=True)  # [T] each
    if not len(own):
        return float("nan")
    measure = {"hr@10": hit, "ndcg@10": ndcg}[metric]
    return float(measure(one.ranks[own], 10).mean() - measure(alone.ranks[others], 10).mean())
