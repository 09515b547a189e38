"""What the catalogue says of an item, as a few hashed tokens: all that a new item has."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

BUCKETS = 8_192
SLOTS = 16

_word = re.compile(r"\w+")


def tokens(
    categories: Sequence[str] = (),
    title: str = "",
    price: float | None = None,
    *,
    slots: int = SLOTS,
    buckets: int = BUCKETS,
) -> NDArray[np.int64]:
    """Hash categories, price bucket and title words into ``1 .. buckets - 1``; 0 pads. [slots].

    Categories come first: where there are more tokens than slots, words of the title are left out. Each kind hashes in
    a space of its own, so the category "drama" and the word "drama" are two tokens.

    >>> here, there = tokens(["Drama"], "The Piano"), tokens(["Drama"], "Shine")
    >>> len(set(here) - {0}), len(set(there) - {0}), len(set(here) & set(there) - {0})
    (3, 2, 1)
    """
    named = [*(f"category:{name.lower()}" for name in categories), *_price(price), *_words(title)]
    found = np.zeros(slots, np.int64)
    for place, name in enumerate(dict.fromkeys(named[:slots])):
        found[place] = 1 + zlib.crc32(name.encode()) % (buckets - 1)
    return found


def _words(title: str) -> Iterable[str]:
    return (f"word:{word}" for word in _word.findall(title.lower()))


def _price(price: float | None) -> list[str]:
    """Bucket of a price: four to a factor of ten."""
    if price is None or not math.isfinite(price) or price <= 0:
        return []
    return [f"price:{math.floor(4 * math.log10(price))}"]
