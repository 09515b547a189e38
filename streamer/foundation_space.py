"""Publishing the foundation model: item vectors to the registry, users' vectors to the feature store, one space."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exporters.announcements import Announcement, announcement_of
from exporters.errors import RegistryError
from exporters.foundation import MODEL, VECTORS
from exporters.manifest import Manifest
from exporters.registry import Draft, Registry
from feature_store.user_vectors import UserVectors
from online_models.foundation.alignment import Alignment, procrustes
from streamer.errors import HeadwaterError

_log = logging.getLogger(__name__)
_FEWEST_SHARED = 2  # in units of D: fewer items do not say how a space has turned


@dataclass(frozen=True, kw_only=True)
class Space:
    """Where the vectors of a version live, and how they get there."""

    name: str
    alignment: Alignment
    shared: int  # items that this version and the last have in common


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """What a refresh has come to."""

    items: Tensor  # [R, D]
    item_ids: list[str | None]
    sightings: Tensor  # [R]
    users: Iterator[tuple[list[str], Tensor]]  # in parts: ids [N], vectors [N, D]
    step: int
    offsets: dict[str, Any]
    metrics: dict[str, float]


class SpacePublisher:
    """Turns what a refresh has learnt into the space that is published, and publishes it.

    Item vectors go first: a user's vector that comes before its items do would find a space that nobody serves.

    Parameters
    ----------
    registry, users
        Where items and users go.
    most_residual
        A turn that leaves more of the last space unexplained begins a new one; users' vectors of the old one find
        nothing from then on, until they are written again a moment later.
    announce
        Tells the servers; what it raises on purpose is logged, as the registry has the last word.
    """

    def __init__(
        self,
        registry: Registry,
        users: UserVectors,
        most_residual: float,
        announce: Callable[[Announcement], None] | None = None,
    ) -> None:
        self._registry, self._users, self._most_residual = registry, users, most_residual
        self._announce = announce

    def publish(self, vectors: Vectors) -> tuple[Manifest, Space, int]:
        """Publish items, then users; returns the version, its space, and how many users.

        Raises
        ------
        HeadwaterError
            A vector is not finite. Nothing has been published then.
        """
        if not bool(torch.isfinite(vectors.items).all()):
            raise HeadwaterError("an item vector is not finite: nothing is published; lower foundation.learning_rate")
        space = self._space(vectors)
        written = self._registry.publish(_draft(vectors, space))
        count = 0
        for user_ids, found in vectors.users:
            aligned = space.alignment(found).numpy()
            self._users.push(
                user_ids, aligned, space=space.name, version=written.version, time_ms=time.time_ns() // 1_000_000
            )
            count += len(user_ids)
        self._tell(written)
        return written, space, count

    def _space(self, vectors: Vectors) -> Space:
        """Rotation onto the last published space, or a new space."""
        new = Space(name=f"s{time.time_ns()}", alignment=Alignment.identity(vectors.items.shape[1]), shared=0)
        last = self._last()
        if last is None:
            return new
        earlier, ids, name = last
        place_of = {item_id: row for row, item_id in enumerate(ids) if item_id is not None}
        pairs = [(row, place_of[item_id]) for row, item_id in enumerate(vectors.item_ids) if item_id in place_of]
        if earlier.shape[1] != vectors.items.shape[1] or len(pairs) < _FEWEST_SHARED * earlier.shape[1]:
            return new
        rows, places = (torch.tensor(side) for side in zip(*pairs, strict=True))
        found = procrustes(vectors.items[rows], earlier[places], vectors.sightings[rows].sqrt() + 1e-6)
        if found.residual > self._most_residual:
            _log.warning("the space has changed by %.2f of itself: a new one begins", found.residual)
            return new
        return Space(name=name, alignment=found, shared=len(pairs))

    def _last(self) -> tuple[Tensor, list[str | None], str] | None:
        pointer = self._registry.current(MODEL)
        if pointer is None:
            return None
        try:
            tables = self._registry.tables(MODEL, pointer.version)
            meta = self._registry.manifest(MODEL, pointer.version).meta
            return torch.from_numpy(np.array(tables.arrays[VECTORS])), tables.item_ids, str(meta["space"])
        except (RegistryError, KeyError) as error:
            _log.warning("version %s cannot be aligned with (%s): a new space begins", pointer.version, error)
            return None

    def _tell(self, written: Manifest) -> None:
        if self._announce is None:
            return
        try:
            self._announce(announcement_of(self._registry, written, "published"))
        except HeadwaterError as error:
            _log.warning("%s", error)


def _draft(vectors: Vectors, space: Space) -> Draft:
    aligned = space.alignment(vectors.items).numpy()
    aligned[[item_id is None for item_id in vectors.item_ids]] = 0
    return Draft(
        name=MODEL,
        graphs={},
        step=vectors.step,
        tables={VECTORS: aligned},
        item_ids=vectors.item_ids,
        metrics={**vectors.metrics, "alignment_residual": space.alignment.residual},
        offsets=vectors.offsets,
        meta={"space": space.name, "dimension": aligned.shape[1], "shared_items": space.shared},
    )
