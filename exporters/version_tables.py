"""Tables of a version in one safetensors file.

``item_vectors`` [R, D] and ``item_features`` [R, G]; for a counting source ``<source>.items`` [R, M] int32 and
``<source>.weights`` [R, M] float32; the ids of the rows lie beside them as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from exporters.errors import RegistryError

IDS = "item_ids.json"


@dataclass(frozen=True, kw_only=True)
class VersionTables:
    """Arrays by name, and the id of every row (None where a row holds no item)."""

    arrays: Mapping[str, NDArray[Any]]
    item_ids: list[str | None]


def pack(arrays: Mapping[str, NDArray[Any]], item_ids: list[str | None]) -> bytes:
    """Bytes of a safetensors file.

    >>> unpack(pack({"item_vectors": np.ones((2, 3), np.float32)}, [None, "a"])).item_ids
    [None, 'a']
    """
    ids = np.frombuffer(msgspec.json.encode(item_ids), np.uint8)
    held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(safetensors.numpy.save({**held, IDS: ids}))


def unpack(content: bytes) -> VersionTables:
    """Read the tables back."""
    try:
        arrays = safetensors.numpy.load(content)
        item_ids = msgspec.json.decode(arrays.pop(IDS).tobytes(), type=list[str | None])
    except (safetensors.SafetensorError, KeyError, msgspec.DecodeError) as error:
        raise RegistryError(f"the tables of the version cannot be read: {error}") from error
    return VersionTables(arrays=arrays, item_ids=item_ids)
