"""``headwater topics``: create the topics with their settings, or check them."""

from __future__ import annotations

import typer
from rich.console import Console

from streamer.settings import Settings
from streamer.topics import TopicState, create_topics, describe
from streamer.wide_table import WideTable


def command(
    check: bool = typer.Option(False, "--check", help="Create nothing; exit 1 where a topic is missing or differs."),
) -> None:
    """Create the topics with their partitions, retention and cleanup policy, then print them."""
    settings = Settings()
    created = set() if check else set(create_topics(settings))
    states = describe(settings)
    Console().print(table(states, created))
    if check and any(state.differences for state in states):
        raise typer.Exit(1)


def table(states: list[TopicState], created: set[str]) -> WideTable:
    """Lay the topics out for a terminal."""
    drawn = WideTable("", ("topic", "key", "partitions", "kept", "state"), text=("key", "kept", "state"))
    for state in states:
        told = "; ".join(state.differences) or ("created" if state.topic.name in created else "as set")
        drawn.add_row(state.topic.name, state.topic.key, str(state.partitions), _kept(state), told)
    return drawn


def _kept(state: TopicState) -> str:
    if state.topic.compacted:
        return "latest of each key"
    return f"{int(state.wanted_configs['retention.ms']) // 86_400_000} days"
