"""``headwater demo``: everything on one machine."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    dataset: str | None = typer.Option(
        None,
        help="A known data set (ml-100k, ml-1m, beauty …), `simulator`, or an event file. Default: what is at hand.",
    ),
    events: int | None = typer.Option(None, min=100, help="At most so many events, the earliest ones."),
    speed: float = typer.Option(
        0.0, min=0.0, help="Event time against the clock; 0: as fast as --rate and the learner allow."
    ),
    once: bool = typer.Option(False, "--once", help="End when all events are learnt, instead of serving on."),
    report: Path | None = typer.Option(None, "--json", help="Write the figures to this file."),
    ask_share: float = typer.Option(0.1, min=0.0, max=1.0, help="Share of the events that are asked about first."),
    lead: int = typer.Option(256, min=1, help="How many events may be published ahead of the learner."),
    rate: float = typer.Option(150.0, min=1.0, help="Events per second at most; two cores learn about 190."),
    port: int = typer.Option(8080, min=0, max=65535, help="Port of the live page; 0 picks a free one."),
    state: Path | None = typer.Option(None, help="Folder for state and logs; a temporary one when absent."),
    broker: str | None = typer.Option(
        None, help="host:port of a Kafka broker; an embedded one is started when absent."
    ),
    twin: bool | None = typer.Option(
        None,
        help="Train a student without soft labels beside, to measure what they are worth; with --once unless told"
        " otherwise.",
    ),
    seed: int = typer.Option(7, help="Of the sample of asks."),
) -> None:
    """Run all processes, play a data set's users, and show the live page.

    They are an embedded broker, worker, trainer, teacher, label store, foundation model and server.

    Before a share of the events the server is asked for a list, and the list is judged by what the user then does. The
    figures at the end compare it with baselines on the same events.
    """
    from rich.console import Console

    from streamer.demo import DemoOptions, run
    from streamer.settings import Settings

    options = DemoOptions(
        dataset=dataset,
        events=events,
        speed=speed,
        once=once,
        report=report,
        ask_share=ask_share,
        lead=lead,
        rate=rate,
        port=port,
        state=state,
        broker=broker,
        twin=once if twin is None else twin,
        seed=seed,
    )
    try:
        run(options, Settings(), Console())
    except KeyboardInterrupt:
        raise typer.Exit from None
