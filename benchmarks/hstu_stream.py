"""Pointwise attention on a stream whose vocabulary grows: a Dirichlet process, one pass, three kinds of attention.

    python benchmarks/hstu_stream.py --seeds 3 --json hstu_stream.json

After the description of the synthetic data in the HSTU paper (2402.17152, section 4.1.1), in small. Every item lies in
one of 20 categories. A record picks 5 of them; event i takes category c with probability proportional to α/5 plus how
often the record has taken c before, α uniform in (1, 20) for each record, and then an item of the category, all alike.
Only the first 40 % of the items exist when the stream begins; the rest appear evenly over it. The first 90 % of the
records are learnt in one pass, the rest is ranked: hit rate of every event in the second half of a record, among all
items.

All sizes and the range of α are ours, so only the order of the models can be set beside the paper's. They differ in
nothing but the attention of their layers, without a bias by position or time, as there. A guess has HR@10 = 10 / items.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from online_models.encoders.hstu import HSTULayer
from online_models.encoders.transformer import TransformerBlock
from online_models.learner import seeded
from online_models.optim.table_rate import with_table_rate
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import Sequences
from online_models.zoo.hstu import HSTU

CATEGORIES, CHOSEN, FIRST_SHARE, MOST_PRIOR = 20, 5, 0.4, 20.0
CUTOFFS = (10, 50)


class Unbiased(HSTULayer):
    """HSTU's layer without a bias by position or time."""

    def __init__(self, dimension: int, heads: int, length: int, dropout: float) -> None:
        super().__init__(dimension, heads, length, dropout)
        for table in self.bias.parameters():
            nn.init.zeros_(table).requires_grad_(False)


class Softmax(Unbiased):
    """The same layer with softmax attention."""

    def forward(self, tokens: Tensor, mask: Tensor, distances: Tensor, buckets: Tensor) -> tuple[Tensor, ...]:
        """Attend as :class:`HSTULayer` does, with weights that sum to 1."""
        gate, value, query, key = self._project(tokens)
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5  # [B, H, T, T]
        weights = scores.masked_fill(mask.unsqueeze(1) == 0, -torch.inf).softmax(-1)
        return tokens + self.output(self.dropout(self._gated(weights @ value, gate))), key, value


class Transformer(nn.Module):
    """A transformer block where an HSTU layer may stand."""

    def __init__(self, dimension: int, heads: int, length: int, dropout: float) -> None:
        super().__init__()
        self.block = TransformerBlock(dimension, heads, dropout)

    def forward(self, tokens: Tensor, mask: Tensor, distances: Tensor, buckets: Tensor) -> tuple[Tensor, ...]:
        """Attend causally; there is no padding here, and nobody asks for keys."""
        return self.block(tokens, mask.unsqueeze(1) > 0), tokens, tokens


LAYERS: dict[str, Callable[[int, int, int, float], nn.Module]] = {
    "transformer": Transformer,
    "HSTU, softmax": Softmax,
    "HSTU, pointwise": Unbiased,
}


def records(number: int, length: int, items: int, seed: int) -> NDArray[np.int64]:
    """Draw a stream of records. [records, length] catalogue rows from 2."""
    random = np.random.default_rng(seed)
    # rows of a shelf are in the order in which its items appear
    shelves = np.sort(random.permutation(items).reshape(CATEGORIES, -1), 1)  # [C, items / C]
    known = (items * np.linspace(FIRST_SHARE, 1, number)).astype(np.int64)  # [R]
    filled = np.stack([np.searchsorted(shelf, known) for shelf in shelves], 1)  # [R, C]
    chosen = random.random((number, CATEGORIES)).argsort(1)[:, :CHOSEN]  # [R, 5]
    weights = np.repeat(random.uniform(1, MOST_PRIOR, (number, 1)) / CHOSEN, CHOSEN, 1)  # [R, 5]
    laid, every = np.empty((number, length), np.int64), np.arange(number)
    for step in range(length):
        bars = weights.cumsum(1)
        place = (random.random((number, 1)) * bars[:, -1:] > bars).sum(1)  # [R]
        weights[every, place] += 1
        category = chosen[every, place]  # [R]
        laid[:, step] = shelves[category, (random.random(number) * filled[every, category]).astype(np.int64)] + 2
    return laid


def sequences(items: NDArray[np.int64]) -> Sequences:
    """Make histories without times of records, every event but the first a target."""
    rows = torch.from_numpy(items)
    weights = torch.ones(rows.shape)
    weights[:, 0] = 0
    return Sequences(
        items=rows,
        actions=torch.ones_like(rows),
        times_seconds=torch.zeros(rows.shape, dtype=torch.float64),
        target_weights=weights,
        users=torch.arange(len(rows)),
        asked_seconds=torch.zeros(len(rows), dtype=torch.float64),
    )


def learner(name: str, items: int, length: int, seed: int, rate: float) -> SequenceLearner:
    """Make one of the three."""
    with seeded(seed):
        ranker = HSTU(HSTU.Config(catalog_rows=items + 2, history=length, dropout=0.0))
        c = ranker.config
        layers = [LAYERS[name](c.dimension, c.heads, c.history, c.dropout) for _ in range(c.layers)]
        ranker.core.encoder.layers = nn.ModuleList(layers)
        ranker.core.order.weight.requires_grad_(False).zero_()
    # at one rate the rows, which move only when their item comes, have hardly left their start after one pass
    optimizer = with_table_rate([ranker.items.weight], rate=rate, table_rate=10 * rate)
    return SequenceLearner(ranker, optimizer, negatives=128, seed=seed)


def run(name: str, stream: NDArray[np.int64], items: int, seed: int, batch: int, rate: float) -> dict[str, float]:
    """Learn the first 90 % in one pass and rank the rest."""
    started, length = time.perf_counter(), stream.shape[1]
    model, last = learner(name, items, length, seed, rate), int(0.9 * len(stream))
    for first in range(0, last, batch):
        model.learn_sequences(sequences(stream[first : min(first + batch, last)]))
    hits = [hit_rates(model, stream[first : first + 64]) for first in range(last, len(stream), 64)]
    figures = {f"hr@{k}": float(np.concatenate([part[k] for part in hits]).mean()) for k in CUTOFFS}
    return figures | {"seconds": time.perf_counter() - started}


@torch.no_grad()
def hit_rates(model: SequenceLearner, stream: NDArray[np.int64]) -> dict[int, NDArray[np.bool_]]:
    """Whether each event of the second half stands among the best k."""
    half = stream.shape[1] // 2
    states = model.ranker.encode(sequences(stream[:, :-1]))[:, half - 1 :]  # [B, T / 2, D]
    scores = states @ model.ranker.catalogue_vectors()[2:].T  # [B, T / 2, items]
    target = torch.from_numpy(stream[:, half:] - 2).unsqueeze(-1)  # [B, T / 2, 1]
    # an equal score stands before the target: ties count against the model
    ranks = (scores >= scores.gather(-1, target)).sum(-1)  # [B, T / 2], 1 is the best
    return {k: (ranks <= k).numpy().ravel() for k in CUTOFFS}


def main(
    seeds: Annotated[int, typer.Option(help="Streams, each learnt by models of its own seed.")] = 3,
    number: Annotated[int, typer.Option("--records", help="Records of a stream.")] = 4_000,
    length: Annotated[int, typer.Option(help="Events of a record.")] = 64,
    items: Annotated[int, typer.Option(help="Items at the end of the stream.")] = 1_000,
    batch: Annotated[int, typer.Option(help="Records of a step.")] = 4,
    rate: Annotated[float, typer.Option(help="Learning rate of Adam; of the item table ten times that.")] = 1e-3,
    json_path: Annotated[Path | None, typer.Option("--json", help="Where the figures go.")] = None,
) -> None:
    """Compare three kinds of attention on a stream with a growing vocabulary."""
    torch.set_num_threads(1)
    started, found = time.perf_counter(), {name: list[dict[str, float]]() for name in LAYERS}
    for seed in track(range(seeds), "Streams"):
        stream = records(number, length, items, seed)
        for name in LAYERS:
            found[name].append(run(name, stream, items, seed, batch, rate))
    table, models = Table("attention", *(f"HR@{k}" for k in CUTOFFS), "seconds"), {}
    for name, runs in found.items():
        columns = {key: [figures[key] for figures in runs] for key in runs[0]}
        deviations = {key: stdev(values) if len(values) > 1 else 0.0 for key, values in columns.items()}
        models[name] = {key: mean(values) for key, values in columns.items()} | {"sd": deviations}
        shown = [f"{mean(values):.4f} ± {deviations[key]:.4f}" for key, values in columns.items() if key != "seconds"]
        table.add_row(name, *shown, f"{mean(columns['seconds']):.0f}")
    Console().print(table)
    if json_path is not None:
        content = {"dataset": "Dirichlet process", "records": number, "length": length, "items": items, "rate": rate}
        content |= {"seeds": list(range(seeds)), "minutes": (time.perf_counter() - started) / 60, "models": models}
        json_path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
