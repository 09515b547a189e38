"""Every error that Headwater raises on purpose, in one tree.

::

    HeadwaterError
    ├── SettingsError          a setting is out of its range, or two settings contradict each other
    ├── EventError             an event breaks the contract (has a machine-readable ``reason``)
    ├── SourceError            a data set or an event file cannot be read
    ├── BrokerError            no broker answers, or a topic is missing
    ├── SnapshotError          a snapshot or a state file is damaged or of another version
    └── StateInUseError        another process holds a folder of state

Messages say what was given, what is allowed and what to do.
"""

from __future__ import annotations


class HeadwaterError(Exception):
    """Root of the tree: catch this to catch everything that Headwater raises on purpose."""


class SettingsError(HeadwaterError):
    """A setting is out of its range, or two settings contradict each other."""


class EventError(HeadwaterError):
    """An event breaks the contract.

    Parameters
    ----------
    reason
        A short machine-readable word, used as a metric label and in the dead-letter topic (``malformed_json``,
        ``wrong_type``, ``missing_field``, ``time_out_of_range``, ``too_large`` …).
    message
        What was given, what is allowed.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class SourceError(HeadwaterError):
    """A data set or an event file cannot be read."""


class BrokerError(HeadwaterError):
    """No broker answers, or a topic is missing."""


class SnapshotError(HeadwaterError):
    """A snapshot or a state file is damaged or of another version."""


class StateInUseError(HeadwaterError):
    """Another process holds a folder of state."""
