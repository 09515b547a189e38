"""What follows from a student's name: its consumer group and its folders. The default name keeps the plain ones."""

from __future__ import annotations

from exporters.deltas import DEFAULT_MODEL
from streamer.settings import Settings

GROUP = "headwater-trainer"


def named(plain: str, name: str) -> str:
    """Tell one student's group or folder from another's.

    >>> named(GROUP, "student"), named(GROUP, "caser")
    ('headwater-trainer', 'headwater-trainer-caser')
    """
    return plain if name == DEFAULT_MODEL else f"{plain}-{name}"


def is_default(settings: Settings) -> bool:
    """Whether this trainer's student is the default one."""
    return settings.learning.name == DEFAULT_MODEL
