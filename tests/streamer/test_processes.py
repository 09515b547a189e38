from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamer.errors import HeadwaterError
from streamer.processes import Child, stop_all


def ended(child: Child) -> int:
    return child._process.wait(60)


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Child:
    """A child that sleeps: its package `streamer` is a file of the working folder."""
    package = tmp_path / "streamer.py"
    package.write_text(
        "import os, signal, sys, time\n"
        "if 'stubborn' in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('runs', sys.argv[1:], os.environ['OMP_NUM_THREADS'], os.environ.get('COLOUR'), flush=True)\n"
        "time.sleep(120)\n"
    )
    monkeypatch.chdir(tmp_path)
    return Child(["sleep", "stubborn"], {"COLOUR": "red"}, tmp_path / "logs" / "sleep.log")


def wait_for_log(child: Child, lines: int, wait_until) -> list[str]:
    wait_until(lambda: len(child.log.read_text().splitlines()) >= lines, f"{lines} lines")
    return child.log.read_text().splitlines()


@pytest.fixture
def wait_until():
    import time

    def wait(condition, what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"no {what} after {seconds} s"
            time.sleep(0.02)

    return wait


def test_its_settings_and_its_log(sleeper: Child, wait_until) -> None:
    assert wait_for_log(sleeper, 1, wait_until) == ["runs ['sleep', 'stubborn'] 1 red"]
    sleeper.check()
    sleeper.kill()


def test_a_child_that_ended_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = Child(["no-such-command"], {}, tmp_path / "child.log")
    assert ended(child) == 2
    with pytest.raises(HeadwaterError, match=r"headwater no-such-command ended with status 2; .*child\.log:\n") as it:
        child.check()
    assert "No such command" in str(it.value)
    child.stop()


def test_who_does_not_listen_to_sigterm_is_killed(sleeper: Child, wait_until) -> None:
    wait_for_log(sleeper, 1, wait_until)
    sleeper.stop(within_seconds=0.2)
    assert sleeper._process.returncode == -9
    with pytest.raises(ProcessLookupError):
        os.kill(sleeper.pid, 0)
    sleeper.stop()


def test_a_crash_and_a_restart_write_one_log(sleeper: Child, wait_until) -> None:
    wait_for_log(sleeper, 1, wait_until)
    before = sleeper.pid
    sleeper.kill()
    with pytest.raises(HeadwaterError, match="ended with status -9"):
        sleeper.check()
    sleeper.restart()
    assert len(wait_for_log(sleeper, 2, wait_until)) == 2 and sleeper.pid != before
    sleeper.check()
    sleeper.kill()


def test_all_are_told_before_any_is_waited_for(sleeper: Child, tmp_path: Path, wait_until) -> None:
    polite = Child(["sleep"], {}, tmp_path / "polite.log")
    for child in (sleeper, polite):
        wait_for_log(child, 1, wait_until)
    stop_all([sleeper, polite], within_seconds=1)
    assert [child._process.returncode for child in (sleeper, polite)] == [-9, -15]


def test_a_child_keeps_its_metrics_to_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until) -> None:
    """Where its parent has imported Feast, the variable that makes metrics shared files must not reach the child."""
    names = ("PROMETHEUS_MULTIPROC_DIR", "PROMETHEUS_MULTIPROCESS_DIR")
    (tmp_path / "streamer.py").write_text(
        "import os\nprint(sorted(name for name in os.environ if name.startswith('PROMETHEUS')), flush=True)\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in names:
        monkeypatch.setenv(name, str(tmp_path))
    child = Child(["any"], {}, tmp_path / "any.log")
    assert wait_for_log(child, 1, wait_until) == ["[]"]
    child.stop()
