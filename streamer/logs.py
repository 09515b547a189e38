"""The log of a server: lines of JSON for machines, plain text on a terminal."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec

from exporters.request_context import CURRENT
from streamer.settings import Logs

_LIBRARIES = ("aiokafka", "kafka", "feast")
_CHATTY = (*_LIBRARIES, "exporters.desk")
_MOST_MESSAGES = 1_000
_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class RequestIds(logging.Filter):
    """Gives each record the id of the request that it was written for."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything through."""
        current = CURRENT.get()
        if current is not None:
            record.request_id = current.request_id
        return True


class Repeats(logging.Filter):
    """Lets a message through once in ``seconds`` where a part repeats itself while the broker or the store is gone.

    Parameters
    ----------
    seconds
        From one to the next of the same message, whatever was filled into it.
    clock
        Seconds, monotonic.
    """

    def __init__(self, seconds: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds, self._clock = seconds, clock
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out what was said a moment ago."""
        if not record.name.startswith(_CHATTY):
            return True
        now, said = self._clock(), f"{record.name} {record.msg}"
        if now - self._said.get(said, -self._seconds) < self._seconds:
            return False
        if len(self._said) >= _MOST_MESSAGES:
            self._said.clear()
        self._said[said] = now
        return True


class JsonLines(logging.Formatter):
    """One JSON object a record; what was passed as ``extra={"fields": {…}}`` becomes members.

    >>> record = logging.LogRecord("a.b", logging.INFO, "", 0, "%d rows", (3,), None)
    >>> msgspec.json.decode(JsonLines().format(record))["message"]
    '3 rows'
    """

    def format(self, record: logging.LogRecord) -> str:
        """Turn a record into its line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", None):
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


def configure(logs: Logs, stream: TextIO | None = None) -> None:
    """Send everything that this process logs to one stream; stderr where none is given."""
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    handler.addFilter(RequestIds())
    handler.addFilter(Repeats())
    as_json = logs.format == "json" or (logs.format == "auto" and not out.isatty())
    handler.setFormatter(JsonLines() if as_json else logging.Formatter(_TEXT))
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(logs.level)


def set_level(level: str) -> None:
    """Leave out records below a level from now on."""
    logging.getLogger().setLevel(level)
