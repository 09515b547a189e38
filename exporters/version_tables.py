"""Tables of a version in one safetensors file.

``item_vectors`` [R, D] and ``item_features`` [R, G]; for a counting source ``<source>.items`` [R, M] int32 and
``<source>.weights`` [R, M] float32; the ids of the rows lie beside them as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from exporters.errors import RegistryError
from exporters.turns import let_others_run

IDS = "item_ids.json"
_BYTES_AT_ONCE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class VersionTables:
    """Arrays by name, and the id of every row (None where a row holds no item)."""

    arrays: Mapping[str, NDArray[Any]]
    item_ids: list[str | None]


def pack(arrays: Mapping[str, NDArray[Any]], item_ids: list[str | None]) -> bytes:
    """Bytes of a safetensors file, for :func:`read`."""
    ids = np.frombuffer(msgspec.json.encode(item_ids), np.uint8)
    held = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(safetensors.numpy.save({**held, IDS: ids}))


def read(path: Path) -> VersionTables:
    """Read the tables back, a megabyte at a time: whoever serves meanwhile goes on serving.

    Raises
    ------
    RegistryError
        The file is missing, no whole safetensors file, or without ids.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "tables.safetensors"
    >>> _ = path.write_bytes(pack({"item_vectors": np.ones((2, 3), np.float32)}, [None, "a"]))
    >>> read(path).item_ids, read(path).arrays["item_vectors"].shape
    ([None, 'a'], (2, 3))
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: _array(file, name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        item_ids = msgspec.json.decode(arrays.pop(IDS).tobytes(), type=list[str | None])
    except (safetensors.SafetensorError, OSError, KeyError, msgspec.DecodeError) as error:
        raise RegistryError(f"the tables of the version cannot be read: {error}") from error
    return VersionTables(arrays=arrays, item_ids=item_ids)


def _array(file: Any, name: str) -> NDArray[Any]:
    """Copy an array [N, …] out of a file; one copy of all of it would hold the interpreter to its end."""
    stored = file.get_slice(name)
    count = stored.get_shape()[0]
    if not count:
        return np.asarray(file.get_tensor(name))
    first: NDArray[Any] = stored[0:1]
    array = np.empty(stored.get_shape(), first.dtype)
    lines = max(1, _BYTES_AT_ONCE // max(first.nbytes, 1))
    for start in range(0, count, lines):
        part = slice(start, min(start + lines, count))
        array[part] = stored[part]
        let_others_run()
    return array
