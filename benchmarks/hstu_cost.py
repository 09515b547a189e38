"""What HSTU costs: stochastic length against its law, M-FALCON against encoding anew.

    python benchmarks/hstu_cost.py length --json length.json
    python benchmarks/hstu_cost.py falcon --json falcon.json

*length*: histories of N events are trained on whole and cut by stochastic length; tokens kept, their squares (what
attention costs) and seconds stand beside the expectation and beside N^α. *falcon*: a thousand candidates are scored
against one history by encoding it anew with each of them, and from cached keys and values in microbatches.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from online_models.batch import Candidates, Context
from online_models.learner import seeded
from online_models.sequence_learner import SequenceLearner
from online_models.sequences import Sequences
from online_models.stochastic_length import expected_tokens, kept_lengths, short_length, stochastic_length
from online_models.zoo.hstu import HSTU
from online_models.zoo.hstu_ranker import HSTURanker

app = typer.Typer(add_completion=False, help=__doc__)
Json = Annotated[Path | None, typer.Option("--json", help="Where the figures go.")]
ROWS, DRAWS = 5_000, 100_000


@dataclass(frozen=True)
class LengthRow:
    """One N and α, means over histories of N events."""

    maximum: int
    alpha: float
    tokens: float
    tokens_expected: float
    squares: float
    squares_expected: float
    law: float  # N ** α
    seconds: float  # of a history
    seconds_whole: float


@app.command()
def length(
    maxima: Annotated[str, typer.Option("--lengths", help="N, the lengths of histories, by commas.")] = "200,512,1024",
    alphas: Annotated[str, typer.Option(help="α, by commas.")] = "1.4,1.6,1.7,1.8",
    examples: Annotated[int, typer.Option(help="Histories in a step.")] = 8,
    repeats: Annotated[int, typer.Option(help="Timed steps of each kind; the median counts.")] = 7,
    json_path: Json = None,
) -> None:
    """Measure what stochastic length saves, against its law."""
    torch.set_num_threads(1)
    rows: list[LengthRow] = []
    for maximum in map(int, maxima.split(",")):
        rows += length_rows(maximum, [float(alpha) for alpha in alphas.split(",")], examples, repeats)
    table = Table(
        "N", "α", "tokens", "expected", "left out", "squares", "expected", "N^α", "ms/history", "whole", "faster"
    )
    for r in rows:
        counts = [f"{r.tokens:.1f}", f"{r.tokens_expected:.1f}", f"{1 - r.tokens / r.maximum:.0%}"]
        squares = [f"{value:,.0f}" for value in (r.squares, r.squares_expected, r.law)]
        times = [f"{1e3 * r.seconds:.2f}", f"{1e3 * r.seconds_whole:.2f}", f"{r.seconds_whole / r.seconds:.1f}×"]
        table.add_row(str(r.maximum), str(r.alpha), *counts, *squares, *times)
    report(table, json_path, {"examples": examples, "draws": DRAWS, "rows": [asdict(row) for row in rows]})


def length_rows(maximum: int, alphas: list[float], examples: int, repeats: int) -> list[LengthRow]:
    """Train on the same histories whole and cut.

    A step holds histories of one length, as in training. Few stay whole, so their share of the time is taken from the
    rule's probability and not from the few that a short run would draw.
    """
    draw, many = torch.Generator().manual_seed(1), torch.full((DRAWS,), maximum)
    learner, histories = hstu_learner(maximum), full_histories(examples, maximum)
    whole = seconds_of(lambda: learner.learn_sequences(histories), repeats) / examples
    rows = []
    for alpha in alphas:
        kept = kept_lengths(many, maximum, alpha, draw).double()
        cut = shortened(histories, maximum, alpha, draw)
        cutting = seconds_of(lambda a=alpha: stochastic_length(histories, maximum, a, draw), repeats) / examples  # type: ignore[misc]
        short = seconds_of(lambda c=cut: learner.learn_sequences(c), repeats) / len(cut.items)  # type: ignore[misc]
        chance = maximum ** (alpha - 2)
        rows.append(
            LengthRow(
                maximum=maximum,
                alpha=alpha,
                tokens=kept.mean().item(),
                tokens_expected=expected_tokens(many[:1], maximum, alpha).item(),
                squares=kept.square().mean().item(),
                squares_expected=expected_tokens(many[:1], maximum, alpha, power=2).item(),
                law=maximum**alpha,
                seconds=cutting + chance * whole + (1 - chance) * short,
                seconds_whole=whole,
            )
        )
    return rows


def hstu_learner(maximum: int) -> SequenceLearner:
    """HSTU of the usual size with room for N events."""
    with seeded(1):
        return SequenceLearner(HSTU(HSTU.Config(catalog_rows=ROWS, history=maximum)))


def full_histories(examples: int, maximum: int) -> Sequences:
    """Random histories of N events, an event an hour on average."""
    draw = torch.Generator().manual_seed(2)
    items = torch.randint(2, ROWS, (examples, maximum), generator=draw)
    times = torch.rand(items.shape, generator=draw, dtype=torch.float64).mul(7200).cumsum(1)
    weights = torch.ones(items.shape)
    weights[:, 0] = 0
    return Sequences(
        items=items,
        actions=torch.ones_like(items),
        times_seconds=times,
        target_weights=weights,
        users=torch.arange(examples),
        asked_seconds=times[:, -1],
    )


def shortened(histories: Sequences, maximum: int, alpha: float, draw: torch.Generator) -> Sequences:
    """As many histories, all of them cut."""
    short, parts = short_length(maximum, alpha), list[Sequences]()
    while sum(len(part.items) for part in parts) < len(histories.items):
        cut = stochastic_length(histories, maximum, alpha, draw)
        rows = cut.mask.sum(1) <= short
        columns = {f.name: getattr(cut, f.name)[rows] for f in fields(cut)}
        parts.append(Sequences(**{name: c[:, -short:] if c.dim() == 2 else c for name, c in columns.items()}))
    joined = {f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Sequences)}
    return Sequences(**{name: column[: len(histories.items)] for name, column in joined.items()})


@app.command()
def falcon(
    candidates: Annotated[int, typer.Option(help="Candidates of a request.")] = 1_000,
    history: Annotated[int, typer.Option(help="Events of the history.")] = 200,
    microbatches: Annotated[str, typer.Option(help="Microbatch sizes, by commas.")] = "1,16,64,256,1000",
    layers: Annotated[int, typer.Option(help="Layers of the ranker.")] = 2,
    repeats: Annotated[int, typer.Option(help="Timed runs of each way; the median counts.")] = 5,
    json_path: Json = None,
) -> None:
    """Measure M-FALCON against encoding the history anew with every candidate."""
    torch.set_num_threads(1)
    with seeded(1):
        ranker = HSTURanker(
            HSTURanker.Config(catalog_rows=ROWS, features=8, sources=4, item_features=4, history=history, layers=layers)
        ).eval()
    context, offered = request(history, candidates)
    with torch.no_grad():
        expected = reencoded(ranker, context, offered)
        anew = seconds_of(lambda: reencoded(ranker, context, offered), repeats=3)
        encode = seconds_of(lambda: ranker.encode(context), repeats)
        rows = [falcon_row(ranker, context, offered, expected, int(size), repeats) for size in microbatches.split(",")]
    table = Table(
        "microbatch", "ms, encode + score", "against anew", "ms, cached", "against anew", "largest difference"
    )
    table.add_row("anew", f"{1e3 * anew:.1f}", "1×", "", "", "")
    for row in rows:
        row |= {"speedup": anew / row["seconds"], "speedup_cached": anew / row["seconds_cached"]}
        times = [f"{1e3 * row['seconds']:.1f}", f"{row['speedup']:.1f}×"]
        cached = [f"{1e3 * row['seconds_cached']:.1f}", f"{row['speedup_cached']:.1f}×"]
        table.add_row(str(int(row["microbatch"])), *times, *cached, f"{row['largest_difference']:.1e}")
    sizes = {"candidates": candidates, "history": history, "layers": layers, "dimension": ranker.config.dimension}
    report(table, json_path, sizes | {"seconds_anew": anew, "seconds_encode": encode, "rows": rows})


def falcon_row(
    ranker: HSTURanker, context: Context, offered: Candidates, expected: torch.Tensor, size: int, repeats: int
) -> dict[str, float]:
    """Time one microbatch size and compare its scores."""
    cache = ranker.encode(context)
    scores = ranker.score(cache, context, offered, size)
    return {
        "microbatch": size,
        "seconds": seconds_of(lambda: ranker.score(ranker.encode(context), context, offered, size), repeats),
        "seconds_cached": seconds_of(lambda: ranker.score(cache, context, offered, size), repeats),
        "largest_difference": (scores - expected).abs().max().item(),
    }


def request(history: int, candidates: int) -> tuple[Context, Candidates]:
    """One user with a full history, and what they may be offered."""
    draw = torch.Generator().manual_seed(3)
    context = Context(
        history_items=torch.randint(2, ROWS, (1, history), generator=draw),
        history_actions=torch.ones(1, history, dtype=torch.int64),
        history_ages_seconds=torch.rand(1, history, generator=draw).mul(1e6).sort(1, descending=True).values,
        features=torch.rand(1, 8, generator=draw),
        surface=torch.ones(1, dtype=torch.int64),
        source_item=torch.zeros(1, dtype=torch.int64),
        query=torch.zeros(1, 4, dtype=torch.int64),
        time_seconds=torch.full((1,), 1.7e9, dtype=torch.float64),
        user=torch.zeros(1, dtype=torch.int64),
    )
    offered = Candidates(
        items=torch.randperm(ROWS - 2, generator=draw)[None, :candidates] + 2,
        source_scores=torch.rand(1, candidates, 4, generator=draw),
        features=torch.rand(1, candidates, 4, generator=draw),
    )
    return context, offered


def reencoded(ranker: HSTURanker, context: Context, offered: Candidates, at_once: int = 50) -> torch.Tensor:
    """Scores by the definition, in portions that stay small in memory. [1, N]."""
    columns = {f.name: getattr(offered, f.name).split(at_once, 1) for f in fields(Candidates)}
    portions = [Candidates(**dict(zip(columns, part, strict=True))) for part in zip(*columns.values(), strict=True)]
    return torch.cat([ranker.reencode(context, portion) for portion in portions], 1)


def seconds_of(work: Callable[[], Any], repeats: int) -> float:
    """Median seconds of the work, after one run to warm up."""
    work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return median(taken)


def report(table: Table, json_path: Path | None, figures: dict[str, Any]) -> None:
    """Print the table and write the figures."""
    Console(width=160).print(table)
    if json_path is not None:
        machine = {"threads": torch.get_num_threads(), "processor": platform.machine(), "torch": torch.__version__}
        json_path.write_text(json.dumps(machine | figures, indent=2) + "\n")


if __name__ == "__main__":
    app()
