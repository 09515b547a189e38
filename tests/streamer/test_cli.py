"""The command line lists its commands without importing them, and turns known errors into messages."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from types import ModuleType

import pytest
from typer.testing import CliRunner

from streamer import cli
from streamer.errors import BrokerError

run = CliRunner().invoke


def test_help_lists_every_command() -> None:
    result = run(cli.app, ["--help"])
    assert result.exit_code == 0
    for name in cli.COMMANDS:
        assert name in result.output


def test_help_imports_no_heavy_package() -> None:
    code = (
        "import sys; sys.argv = ['headwater', '--help']\n"
        "from streamer import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'faust', 'feast', 'fastapi', 'onnxruntime', 'pandas'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_threads_of_pytorch_that_wait_sleep_unless_somebody_has_said_otherwise() -> None:
    code = "import os, streamer.cli; print(os.environ['OMP_WAIT_POLICY'])"
    for given, expected in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
        result = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert result.stdout.strip() == expected


def test_version_is_the_installed_one() -> None:
    assert run(cli.app, ["--version"]).output.strip() == f"headwater {metadata.version('headwater')}"


def test_unknown_command_is_refused() -> None:
    result = run(cli.app, ["recommendify"])
    assert result.exit_code == 2
    assert "recommendify" in result.output


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_a_help_page(name: str) -> None:
    result = run(cli.app, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_known_errors_end_with_their_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise BrokerError("no broker answers at localhost:1; start one or set HEADWATER_KAFKA__BOOTSTRAP_SERVERS")

    module = ModuleType("streamer.commands.topics")
    module.command = command  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "streamer.commands.topics", module)
    monkeypatch.setattr(sys, "argv", ["headwater", "topics"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("headwater: no broker answers")
