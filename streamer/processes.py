"""Child processes of one machine: ``headwater`` commands with their settings, logs, and a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from streamer.errors import HeadwaterError

_TAIL_LINES = 20
# Feast sets it where it is imported; a child that finds it writes its metrics to files that it shares with its parent.
_NOT_INHERITED = "PROMETHEUS_MULTIPROC"


class Child:
    """One ``headwater`` command as a process, its output in a log file.

    Parameters
    ----------
    arguments
        The command line after ``headwater``.
    environment
        Settings added to this process's own.
    log
        File that takes its output.
    niceness
        Added to the priority number: background work leaves the processor to those that somebody waits for.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str], log: Path, niceness: int = 0) -> None:
        self.name, self.log = arguments[0], log
        self.arguments, self.environment, self.niceness = arguments, environment, niceness
        log.parent.mkdir(parents=True, exist_ok=True)
        self._file = log.open("ab")
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        # One thread each: several processes share few cores, and small matrices gain nothing from more.
        own = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        environment = {**own, "OMP_NUM_THREADS": "1", **self.environment}
        command = ["nice", "-n", str(self.niceness), sys.executable, "-m", "streamer", *self.arguments]
        return subprocess.Popen(
            command, env=environment, stdout=self._file, stderr=subprocess.STDOUT, start_new_session=True
        )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise :class:`HeadwaterError` with the end of the log if the process has ended."""
        code = self._process.poll()
        if code is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
            raise HeadwaterError(f"headwater {self.name} ended with status {code}; the end of {self.log}:\n{tail}")

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send any other signal."""
        self._process.send_signal(number)

    def wait(self, within_seconds: float) -> int:
        """Wait for the end; returns the exit status."""
        return self._process.wait(within_seconds)

    def restart(self) -> None:
        """Start it again after it has ended."""
        self._process = self._start()

    def stop(self, within_seconds: float = 20.0) -> None:
        """SIGTERM, and SIGKILL for what does not end in time."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(within_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self._file.close()


def stop_all(children: list[Child], within_seconds: float = 20.0) -> None:
    """Stop several at once: all are told first, then waited for."""
    deadline = time.monotonic() + within_seconds
    for child in children:
        if child._process.poll() is None:
            child._process.send_signal(signal.SIGTERM)
    for child in children:
        child.stop(max(deadline - time.monotonic(), 0.1))
