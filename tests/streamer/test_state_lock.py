from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamer.errors import StateInUseError
from streamer.state_lock import StateLock


def test_a_folder_has_one_holder_at_a_time(tmp_path: Path) -> None:
    first = StateLock(tmp_path / "state", "a teacher")
    with pytest.raises(StateInUseError, match=r"a teacher runs on .*state already; .*HEADWATER_STORES__STATE_DIR"):
        StateLock(tmp_path / "state", "a teacher")
    first.close()
    StateLock(tmp_path / "state", "a teacher").close()


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from streamer.state_lock import StateLock;"
        "lock = StateLock(Path(sys.argv[1]), 'a teacher'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=60)
    assert (tmp_path / ".lock").exists(), "the other process did not come so far"
    StateLock(tmp_path, "a teacher").close()
