"""Long work beside requests."""

from __future__ import annotations

import time


def let_others_run() -> None:
    """Hand the interpreter to a thread that waits for it, if one does.

    Unasked, Python holds it for 5 ms at a time, and a list asks for it a dozen times. Work in the background calls this
    every millisecond or less.
    """
    time.sleep(0)
