from __future__ import annotations

import os
import time

import pytest

from streamer.bench.process_time import cpu_seconds, resident_bytes
from streamer.errors import HeadwaterError


def test_work_shows_and_sleep_does_not() -> None:
    before = cpu_seconds(os.getpid())
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    worked = cpu_seconds(os.getpid())
    assert worked - before >= 0.15
    assert resident_bytes(os.getpid()) > 10_000_000


def test_a_process_that_is_gone_is_named() -> None:
    with pytest.raises(HeadwaterError, match="999999999"):
        cpu_seconds(999_999_999)
