"""Compare one ranker for recommendations, similar items and search with three, and imputed contexts with bare ones.

    python benchmarks/unicorn.py --dataset beauty --json unicorn.json

The log has neither searches nor requests for similar items, so they are **built** from events: a search is a word of
the item's last category and one of its title, a request for similar items starts from the user's previous item. Every
event gives one request of each task, and the item that was taken is the answer.

All models rank the same candidates of a first pass (neighbours of the history, matching words, what is popular), 100 a
request; an answer that the first pass did not find counts as a miss, and teaches nothing. The first pass and the
recommendation model know the first 80 % of the log and stay as they are: the ranker learns from the next 10 % and is
tested on the rest. (Were the first pass renewed before the test, it would offer items that the models never met.)

Tasks are balanced: each has the same number of lessons, and each step of the joint model takes as many lessons of every
task as a step of a single model takes of its own. So at equal steps both have seen the same. Every model keeps the
weights that ranked its own held-out lessons best (the mean over its tasks).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from online_models.batch import Batch, Candidates, Context, concatenate, take
from online_models.encoders.user_sides import FineTuned, RecommenderOutputs, UserCluster, UserSide
from online_models.evaluation.interactions import Histories, Interactions
from online_models.evaluation.metrics import hit, ranks_of, reciprocal
from online_models.evaluation.protocols.timeline import Timeline
from online_models.learner import TorchLearner, seeded
from online_models.optim import LazyAdam
from online_models.optim.table_rate import with_table_rate
from online_models.sequence_fitting import Fitting, fit_sequences
from online_models.sequence_learner import SequenceLearner
from online_models.vocabulary import QUERY_BUCKETS, QUERY_LENGTH, query_tokens, surface_row
from online_models.zoo.sasrec import SASRec
from online_models.zoo.unicorn import TASKS, Imputation, UniCoRn, as_asked, impute
from streamer.evaluation.data import load

HISTORY, CANDIDATES, WIDTH, LESSONS_A_STEP = 20, 100, 32, 64
SURFACES = ("home", "similar", "search")  # of TASKS
MODELS: dict[str, tuple[str, Imputation, bool]] = {  # stage of the user, imputation, whether one model serves all tasks
    "joint": ("outputs", impute, True),
    "three models": ("outputs", impute, False),
    "joint, nothing imputed": ("outputs", as_asked, True),
    "joint, user cluster": ("cluster", impute, True),
    "joint, fine-tuned": ("fine-tuned", impute, True),
}
Fit = Callable[..., TorchLearner]
Made = Callable[[str], UserSide]
_word = re.compile(r"\w+")


@dataclass(frozen=True)
class Texts:
    """Words of every row: what is matched, what the ranker sees, what queries are made of."""

    matrix: sparse.csr_matrix  # [R, buckets] idf of each word of the row
    by_word: sparse.csr_matrix  # [buckets, R] the same, by word
    titles: torch.Tensor  # [R, Q]
    words: list[tuple[list[str], list[str]]]  # of the last category, of the title

    @classmethod
    def of(cls, log: Interactions) -> Texts:
        """Read the catalogue of a log."""
        words = []
        for row in range(log.rows):
            categories, title = log.item_categories[row], log.item_titles[row] or ""
            last = log.category_names[categories[-1]] if categories else ""
            words.append((_word.findall(last.lower()), _word.findall(title.lower())))
        texts = [" ".join(last + title) for last, title in words]
        columns = [np.unique([bucket(word) for word in last + title]).astype(int) for last, title in words]
        rows = np.repeat(np.arange(log.rows), [len(part) for part in columns])
        flat = np.concatenate(columns).astype(int)
        idf = np.log(log.rows / np.maximum(np.bincount(flat, minlength=QUERY_BUCKETS), 1))
        matrix = sparse.csr_matrix((idf[flat], (rows, flat)), (log.rows, QUERY_BUCKETS))
        return cls(matrix, matrix.T.tocsr(), torch.from_numpy(np.stack([query_tokens(text) for text in texts])), words)


def bucket(word: str) -> int:
    return 1 + zlib.crc32(word.encode()) % (QUERY_BUCKETS - 1)


def neighbours(log: Interactions, reach: int = 5) -> sparse.csr_matrix:
    """How often two items lie within ``reach`` events of one user, nearer ones counting more. [R, R]."""
    order = np.argsort(log.users, kind="stable")
    users, items = log.users[order], log.items[order]
    total = sparse.csr_matrix((log.rows, log.rows))
    for step in range(1, reach + 1):
        same = users[step:] == users[:-step]
        pairs = items[:-step][same], items[step:][same]
        total += sparse.csr_matrix((np.full(same.sum(), 1 / step), pairs), (log.rows, log.rows))
    return (total + total.T).tocsr()


def row_sum(matrix: sparse.csr_matrix, rows: NDArray, weights: NDArray) -> NDArray[np.float64]:
    """Sum of a few rows, each by its weight."""
    total = np.zeros(matrix.shape[1])
    for row, weight in zip(rows.tolist(), weights.tolist(), strict=True):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        total[matrix.indices[part]] += weight * matrix.data[part]
    return total


@dataclass(frozen=True)
class World:
    """What the first pass knows."""

    texts: Texts
    near: sparse.csr_matrix
    counts: NDArray[np.float64]

    def lessons(self, log: Interactions, events: NDArray[np.int64], task: int, number: int) -> Batch:
        """Make requests of a task from events in their order, until so many are answered by the first pass."""
        parts: list[Batch] = []
        for first in range(0, len(events), 2_000):
            asked = self.requests(log, np.sort(events[first : first + 2_000]), task)
            parts.append(take(asked, asked.labels.any(1).nonzero().squeeze(1)))
            if sum(map(len, parts)) >= number:
                break
        found = concatenate(parts)
        return take(found, torch.arange(min(len(found), number)))

    def requests(self, log: Interactions, events: NDArray[np.int64], task: int) -> Batch:
        """One request of a task for each event."""
        histories = Timeline(log).before(events)
        return self._task(task, histories, log, events, np.stack([self._query(log.items[e], e) for e in events]))

    def _query(self, row: int, event: int) -> NDArray[np.int64]:
        random, tokens = np.random.default_rng(int(event)), np.zeros(QUERY_LENGTH, np.int64)
        chosen = [bucket(words[random.integers(len(words))]) for words in self.texts.words[row] if words]
        tokens[: len(chosen)] = chosen
        return tokens

    def _task(
        self, task: int, histories: Histories, log: Interactions, events: NDArray[np.int64], query: NDArray[np.int64]
    ) -> Batch:
        items = histories.padded("items", HISTORY)
        source = items[:, -1] if task == 1 else np.zeros(len(events), np.int64)
        asked = query if task == 2 else np.zeros_like(query)
        target = log.items[events]
        found = [self._candidates(task, *given) for given in zip(items, source, asked, strict=True)]
        rows = np.stack([row for row, _ in found])
        scores = np.stack([score for _, score in found])
        size = len(events)
        return Batch(
            context=Context(
                history_items=torch.from_numpy(items),
                history_actions=torch.from_numpy(histories.padded("actions", HISTORY)),
                history_ages_seconds=torch.from_numpy(
                    (log.times_seconds[events][:, None] - histories.padded("times_seconds", HISTORY)) * (items > 0)
                ).float(),
                features=torch.ones(size, 1),
                surface=torch.full((size,), surface_row(SURFACES[task])),
                source_item=torch.from_numpy(source),
                query=torch.from_numpy(asked),
                time_seconds=torch.from_numpy(log.times_seconds[events]),
                user=torch.from_numpy(log.users[events]),
            ),
            candidates=Candidates(
                items=torch.from_numpy(rows),
                source_scores=torch.from_numpy(scores).float(),
                features=torch.zeros(*rows.shape, 1),
            ),
            labels=torch.from_numpy((rows == target[:, None]).astype(np.float32)),
            log_q=torch.zeros(rows.shape),
            weights=torch.ones(size),
            actions=torch.from_numpy(log.actions[events]),
        )

    def _candidates(
        self, task: int, history: NDArray[np.int64], source: int, query: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Rows [100] and their scores [100, 3] from neighbours of the history, words of the query, popularity."""
        past = history[history > 0]
        near = row_sum(self.near, past, 1.0 / np.arange(len(past), 0, -1))
        words = np.unique(query[query > 0])
        match = row_sum(self.texts.by_word, words, np.ones(len(words)))
        if task == 1:
            text = row_sum(self.texts.by_word, *self._words(source))
            shares = [(row_sum(self.near, np.array([source]), np.ones(1)), 60), (text, 40)]
        else:
            shares = [(match, CANDIDATES)] if task == 2 else [(near, 70), (self.counts, 30)]
        rows = self._best(shares, past)
        return rows, np.stack([near[rows], match[rows], np.log1p(self.counts[rows])], 1)

    def _words(self, row: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Words of a row and their idf."""
        part = slice(self.texts.matrix.indptr[row], self.texts.matrix.indptr[row + 1])
        return self.texts.matrix.indices[part], self.texts.matrix.data[part]

    def _best(self, shares: list[tuple[NDArray, int]], past: NDArray) -> NDArray[np.int64]:
        """Choose the best of each share, not taken before and above 0; what is popular fills up."""
        chosen: dict[int, None] = {}
        for scores, number in [*shares, (self.counts + 1e-9, CANDIDATES)]:
            scores = np.array(scores, float)
            scores[[0, 1, *past]] = 0
            (rows,) = scores.nonzero()
            if len(rows) > 2 * CANDIDATES:
                rows = rows[np.argpartition(-scores[rows], 2 * CANDIDATES)[: 2 * CANDIDATES]]
            best = rows[np.argsort(-scores[rows], kind="stable")].tolist()
            fresh = [row for row in best if row not in chosen]
            for row in fresh[: min(number, CANDIDATES - len(chosen))]:
                chosen[row] = None
        return np.array(list(chosen), np.int64)


def pretrained(log: Interactions, seed: int, minutes: float) -> SASRec:
    """Fit a recommendation model to what the first pass knows."""
    with seeded(seed):
        sizes = SASRec.Config(catalog_rows=log.rows, dimension=WIDTH, layers=1, history=HISTORY)
        learner = SequenceLearner(SASRec(sizes), partial(LazyAdam, lr=1e-3), seed=seed)
    fit_sequences(learner, log, settings=Fitting(epochs=30, minutes=minutes, history=HISTORY, seed=seed))
    return learner.ranker  # type: ignore[return-value]


def stage(name: str, recommender: SASRec, train: Batch, seed: int) -> UserSide:
    """Make what the ranker is told of its user; each stage starts from the same recommendation model."""
    copy = SASRec(recommender.config)
    copy.load_state_dict(recommender.state_dict())
    if name == "outputs":
        return RecommenderOutputs(copy, WIDTH)
    if name == "fine-tuned":
        return FineTuned(copy, WIDTH)
    with seeded(seed):
        side = UserCluster(16, WIDTH, copy.config.catalog_rows, WIDTH)
    side.fit(copy.items.weight.detach(), train.context.history_items[:5_000], seed)
    return side


def taught(
    train: list[Batch], user: UserSide, texts: Texts, seed: int, steps: int, imputation: Imputation, every: int = 40
) -> TorchLearner:
    """Train on as many lessons of each task in every step; keep what ranks each tenth lesson best."""
    sizes = {"catalog_rows": len(texts.titles), "features": 1, "sources": 3, "item_features": 1}
    with seeded(seed):
        ranker = UniCoRn(UniCoRn.Config(**sizes, dimension=WIDTH, history=HISTORY), user, imputation)
    ranker.titles.copy_(texts.titles)
    trained = [parameter for parameter in ranker.parameters() if parameter.requires_grad]
    # vectors of words and items are learnt by heart from so few lessons unless they move slowly
    optimizer = with_table_rate([*ranker.item_tables(), ranker.core.words.weight], rate=3e-3, table_rate=3e-4)
    learner = TorchLearner(ranker, lambda _: optimizer(trained), seed=seed)
    random, best, kept = torch.Generator().manual_seed(seed), -1.0, learner.state_dict()
    held_out = [take(part, torch.arange(0, len(part), 10)) for part in train]
    learnt = [take(part, (torch.arange(len(part)) % 10 != 0).nonzero().squeeze(1)) for part in train]
    for step in range(1, steps + 1):
        drawn = [take(part, torch.randint(len(part), (LESSONS_A_STEP,), generator=random)) for part in learnt]
        learner.learn(_thinned(concatenate(drawn), random))
        if step % every == 0:
            value = float(np.mean([tested(learner, part)["mrr@10"] for part in held_out]))
            if value > best:
                best, kept = value, learner.state_dict()
    learner.load_state_dict(kept)
    return learner


def _thinned(batch: Batch, random: torch.Generator, kept: int = 16) -> Batch:
    """Keep the positive and some others of the candidates: the loss needs no hundred negatives."""
    noise = torch.rand(batch.labels.shape, generator=random) + batch.labels
    places = noise.topk(kept, dim=1).indices  # [B, K]
    c = batch.candidates
    picked = Candidates(
        items=c.items.gather(1, places),
        source_scores=c.source_scores.gather(1, places[..., None].expand(-1, -1, c.source_scores.shape[-1])),
        features=c.features.gather(1, places[..., None].expand(-1, -1, c.features.shape[-1])),
    )
    return replace(batch, candidates=picked, labels=batch.labels.gather(1, places), log_q=batch.log_q.gather(1, places))


def tested(learner: TorchLearner, test: Batch) -> dict[str, float]:
    """Hit rate and reciprocal rank; an answer that is no candidate is missed."""
    parts = [take(test, places) for places in torch.arange(len(test)).split(256)]
    scores = torch.cat([learner.score(part.context, part.candidates) for part in parts])
    places, found = test.labels.argmax(1).numpy(), test.labels.sum(1).numpy() > 0
    ranks = np.where(found, ranks_of(scores.numpy(), places), CANDIDATES + 1)
    return {"hr@10": float(hit(ranks, 10).mean()), "mrr@10": float(reciprocal(ranks, 10).mean())}


def first_pass(test: Batch) -> dict[str, float]:
    """Test the order in which the first pass gives its candidates."""
    ranks = np.where(test.labels.sum(1).numpy() > 0, test.labels.argmax(1).numpy() + 1, CANDIDATES + 1)
    return {"hr@10": float(hit(ranks, 10).mean()), "mrr@10": float(reciprocal(ranks, 10).mean())}


def compared(name: str, fit: Fit, made: Made, train: list[Batch], test: list[Batch]) -> dict[str, float]:
    """Train and test one of :data:`MODELS`."""
    stage_name, imputation, joint = MODELS[name]
    whole = fit(train, made(stage_name), imputation=imputation) if joint else None
    values: dict[str, float] = {}
    for task, own, asked in zip(TASKS, train, test, strict=True):
        learner = whole if whole is not None else fit([own], made(stage_name), imputation=imputation)
        values |= {f"{key}_{task}": value for key, value in tested(learner, asked).items()}
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="beauty")
    parser.add_argument("--lessons", type=int, default=2_000, help="of each task")
    parser.add_argument("--test", type=int, default=3_000, help="requests of each task")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--models", default=";".join(MODELS), help="separated by ; (default: all)")
    parser.add_argument("--pretrain-minutes", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    data = Path(os.environ["HEADWATER_DATA"]) if "HEADWATER_DATA" in os.environ else None
    log = load(given.dataset, data).log
    known, most = len(log) * 8 // 10, len(log) * 9 // 10
    past, earlier, tasks = log.take(slice(0, known)), Timeline(log).earlier, range(len(TASKS))
    texts, random = Texts.of(log), np.random.default_rng(0)
    learnt = random.permutation(known + np.flatnonzero(earlier[known:most] > 0))
    asked = np.sort(random.permutation(most + np.flatnonzero(earlier[most:] > 0))[: given.test])

    began = time.perf_counter()
    world = World(texts, neighbours(past), np.bincount(past.items, minlength=log.rows).astype(float))
    train = [world.lessons(log, learnt, task, given.lessons) for task in tasks]
    test = [world.requests(log, asked, task) for task in tasks]
    ceiling = {task: float(part.labels.sum(1).mean()) for task, part in zip(TASKS, test, strict=True)}
    lessons = {task: len(part) for task, part in zip(TASKS, train, strict=True)}
    ordered = {task: first_pass(part) for task, part in zip(TASKS, test, strict=True)}
    print(f"found by the first pass: {ceiling}, in its order: {ordered}, lessons: {lessons}", flush=True)
    results: dict[str, list[dict[str, float]]] = {}
    for seed in map(int, given.seeds.split(",")):
        recommender = pretrained(past, seed, given.pretrain_minutes)
        made = partial(stage, recommender=recommender, train=train[0], seed=seed)
        fit = partial(taught, texts=texts, seed=seed, steps=given.steps)
        for name in given.models.split(";"):
            started = time.perf_counter()
            found = compared(name, fit, made, train, test)
            results.setdefault(name, []).append({**found, "seconds": time.perf_counter() - started})
            print(f"{name:24s} seed {seed}", {k: round(v, 4) for k, v in results[name][-1].items()}, flush=True)
            told = {"dataset": given.dataset, "found": ceiling, "first_pass": ordered, "lessons": lessons}
            if given.json:  # after every model: a run that is cut short keeps what it has found
                told |= {"minutes": (time.perf_counter() - began) / 60, "models": means(results)}
                given.json.write_text(json.dumps(told, indent=1) + "\n")


def means(results: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Average over the seeds, and say how many there were."""
    found = {name: {k: float(np.mean([run[k] for run in runs])) for k in runs[0]} for name, runs in results.items()}
    return {name: values | {"seeds": len(results[name])} for name, values in found.items()}


if __name__ == "__main__":
    main()
