"""A ranked list with all that was known while it was made."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Stopwatch:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one stage."""
        start = time.perf_counter()
        yield
        self.timings_ms[name] = round(1_000 * (time.perf_counter() - start), 3)

    def total(self) -> dict[str, float]:
        """All stages with ``total`` since the watch was made."""
        return {**self.timings_ms, "total": round(1_000 * (time.perf_counter() - self.started), 3)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Slate:
    """A ranked list and all that was known while ranking it. Arrays run in the order of the list."""

    item_ids: tuple[str, ...]
    scores: NDArray[np.float32]  # [K]
    source_scores: NDArray[np.float32]  # [K, S]
    propensities: NDArray[np.float32]  # [K]
    context_features: NDArray[np.float32] | None = None  # [F]
    student: str | None = None
    model_version: str | None = None
    fallback: bool = False
    reason: str | None = None
    explanation: list[dict[str, Any]] | None = None  # [K]
    state: dict[str, Any] | None = None
    intents: dict[str, list[dict[str, Any]]] | None = None
    session_id: str | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    candidates: int = 0
