"""``headwater evaluate``: models by a protocol that others can compare with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from streamer.evaluation.data import Dataset
    from streamer.evaluation.runs import Bar, Options


def _print_models(wanted: bool) -> None:
    if wanted:
        from online_models.recommenders import recommenders

        for name, factory in recommenders().items():
            summary = (factory.__doc__ or "").strip().splitlines()
            typer.echo(f"{name:28} {summary[0] if summary else ''}".rstrip())
        raise typer.Exit


def command(
    dataset: str = typer.Option(
        ...,
        help="ml-100k, ml-latest-small, ml-1m, beauty, toys, sports, diginetica, mind, simulator, or an event file.",
    ),
    protocol: str = typer.Option(
        "leave-one-out",
        help="leave-one-out: last item of each user. time-split: first events after a moment. "
        "sessions: prefix to next item. prequential: every event is tested, then learnt.",
    ),
    models: str | None = typer.Option(
        None, "--model", help="Names with commas between, or `all`; the quick ones when absent. --list prints them."
    ),
    seeds: str = typer.Option("0", help="Seeds with commas between; from two on, deviations are given."),
    events: int | None = typer.Option(None, min=10, help="Only the earliest events, so many."),
    on: str = typer.Option(
        "test", help="test, or validation: choose settings there (held-out items of the training part; the warm-up)."
    ),
    refit: str = typer.Option(
        "online",
        help="prequential: online, static (fitted on the warm-up alone), every-10 (anew every 10 %); commas between.",
    ),
    warm_up: float = typer.Option(0.2, min=0.01, max=0.99, help="prequential: share of the events before any counts."),
    cut: float = typer.Option(0.9, min=0.05, max=0.99, help="time-split, sessions: share before the cut."),
    targets: int = typer.Option(1, min=1, help="time-split: how many first events of each user are tested."),
    repeats: bool | None = typer.Option(
        None, "--repeats/--no-repeats", help="Keep items in the lists that the user has taken; sessions do."
    ),
    minutes: float | None = typer.Option(None, min=0.01, help="Stop after so long; what was tested by then counts."),
    fit_minutes: float | None = typer.Option(
        None, min=0.01, help="End each fit of a network after so long; the weights that validated best are kept."
    ),
    teachers: str | None = typer.Option(
        None,
        help="Compare teachers of such widths by what a student gains from each, for instance 1x,2x,4x,8x; "
        "walks the stream (prequential) with --model sasrec or caser.",
    ),
    distill: str = typer.Option("auxiliary", help="--teachers: direct, auxiliary, ranking, or another method."),
    threads: int | None = typer.Option(None, min=1, help="Threads of torch."),
    columns: list[str] = typer.Option([], "--map", help="FIELD=COLUMN of a table, for instance user_id=uid."),
    constants: list[str] = typer.Option([], "--set", help="FIELD=VALUE for every row, for instance action=view."),
    json_path: Path | None = typer.Option(None, "--json", help="Write every figure there."),
    report_path: Path | None = typer.Option(None, "--report", help="Write a report with plots there (HTML)."),
    list_models: bool = typer.Option(
        False, "--list", callback=_print_models, is_eager=True, help="Print the names of the models and leave."
    ),
) -> None:
    """Measure models on a data set by one protocol: full catalogue, nothing sampled, ties against the model.

    Every list ranks all items but those that the user has taken. Compare figures only where dataset, digest and
    protocol are the same, and read popularity first: what does not beat it has learnt nothing.

    Examples: headwater evaluate --dataset ml-100k --protocol prequential; headwater evaluate --dataset clicks.csv
    --protocol time-split --model popular-7d,item-knn --map user_id=uid --set action=click --report clicks.html
    """
    from rich.console import Console

    console = Console()
    options = _options(protocol, models, seeds, on, refit, warm_up, cut, targets, repeats, minutes, fit_minutes)
    from streamer.commands.reporting import write_json
    from streamer.evaluation.data import load
    from streamer.evaluation.report import write_report
    from streamer.evaluation.runs import check_clock, evaluate
    from streamer.settings import Settings
    from streamer.sources import ColumnMap

    _use_threads(threads)
    data = load(dataset, Settings().data, events, ColumnMap.parse(columns, constants))
    check_clock(data, options.protocol)
    console.print(data.description + (" (simulated)" if data.simulated else ""), markup=False, soft_wrap=True)
    log = data.log
    console.print(f"{len(log):,} events, {log.user_count:,} users, {log.rows - 2:,} items, digest {log.digest()}")
    if teachers is not None:
        write_json(json_path, _teachers(data, options, teachers, models, distill, console))
        return
    report = evaluate(data, options, _bar)
    show(report, console)
    write_json(json_path, report)
    if report_path is not None:
        write_report(report, report_path)
        console.print(f"report: {report_path}", soft_wrap=True)


def show(report: dict[str, Any], console: Console) -> None:
    """Print the tables."""
    from streamer.evaluation.table import accuracy_of, lists_of, parts_of, slates_of, terminal_table

    if report["models"]:
        on = "" if report["on"] == "test" else ", on validation"
        for title, columns in (
            (f"{report['protocol']} on {report['dataset']}{on}", accuracy_of(report)),
            ("HR@10 by events in the session, of new items, of new users", parts_of(report)),
            ("what the lists show, and speed", lists_of(report)),
            ("slates that were shown", slates_of(report)),
        ):
            if columns:
                console.print(terminal_table(report, columns, title))
    for line in report["cut_short"]:
        console.print(f"[yellow]time was up[/yellow]: {line}")
    console.print(f"{report['minutes']:.1f} minutes")


def _teachers(
    data: Dataset, options: Options, widths: str, models: str | None, distill: str, console: Console
) -> dict[str, Any]:
    """Compare teachers, and print what they cost and give."""
    from streamer.evaluation.table import teachers_table
    from streamer.evaluation.teachers import Teachers, compare_teachers, widths_of

    chosen = Teachers(widths=widths_of(widths), family=models or "sasrec", method=distill)
    report = compare_teachers(data, options, chosen, _bar)
    if report["models"]:
        console.print(teachers_table(report))
    for line in report["cut_short"]:
        console.print(f"[yellow]time was up[/yellow]: {line}")
    console.print(f"{report['minutes']:.1f} minutes")
    return report


@contextmanager
def _bar(label: str, total: int) -> Iterator[Bar]:
    from streamer.commands.reporting import progress_bar

    with progress_bar(label, total) as bar:
        yield bar.advance


def _options(
    protocol: str,
    models: str | None,
    seeds: str,
    on: str,
    refit: str,
    warm_up: float,
    cut: float,
    targets: int,
    repeats: bool | None,
    minutes: float | None,
    fit_minutes: float | None,
) -> Options:
    """Read the words of the command line.

    Raises
    ------
    SettingsError
        A word is unknown, or a seed is no number.
    """
    from online_models.recommenders import recommenders
    from streamer.evaluation.runs import PROTOCOLS, QUICK, REFITS, Options

    known = recommenders()
    chosen = tuple(name for name in QUICK if name in known) if models is None else _words(models)
    return Options(
        protocol=_one_of("--protocol", protocol, PROTOCOLS),
        models=tuple(known) if chosen == ("all",) else chosen,
        seeds=_seeds(seeds),
        on=_one_of("--on", on, ("test", "validation")),
        refits=tuple(_one_of("--refit", word, REFITS) for word in _words(refit)),
        warm_up=warm_up,
        cut=cut,
        targets=targets,
        repeats=repeats,
        minutes=minutes,
        fit_minutes=fit_minutes,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _one_of(option: str, word: str, allowed: tuple[str, ...]) -> Any:
    from streamer.errors import SettingsError

    if word not in allowed:
        raise SettingsError(f"{option} is {word!r}; choose one of {', '.join(allowed)}")
    return word


def _seeds(text: str) -> tuple[int, ...]:
    from streamer.errors import SettingsError

    try:
        return tuple(int(word) for word in _words(text))
    except ValueError:
        raise SettingsError(f"--seeds is {text!r}; give whole numbers with commas between, such as 0,1,2") from None


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
