"""Items by the foundation model: what a server searches with a user's vector, kept at the version that serves.

Item vectors come from the registry, users' vectors from the feature store, at different moments. Both carry the name
of their space; a vector of another space finds nothing, rather than something at random.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.registry import Registry
from exporters.retrieval import VectorIndex

MODEL = "foundation"
VECTORS = "foundation_item_vectors"


class FoundationIndex:
    """An ANN index over the published item vectors.

    Parameters
    ----------
    registry
        Where versions lie.
    name
        Of the model.

    Examples
    --------
    >>> import tempfile
    >>> from exporters.registry import Draft
    >>> registry, vectors = Registry(tempfile.mkdtemp()), np.array([[0, 0], [0, 0], [1, 0], [0, 1]], np.float32)
    >>> _ = registry.publish(Draft(name=MODEL, graphs={}, step=1, tables={VECTORS: vectors},
    ...                            item_ids=[None, None, "a", "b"], meta={"space": "s1"}))
    >>> index = FoundationIndex(registry)
    >>> index.follow(), index.search(np.array([0, 1], np.float32), "s1", k=1)
    (True, [('b', 1.0)])
    >>> index.search(np.array([0, 1], np.float32), "an earlier space", k=1)
    []
    """

    def __init__(self, registry: Registry, name: str = MODEL) -> None:
        self._registry, self._name = registry, name
        self._held: _Version | None = None

    @property
    def version(self) -> str:
        """Version that is searched; empty before the first."""
        return "" if self._held is None else self._held.version

    @property
    def space(self) -> str:
        """Space of the vectors; empty before the first version."""
        return "" if self._held is None else self._held.space

    def __len__(self) -> int:
        """Return the number of items."""
        return 0 if self._held is None else len(self._held.index)

    def follow(self) -> bool:
        """Take up the version that the registry points to; whether it was another one.

        The new index is built beside the old one and switched whole, so searches never mix two versions.

        Raises
        ------
        RegistryError
            The version is damaged; what was searched before still is.
        """
        pointer = self._registry.current(self._name)
        if pointer is None or pointer.version == self.version:
            return False
        self._held = _Version(self._registry, self._name, pointer.version)
        return True

    def search(self, vector: NDArray[np.float32], space: str, k: int) -> list[tuple[str, float]]:
        """Best ``k`` items for a user's vector [D] of the named space, best first, with their scores."""
        held = self._held
        if held is None or space != held.space or vector.shape != (held.index.dimension,):
            return []
        rows, scores = held.index.search(vector, k)
        pairs = zip(rows.tolist(), scores.tolist(), strict=True)
        return [(item_id, score) for row, score in pairs if (item_id := held.item_ids[row]) is not None]


class _Version:
    """One version, ready to be searched."""

    def __init__(self, registry: Registry, name: str, version: str) -> None:
        tables = registry.tables(name, version)
        meta: dict[str, Any] = registry.manifest(name, version).meta
        vectors = np.asarray(tables.arrays[VECTORS], np.float32)  # [R, D]
        self.version, self.space, self.item_ids = version, str(meta.get("space", "")), tables.item_ids
        rows = np.array([row for row, item_id in enumerate(tables.item_ids) if item_id is not None], np.int64)
        self.index = VectorIndex(vectors.shape[1])
        self.index.upsert(rows, vectors[rows])
