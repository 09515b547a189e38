"""Soft labels as they come, held until their example asks for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from streamer.soft_labels import SoftLabel


class HeldLabels:
    """The newest labels by example id, bounded: the one that came first makes room.

    Parameters
    ----------
    most
        How many are held.

    Examples
    --------
    >>> def label(name, time_ms=0):
    ...     return SoftLabel(example_id=name, version="1", event_time_ms=0, labelled_ms=time_ms, partition=0, offset=0,
    ...                      item_ids=[], logits=[])
    >>> held = HeldLabels(most=2)
    >>> held.add([label("a"), label("b", 5), label("c"), label("b", 3)])
    >>> "a" in held, held.pop("b").labelled_ms, held.pop("b"), len(held)
    (False, 5, None, 1)
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.seen = 0
        self._labels: OrderedDict[str, SoftLabel] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are held."""
        return len(self._labels)

    def __contains__(self, example_id: object) -> bool:
        """Whether the label of an example is there."""
        return example_id in self._labels

    def add(self, labels: Iterable[SoftLabel]) -> None:
        """Take labels; of two for one example the one given later stays."""
        for label in labels:
            self.seen += 1
            before = self._labels.get(label.example_id)
            if before is None or before.labelled_ms <= label.labelled_ms:
                self._labels[label.example_id] = label
        while len(self._labels) > self.most:
            self._labels.popitem(last=False)

    def pop(self, example_id: str) -> SoftLabel | None:
        """Give out the label of an example, once."""
        return self._labels.pop(example_id, None)

    def state_dict(self) -> dict[str, Any]:
        """Labels in their order, as msgpack."""
        packed = msgspec.msgpack.encode(list(self._labels.values()))
        return {"seen": self.seen, "labels": np.frombuffer(packed, np.uint8)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``."""
        self.seen = state["seen"]
        labels = msgspec.msgpack.decode(np.asarray(state["labels"]).tobytes(), type=list[SoftLabel])
        self._labels = OrderedDict((label.example_id, label) for label in labels)
