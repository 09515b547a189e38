"""What a student of the stream gains from a teacher, and what it takes over that it should not.

    python benchmarks/distillation.py --part a --dataset ml-100k --seeds 0,1,2 --json distillation.json

Prequential, full catalogue, last 80 % of the events; the teacher labels every event once, before either learns it.
Steps, windows, replays and negatives are the same in all rows of a seed, and differences are taken between equal seeds.

a   student alone, direct, auxiliary, Ranking Distillation, and the rows that tell a gain from mere smoothing, from
    re-weighting and from item similarity
b   teachers of 1, 2, 4 and 8 times the width
c   a teacher that is frozen after the warm-up, refreshed on a window, or always learning
d   a bias of +δ on one category of the teacher's logits: the shift of that category's served logits against the run
    without it, in units of δ, and the category's share of the lists
e   a student of half the teacher's width: how far behind its teacher it is
f   a teacher of another kind (--teacher, by the name that `headwater evaluate` knows), which knows something else
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from online_models.distill.schedules import Continuous, Frozen, Refreshed, Schedule
from online_models.evaluation.interactions import Histories, Interactions
from online_models.evaluation.metrics import hit, ndcg
from online_models.evaluation.protocols import Plan, run_prequential
from online_models.recommenders import Recommender, Setting, recommenders
from online_models.recommenders.distilled import METHODS, SASREC, DistilledRecommender, distilled
from online_models.recommenders.sequential import SequenceRecommender, sasrec
from streamer.evaluation.data import load

METRICS = ("hr@10", "ndcg@10", "hr@10_untied", "ndcg@10_untied", "debiased_hr@10", "hr@10_new_items")
DELTA = 2.0
REFRESHES = 10  # in the counted part of the stream, each on the events of the last two
Mask = NDArray[np.bool_]
Make = Callable[[Setting], Recommender]


class Recorded:
    """A recommender with what it was asked in the counted part: logits of some items against all, share of the lists.

    Parameters
    ----------
    inner
        The recommender.
    items
        [R] True at the items of interest.
    """

    def __init__(self, inner: Recommender, items: NDArray[np.bool_] | None) -> None:
        self.inner, self.items, self.micro_batch = inner, items, inner.micro_batch
        self.margins: list[float] = []
        self.shares: list[float] = []

    def fit(self, train: Interactions, validation: Interactions | None = None) -> None:
        """Learn a log."""
        self.inner.fit(train, validation)

    def learn(self, events: Interactions, histories: Histories) -> None:
        """Learn a micro-batch."""
        self.inner.learn(events, histories)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score, and note how the items of interest fare among the items that have been learnt."""
        scores = self.inner.score(histories)
        if self.items is not None and isinstance(self.inner, SequenceRecommender):
            known = self.inner.learner.counts.numpy() > 0
            chosen, others = self.items & known, ~self.items & known
            if chosen.any() and others.any():
                self._note(scores[histories.lengths > 0], chosen, others, known)
        return scores

    def _note(
        self,
        scores: NDArray[np.float32],
        chosen: NDArray[np.bool_],
        others: NDArray[np.bool_],
        known: NDArray[np.bool_],
    ) -> None:
        self.margins.extend((scores[:, chosen].mean(1) - scores[:, others].mean(1)).tolist())
        lists = np.argpartition(np.where(known, -scores, np.inf), 10, axis=1)[:, :10]
        self.shares.extend(chosen[lists].mean(1).tolist())


@dataclass
class Row:
    """One model: a recipe, and what to look at beside its accuracy."""

    make: Make
    items: NDArray[np.bool_] | None = None
    against: str | None = None  # the row without the bias
    runs: list[dict[str, float]] = field(default_factory=list)


def methods(given: argparse.Namespace, log: Interactions) -> dict[str, Row]:
    return {"student alone": Row(sasrec)} | {name: Row(_student(given, method=name)) for name in METHODS}


def sizes(given: argparse.Namespace, log: Interactions) -> dict[str, Row]:
    rows = {
        f"teacher {width}x": Row(_student(given, method=given.method, teacher_width=width)) for width in (1, 2, 4, 8)
    }
    return {"student alone": Row(sasrec)} | rows


def schedules(given: argparse.Namespace, log: Interactions) -> dict[str, Row]:
    _, first = Plan(on=given.on).stream(log)
    every = (len(Plan(on=given.on).stream(log)[0]) - first) // REFRESHES
    ways: dict[str, Callable[[], Schedule]] = {
        "frozen after the warm-up": partial(Frozen, warm_up=first),
        f"refreshed every {every} events": partial(Refreshed, warm_up=first, every=every, window=2 * every),
        "always learning": Continuous,
    }

    def scheduled(way: Callable[[], Schedule]) -> Make:
        return lambda setting: distilled(setting, given.method, weight=given.weight, schedule=way())

    return {"student alone": Row(sasrec)} | {name: Row(scheduled(way)) for name, way in ways.items()}


def biases(given: argparse.Namespace, log: Interactions) -> dict[str, Row]:
    """Each method with and without the bias; the category is the one that lies nearest to a tenth of the events."""
    counts = np.bincount(log.items, minlength=log.rows)
    shares = [
        sum(counts[row] for row, own in enumerate(log.item_categories) if number in own) / len(log)
        for number in range(len(log.category_names))
    ]
    category = int(np.argmin(np.abs(np.array(shares) - 0.1)))
    items = np.array([category in own for own in log.item_categories] + [False] * log.rows, bool)[: log.rows]
    bias = torch.from_numpy(items).float() * given.delta
    print(f"category {log.category_names[category]}: {items.sum()} items, {shares[category]:.1%} of the events")
    rows: dict[str, Row] = {}
    for method in TAUGHT:
        rows[method] = Row(_student(given, method=method), items)
        rows[f"{method} biased"] = Row(_student(given, method=method, bias=bias), items, against=method)
    return rows


def halves(given: argparse.Namespace, log: Interactions) -> dict[str, Row]:
    return {
        "student alone": Row(sasrec),
        "teacher 2x alone": Row(_teacher(2.0)),
        "student of a teacher of 2x": Row(_student(given, method=given.method)),
        "student of a teacher of 2x by direct": Row(_student(given, method="direct")),
    }


def others(given: argparse.Namespace, log: Interactions) -> dict[str, Row]:
    make = recommenders()[given.teacher]
    taught = {f"{name} from {given.teacher}": Row(_student(given, method=name, make_teacher=make)) for name in TAUGHT}
    return {"student alone": Row(sasrec)} | taught


TAUGHT = ("direct", "auxiliary", "ranking")
PARTS = {"a": methods, "b": sizes, "c": schedules, "d": biases, "e": halves, "f": others}


def _student(given: argparse.Namespace, **settings: Any) -> Make:
    return lambda setting: distilled(setting, weight=given.weight, **settings)


def _teacher(width: float) -> Make:
    def make(setting: Setting) -> SequenceRecommender:
        return SequenceRecommender(partial(SASREC.learner, setting, width), setting)

    return make


def run(row: Row, log: Interactions, seed: int, plan: Plan) -> dict[str, float]:
    """Walk the stream once; accuracy, what the teacher had and took, what was noted."""
    made: list[Recorded] = []

    def make(setting: Setting) -> Recorded:
        made.append(Recorded(row.make(setting), row.items))
        return made[0]

    began = time.perf_counter()
    result = run_prequential(make, log, seed=seed, plan=plan)
    found = {name: result.metrics[name] for name in METRICS if name in result.metrics}
    found |= {"seconds": time.perf_counter() - began, "tests": float(len(result.events))}
    inner = made[0].inner
    if isinstance(inner, DistilledRecommender):
        if len(places := inner.labeller.places):
            asked = places[result.events]
            found |= {"teacher_hr@10": float(hit(asked, 10).mean()), "teacher_ndcg@10": float(ndcg(asked, 10).mean())}
        found |= {"label_seconds": inner.labeller.label_seconds, "teacher_seconds": inner.labeller.learn_seconds}
    if made[0].margins:
        found |= {"margin": float(np.mean(made[0].margins)), "share": float(np.mean(made[0].shares))}
    return found


def summed(rows: dict[str, Row], delta: float) -> dict[str, dict[str, Any]]:
    """Means, deviations and differences to the first row of the part, seed by seed."""
    base = next(iter(rows.values())).runs
    found: dict[str, dict[str, Any]] = {}
    for name, row in rows.items():
        table = {key: np.array([one[key] for one in row.runs]) for key in row.runs[0]}
        gains = {
            key: table[key] - np.array([one[key] for one in base[: len(row.runs)]]) for key in ("hr@10", "ndcg@10")
        }
        found[name] = {key: float(values.mean()) for key, values in table.items()}
        found[name] |= {f"gain_{key}": float(values.mean()) for key, values in gains.items()}
        if len(row.runs) > 1:
            found[name]["sd"] = {key: float(values.std(ddof=1)) for key, values in (table | gains_named(gains)).items()}
        if row.against is not None:
            clean = rows[row.against].runs
            shifts = [(one["margin"] - other["margin"]) / delta for one, other in zip(row.runs, clean, strict=True)]
            found[name] |= {"shift_in_delta": float(np.mean(shifts)), "shifts": shifts}
    return found


def gains_named(gains: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    return {f"gain_{key}": values for key, values in gains.items()}


def show(part: str, found: dict[str, dict[str, Any]]) -> None:
    """Print one line a row."""
    print(f"\npart {part}")
    for name, values in found.items():
        shown = [f"{key} {values[key]:.4f}" for key in ("hr@10", "ndcg@10", "hr@10_untied", "debiased_hr@10")]
        sd = values.get("sd", {}).get("gain_ndcg@10")
        shown.append(
            f"gain HR {values['gain_hr@10']:+.4f} NDCG {values['gain_ndcg@10']:+.4f}" + (f" ± {sd:.4f}" if sd else "")
        )
        if "teacher_ndcg@10" in values:
            gap = 100 * (values["ndcg@10"] / values["teacher_ndcg@10"] - 1)
            shown.append(f"teacher NDCG {values['teacher_ndcg@10']:.4f} (student {gap:+.1f} %)")
        shown += [f"{key} {values[key]:.3f}" for key in ("shift_in_delta", "share") if key in values]
        print(f"{name:36s}", "  ".join(shown), f"({values['seconds']:.0f} s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="a", help="letters with commas between")
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--events", type=int, default=None, help="only the first so many")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--on", choices=("test", "validation"), default="test", help="validation: the warm-up alone")
    parser.add_argument("--method", default="auxiliary", choices=list(METHODS), help="of parts b, c and e")
    parser.add_argument("--teacher", default="blend", help="of part f")
    parser.add_argument("--rows", help="only these rows of a part, and its first one; commas between")
    parser.add_argument("--weight", type=float, default=1.0, help="of the labels beside the hard loss")
    parser.add_argument("--delta", type=float, default=DELTA)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    data = Path(os.environ["HEADWATER_DATA"]) if "HEADWATER_DATA" in os.environ else None
    dataset = load(given.dataset, data, given.events)
    log, seeds, plan = dataset.log, [int(seed) for seed in given.seeds.split(",")], Plan(on=given.on)
    told: dict[str, Any] = {"dataset": dataset.name, "events": len(log), "digest": log.digest(), "on": given.on}
    told |= {
        "protocol": "prequential",
        "seeds": seeds,
        "delta": given.delta,
        "weight": given.weight,
        "method": given.method,
        "parts": {},
    }
    for part in given.part.split(","):
        rows = PARTS[part](given, log)
        wanted = given.rows.split(",") if given.rows else list(rows)
        rows = {name: row for place, (name, row) in enumerate(rows.items()) if place == 0 or name in wanted}
        for seed in seeds:
            for name, row in rows.items():
                row.runs.append(run(row, log, seed, plan))
                values = row.runs[-1]
                print(f"  {name} seed {seed}: ndcg@10 {values['ndcg@10']:.4f} ({values['seconds']:.0f} s)", flush=True)
            told["parts"][part] = summed(rows, given.delta)
            if given.json:  # after every seed: a long run that is stopped has told what it knew
                given.json.write_text(json.dumps(told, indent=1) + "\n")
        show(part, told["parts"][part])


if __name__ == "__main__":
    main()
