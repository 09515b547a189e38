"""Everything that the doctor looks at, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from streamer.doctor.broker import check_broker, check_topics
from streamer.doctor.clocks import check_clocks
from streamer.doctor.finding import Check, Finding, wrong
from streamer.doctor.positions import check_positions
from streamer.doctor.processes import check_groups, check_servers
from streamer.doctor.registry import check_registry
from streamer.doctor.state_files import check_labels, check_locks, check_snapshots, check_state
from streamer.doctor.stores import check_feast, check_folders, check_redis
from streamer.doctor.versions import check_environment, check_versions
from streamer.settings import Settings

CHECKS: dict[str, tuple[Check, ...]] = {
    "versions": (check_versions,),
    "settings": (check_environment,),
    "broker": (check_broker,),
    "topics": (check_topics,),
    "stores": (check_folders, check_redis, check_feast),
    "state": (check_state,),
    "snapshots": (check_snapshots,),
    "labels": (check_labels,),
    "registry": (check_registry,),
    "locks": (check_locks,),
    "positions": (check_positions,),
    "clocks": (check_clocks,),
    "processes": (check_groups, check_servers),
}
"""The parts, cheapest and most fundamental first."""


def visit(settings: Settings, only: Iterable[str] = (), addresses: Iterable[str] = ()) -> Iterator[Finding]:
    """Look at the parts one after another.

    A part whose look breaks off in a way that nobody foresaw is a finding too: the others are still looked at.

    Parameters
    ----------
    settings
        As the processes read them.
    only
        Names out of :data:`CHECKS`; all when empty.
    addresses
        Of further processes, whose metrics are asked for.
    """
    chosen = list(only) or list(CHECKS)
    for part in chosen:
        for check in CHECKS[part]:
            look = partial(check_servers, addresses=list(addresses)) if check is check_servers else check
            try:
                yield from look(settings)
            except Exception as error:  # a doctor who falls over helps nobody
                yield wrong(part, f"could not be looked at ({error!r})", "mend what is named above first")
