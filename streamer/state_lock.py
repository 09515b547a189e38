"""One process at a time on a folder of state."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from streamer.errors import StateInUseError


class StateLock:
    """Holds a folder of state until it is closed or the process ends, however it ends.

    Parameters
    ----------
    folder
        Made where it is missing.
    whose
        Who holds it, for the error, such as "a teacher".

    Raises
    ------
    StateInUseError
        Another process holds the folder.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> lock = StateLock(folder, "a teacher")
    >>> StateLock(folder, "a teacher")
    Traceback (most recent call last):
        ...
    streamer.errors.StateInUseError: a teacher runs on ... already; stop that one, or give this one another folder...
    >>> lock.close()
    """

    def __init__(self, folder: Path, whose: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets it go with the process
        except OSError as error:
            os.close(self._handle)
            raise StateInUseError(
                f"{whose} runs on {folder} already; stop that one, or give this one another folder"
                " (HEADWATER_STORES__STATE_DIR)"
            ) from error

    def close(self) -> None:
        """Let the folder go."""
        os.close(self._handle)
