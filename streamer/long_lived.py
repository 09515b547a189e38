"""What stays for good, out of the sight of Python's collector of cycles."""

from __future__ import annotations

import gc


def set_aside() -> int:
    """Collect once, then let the collector pass over everything that is held now; returns how many objects that is.

    Now and then the collector looks at every object that it knows, and nothing else runs meanwhile: 0.4 s in a server
    that holds a catalogue of 100,000 items. What is set aside is still freed with its last reference; only a cycle that
    it is part of is not.

    Examples
    --------
    >>> held = [[number] for number in range(1_000)]
    >>> set_aside() >= len(held), any(one is held for one in gc.get_objects())
    (True, False)
    >>> gc.unfreeze()
    """
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()
