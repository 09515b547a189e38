from __future__ import annotations

import pytest
from typer.testing import CliRunner

from streamer.broker import free_port
from streamer.cli import app
from streamer.errors import BrokerError


def test_help_says_what_it_does() -> None:
    result = CliRunner().invoke(app, ["teach", "--help"], catch_exceptions=False)
    assert result.exit_code == 0
    for word in ("--refresh", "soft-labels", "teacher.scale"):
        assert word in result.output


def test_asking_without_a_broker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{free_port()}")
    with pytest.raises(BrokerError, match="did not take the announcement"):
        CliRunner().invoke(app, ["teach", "--refresh"], catch_exceptions=False)
