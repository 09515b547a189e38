"""Learning rates that survive a stream with bursts, by optimiser.

    python benchmarks/clippy.py --seeds 5 --json clippy.json

A synthetic stream of clicks and likes: items are drawn by popularity, a hidden network says how likely they are, and it
drifts. In every 150 steps there are 15 of a burst: one item takes most of the traffic, its counters (the numeric
features) leave their range, and nearly everything is clicked. The learner is a small cross network with two heads, and
is tested on every batch before it learns it.

A run has diverged *fully* where the log-loss of its last calm steps is not finite or worse than that of a constant (the
rate of clicks and likes so far); it has diverged *micro* where some calm 20 steps after the first tenth were half as
bad again as that constant, and it came back.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from online_models.learner import seeded
from online_models.optim import Clippy, LazyAdam, clippy_adagrad

STEPS, BATCH, ITEMS, NUMERIC, WIDTH = 1_200, 64, 400, 16, 64
PERIOD, BURST_FROM, BURST_STEPS = 150, 100, 15
Optimizer = Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]


@dataclass(frozen=True)
class Contender:
    """An optimiser, the rates to try, and the length to which the whole gradient is cut."""

    make: Optimizer
    rates: tuple[float, ...]
    clip_norm: float | None = None


def adagrad(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """Adagrad from the accumulator that Clippy-Adagrad starts from too."""
    return torch.optim.Adagrad(parameters, lr=rate, initial_accumulator_value=0.1)


def adam(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """Adam, lazy on the table."""
    return LazyAdam(parameters, lr=rate)


def clippy_adam(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """Adam with Clippy around it."""
    return Clippy(LazyAdam(parameters, lr=rate))


ADAGRAD_RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
ADAM_RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
CONTENDERS = {
    "Adam": Contender(adam, ADAM_RATES),
    "Adam + Clippy": Contender(clippy_adam, ADAM_RATES),
    "Adagrad": Contender(adagrad, ADAGRAD_RATES),
    "Adagrad + global clip": Contender(adagrad, ADAGRAD_RATES, clip_norm=1.0),
    "Clippy-Adagrad": Contender(clippy_adagrad, ADAGRAD_RATES),
}


class CrossNetwork(nn.Module):
    """Item vector and numbers, two cross layers ``x0 ⊙ W x + x``, two hidden ones, two heads."""

    def __init__(self) -> None:
        super().__init__()
        size = 2 * NUMERIC
        self.items = nn.Embedding(ITEMS, NUMERIC, sparse=True)
        nn.init.normal_(self.items.weight, std=0.05)
        self.crosses = nn.ModuleList([nn.Linear(size, size) for _ in range(2)])
        self.deep = nn.Sequential(nn.Linear(size, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU())
        self.heads = nn.Linear(WIDTH, 2)

    def forward(self, items: Tensor, numbers: Tensor) -> Tensor:
        """Logits of click and like. [B, 2]."""
        first = torch.cat([self.items(items), numbers], 1)  # [B, 2 NUMERIC]
        crossed = first
        for layer in self.crosses:
            crossed = first * layer(crossed) + crossed
        logits: Tensor = self.heads(self.deep(crossed))
        return logits


def in_burst(step: int) -> bool:
    """Whether a step lies in a burst."""
    return BURST_FROM <= step % PERIOD < BURST_FROM + BURST_STEPS


def stream(seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Items [B], numbers [B, NUMERIC] and labels [B, 2] of every step."""
    draw = torch.Generator().manual_seed(seed)
    tastes = torch.randn(ITEMS, 2, generator=draw)
    weights = torch.randn(NUMERIC, 2, generator=draw) / NUMERIC**0.5
    popularity = 1 / torch.arange(1, ITEMS + 1) ** 0.8
    for step in range(STEPS):
        weights = weights + 0.02 * torch.randn(weights.shape, generator=draw)
        items = torch.multinomial(popularity, BATCH, replacement=True, generator=draw)
        numbers = torch.randn(BATCH, NUMERIC, generator=draw)
        logits = 1.5 * numbers @ weights + tastes[items] - 1.5
        labels = torch.rand(BATCH, 2, generator=draw) < logits.sigmoid()
        if in_burst(step):
            crowd = torch.rand(BATCH, generator=draw) < 0.8
            items = torch.where(crowd, step // PERIOD, items)
            numbers = torch.where(crowd[:, None], 8 * numbers.abs() + 4, numbers)
            labels = labels | crowd[:, None] & (torch.rand(BATCH, 2, generator=draw) < 0.9)
        yield items, numbers, labels.float()


def run(contender: Contender, rate: float, seed: int) -> tuple[list[float], list[float]]:
    """Log-loss of every step before it is learnt, and of the constant that was known by then."""
    with seeded(seed):
        network = CrossNetwork()
    optimizer = contender.make(network.parameters(), rate)
    losses, constants, mean = [], [], torch.full((2,), 0.5)
    for step, (items, numbers, labels) in enumerate(stream(seed)):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(network(items, numbers), labels)
        constants.append(F.binary_cross_entropy(mean.expand_as(labels), labels).item())
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        loss.backward()  # type: ignore[no-untyped-call]
        cut(network, contender.clip_norm)
        optimizer.step()
        mean = mean if in_burst(step) else mean + (labels.mean(0) - mean) / min(step + 2, 200)
    return losses, constants


def cut(network: nn.Module, most: float | None) -> None:
    """Shorten the whole gradient to ``most``; a table counts by its touched rows."""
    if most is None:
        return
    gradients = []
    for parameter in network.parameters():
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
        if parameter.grad is not None:
            gradients.append(parameter.grad.values() if parameter.grad.is_sparse else parameter.grad)
    scale = (most / (torch.nn.utils.get_total_norm(gradients) + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, scale)


def verdict(losses: list[float], constants: list[float]) -> tuple[str, float]:
    """``full``, ``micro`` or ``stable``, and the mean log-loss of the calm steps of the second half."""
    calm = [step for step in range(len(losses)) if not in_burst(step)]
    if len(losses) < STEPS or not math.isfinite(losses[-1]):
        return "full", math.inf

    def mean(values: list[float], steps: list[int]) -> float:
        return sum(values[step] for step in steps) / len(steps)

    tail = calm[-100:]
    late = mean(losses, [step for step in calm if step >= STEPS // 2])
    if mean(losses, tail) > mean(constants, tail):
        return "full", late
    windows = [calm[at : at + 20] for at in range(len(calm) // 10, len(calm) - 20, 20)]
    micro = any(mean(losses, window) > 1.5 * mean(constants, window) for window in windows)
    return ("micro" if micro else "stable"), late


@dataclass
class Row:
    """What the seeds of one optimiser at one rate came to."""

    rate: float
    full: int
    micro: int
    log_loss: float  # mean over the runs that did not diverge fully

    @classmethod
    def of(cls, rate: float, verdicts: list[tuple[str, float]]) -> Row:
        """Count the verdicts."""
        kept = [loss for kind, loss in verdicts if kind != "full"]
        kinds = [kind for kind, _ in verdicts]
        log_loss = sum(kept) / len(kept) if kept else math.nan
        return cls(rate, kinds.count("full"), kinds.count("micro"), log_loss)


def sweep(seeds: int) -> dict[str, list[Row]]:
    """Every optimiser at every rate, over the seeds."""
    jobs = [(name, rate) for name, contender in CONTENDERS.items() for rate in contender.rates]
    found: dict[str, list[Row]] = {name: [] for name in CONTENDERS}
    for name, rate in track(jobs, "Optimisers and rates"):
        verdicts = [verdict(*run(CONTENDERS[name], rate, seed)) for seed in range(seeds)]
        found[name].append(Row.of(rate, verdicts))
    return found


def largest_stable(rows: list[Row]) -> float | None:
    """Largest rate up to which no run diverged, fully or micro."""
    stable = None
    for row in rows:
        if row.full or row.micro:
            break
        stable = row.rate
    return stable


def show(found: dict[str, list[Row]], seeds: int) -> None:
    """Print the table."""
    table = Table("optimiser", "rate", "diverged (full / micro)", "log-loss, calm steps of the second half")
    for name, rows in found.items():
        for row in rows:
            loss = "" if math.isnan(row.log_loss) else f"{row.log_loss:.4f}"
            table.add_row(name, f"{row.rate:g}", f"{row.full} / {row.micro} of {seeds}", loss)
        table.add_section()
    console = Console()
    console.print(table)
    for name, rows in found.items():
        best = min((row.log_loss for row in rows if not math.isnan(row.log_loss)), default=math.nan)
        console.print(f"{name}: largest stable rate {largest_stable(rows)}, best log-loss {best:.4f}")


def main(
    seeds: Annotated[int, typer.Option(help="Runs of every optimiser at every rate.")] = 5,
    json_path: Annotated[Path | None, typer.Option("--json", help="Where the figures go.")] = None,
) -> None:
    """Sweep learning rates over optimisers on a stream with bursts."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Sparse invariant checks")  # of torch's own Adagrad
    started = time.monotonic()
    found = sweep(seeds)
    show(found, seeds)
    if json_path is not None:
        models = {
            name: {"largest_stable_rate": largest_stable(rows), "rates": [asdict(row) for row in rows]}
            for name, rows in found.items()
        }
        content = {"stream": "synthetic clicks and likes with bursts", "seeds": list(range(seeds)), "steps": STEPS}
        content |= {"minutes": (time.monotonic() - started) / 60, "models": models}
        json_path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
