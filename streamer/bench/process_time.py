"""How much processor time and memory a process has taken: unlike latencies, the same on a busy machine."""

from __future__ import annotations

import os
from pathlib import Path

from streamer.errors import HeadwaterError


def cpu_seconds(pid: int) -> float:
    """Processor time of a process with all its threads, user and system.

    Raises
    ------
    HeadwaterError
        There is no such process, or no ``/proc``.

    Examples
    --------
    >>> cpu_seconds(os.getpid()) > 0
    True
    """
    fields = _read(pid, "stat").rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Memory of a process that lies in RAM.

    >>> resident_bytes(os.getpid()) > 1_000_000
    True
    """
    return int(_read(pid, "statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError as error:
        raise HeadwaterError(f"nothing can be read of process {pid} ({error})") from error
