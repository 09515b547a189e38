"""``headwater train``: run the trainer."""

from __future__ import annotations

import typer
from pydantic import ValidationError

from streamer.errors import HeadwaterError
from streamer.settings import Learning, Settings


def command(
    name: str | None = typer.Option(
        None, "--name", help="Of the student: consumer group, snapshots, versions and rows; learning.name when absent."
    ),
    family: str | None = typer.Option(
        None, "--family", help="Of the network: session or caser; learning.family when absent."
    ),
    log_level: str = typer.Option("WARNING", "--log-level", help="DEBUG, INFO, WARNING or ERROR."),
) -> None:
    """Learn from the examples and publish weights; until SIGTERM.

    One trainer runs for each name. It resumes from its latest snapshot, and publishes changed rows every half second
    and the dense part every few seconds (settings ``learning.*``).
    """
    import torch  # like Faust it takes seconds to import; --help does not need them

    from streamer.families import check_family
    from streamer.trainer import run

    given = {key: value for key, value in (("name", name), ("family", family)) if value is not None}
    settings = Settings()
    try:
        learning = Learning.model_validate(settings.learning.model_dump() | given)
    except ValidationError as error:
        told = error.errors()[0]
        raise HeadwaterError(f"--{told['loc'][0]} {told['input']!r}: {told['msg']}") from error
    check_family(learning.family)
    torch.set_num_threads(learning.threads)
    run(settings.model_copy(update={"learning": learning}), log_level.upper())
