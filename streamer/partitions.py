"""One events partition inside a worker: its state, its pipeline and its event log, guarded by one lock."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Lock

from feature_store.user_state import ItemInfo, UserState
from streamer.effects import Effects, Record
from streamer.event_log import EventLog
from streamer.pipeline import SessionPipeline
from streamer.settings import Settings
from streamer.state import PartitionState, StaleStateError, state_path

LOG_ROWS = 5_000
LOG_AGE_SECONDS = 10.0
_log = logging.getLogger(__name__)

Show = Callable[[Sequence[UserState]], float | None]


class Partition:
    """Applies records to the durable state of one events partition; safe to call from threads.

    Parameters
    ----------
    number
        Number of the partition.
    items
        What the catalogue says of each item.
    settings
        Folders, limits, gaps and windows.
    show
        Pushes users' states to the online store before the batch is durable; returns when, or None where it failed.
        A reader then does not wait for the disk, and a crash in between is mended by computing the same states again.
    """

    def __init__(self, number: int, items: Mapping[str, ItemInfo], settings: Settings, show: Show) -> None:
        path = state_path(settings.stores.sessions_dir, number)
        self.number = number
        self._show = show
        self.state = PartitionState(path)
        self._pipeline = SessionPipeline(number, self.state, items, settings)
        self._log = EventLog(path, settings.stores.event_log_dir, number)
        self._lock = Lock()
        self._log_lock = Lock()
        self._flushed_at = time.monotonic()

    def apply(self, records: Sequence[Record]) -> list[Effects]:
        """Compute the records' effects and make them durable; returns them for delivery."""
        with self._lock:
            try:
                return self._commit_all(records)
            except StaleStateError:  # another worker had the partition in between; the state has been read again
                return self._commit_all(records)
            except Exception:
                _log.exception("a batch of partition %d failed; its records are tried one by one", self.number)
                self.state.refresh()
                return [effects for record in records for effects in self._apply_alone(record)]

    def sweep(self, now_ms: int) -> list[Effects]:
        """Close the slates whose window is over by the clock of arrival; returns the effects for delivery."""
        with self._lock:
            effects = self._pipeline.sweep(now_ms)
            if effects is None:
                return []
            self.state.commit(effects)
            return [effects]

    def flush_log(self, everything: bool = False) -> int:
        """Write the event log where enough events wait, or have waited long enough; returns how many rows."""
        with self._log_lock:
            waited = time.monotonic() - self._flushed_at
            if not everything and waited < LOG_AGE_SECONDS and self._log.waiting() < LOG_ROWS:
                return 0
            self._flushed_at = time.monotonic()
            return self._log.flush_all()

    def settle(self) -> None:
        """Note at once what has been delivered."""
        with self._lock:
            self.state.clear_delivered()

    def close(self) -> None:
        """Write what can be written and close the files."""
        with self._lock, self._log_lock:
            self._log.close()
            self.state.close()

    def _commit_all(self, records: Sequence[Record]) -> list[Effects]:
        effects = self._pipeline.process(records)
        if effects is None:
            return []
        effects.shown_ms = self._show(effects.states)
        self.state.commit(effects)
        return [effects]

    def _apply_alone(self, record: Record) -> list[Effects]:
        try:
            return self._commit_all([record])
        except StaleStateError:
            raise
        except Exception as error:
            _log.exception("offset %d of partition %d becomes a dead letter", record.offset, self.number)
            self.state.refresh()
            effects = self._pipeline.reject(record, error)
            self.state.commit(effects)
            return [effects]
