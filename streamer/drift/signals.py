"""All signals of one student, each with its watch."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from feature_store.vectors import NAMES
from streamer.drift.behaviour import Behaviour
from streamer.drift.harm_watch import HarmWatch
from streamer.drift.mean_watch import MeanWatch, Shift, Strictness
from streamer.drift.psi import compare_features, compare_names
from streamer.drift.readings import Readings
from streamer.drift.records import Moved
from streamer.drift.settings import Drift
from streamer.drift.window_watch import WindowSizes, WindowWatch
from streamer.examples import Example

TESTED = {"loss": 1, "calibration": 1, "hits": -1, "ranks": 1, "quality": -1, "movement": 1}
OBSERVED = {"answers": -1, "places": 1, "surprise": 1}
DIRECTIONS = TESTED | OBSERVED
"""The signals whose mean is watched: 1 where a rise is bad, -1 where a fall is, 0 for both."""
_LEAST_EFFECTS = {"movement": 0.4}  # it wanders by itself while a learner learns
_MEMORY = 3_000
_CALENDAR = ("bias", "hour_sin", "hour_cos", "weekday_sin", "weekday_cos")  # they move with every hour
_WATCHED = [place for place, name in enumerate(NAMES) if name not in _CALENDAR]


class Found(NamedTuple):
    """A confirmed move of one signal."""

    signal: str
    detector: str
    since_example: int
    shift: Shift
    moved: list[Moved]


class Signals:
    """Feeds the watches and turns their shifts into places of the stream.

    Parameters
    ----------
    settings
        Detectors and thresholds.
    """

    def __init__(self, settings: Drift) -> None:
        strictness = Strictness(
            warm_up=settings.warm_up_examples,
            confirm=settings.confirm_examples,
            least_effect=settings.least_effect,
            least_t=settings.least_t,
            delta=settings.delta,
            memory=max(_MEMORY, 2 * settings.warm_up_examples),
        )
        sizes = WindowSizes(
            reference=settings.reference_examples, window=settings.window_examples, floor=settings.least_psi
        )
        sizes_of_names = replace(sizes, window=settings.names_window_examples)
        self.harm = HarmWatch(settings.alpha)
        self.levels_watched = {
            name: MeanWatch(settings.detector, _stricter(strictness, name), direction)
            for name, direction in DIRECTIONS.items()
        }
        self._behaviour = Behaviour()
        self.means: dict[str, MeanWatch | HarmWatch] = {**self.levels_watched, "harm": self.harm}
        features = compare_features([NAMES[place] for place in _WATCHED])
        self.mixes: dict[str, WindowWatch[Any]] = {
            "features": WindowWatch(features, sizes),
            "items": WindowWatch(compare_names("category"), sizes_of_names),
            "surfaces": WindowWatch(compare_names("surface"), sizes_of_names),
        }
        length = strictness.memory + 1
        self._numbers: dict[str, deque[int]] = {name: deque(maxlen=length) for name in self.means}

    @property
    def suspicious(self) -> bool:
        """Whether a move may be near that more tested examples would show sooner."""
        return any(self.levels_watched[name].suspicious for name in TESTED)

    def test(self, readings: Readings, first: int) -> Iterator[Found]:
        """Take what a tested batch says; ``first`` is the number of its first example."""
        for name, values in readings.values.items():
            for place, value in zip(readings.places, values, strict=True):
                found = None if math.isnan(value) else self._take(name, value, first + place)
                if found is not None:
                    yield found

    def observe(self, example: Example, categories: Sequence[str], number: int) -> Iterator[Found]:
        """Take an example, tested or not: what its user did, the categories of the item taken, its surface."""
        for name, value in self._behaviour.read(example).items():
            found = self._take(name, value, number)
            if found is not None:
                yield found
        rows: dict[str, Any] = {"features": [example.features[place] for place in _WATCHED]}
        rows["surfaces"] = (example.surface or "(none)",)
        if categories:
            rows["items"] = tuple(categories)
        for name, row in rows.items():
            watch = self.mixes[name]
            shift = watch.update(row)
            if shift is not None:
                yield Found(name, "psi", max(number - shift.length + 1, 0), shift, list(watch.moved))

    def levels(self) -> dict[str, tuple[float, float]]:
        """Each signal's latest level and the one before it; signals without values are left out."""
        found = {name: watch.recent() for name, watch in self.means.items()}
        found |= {name: (watch.last, watch.usual()) for name, watch in self.mixes.items()}
        return {name: pair for name, pair in found.items() if not np.isnan(pair).any()}

    def dismissed(self) -> dict[str, int]:
        """Proposals that were not confirmed, by signal."""
        return {name: watch.dismissed for name, watch in (*self.means.items(), *self.mixes.items())}

    def state_dict(self) -> dict[str, Any]:
        """Return the values kept; the windows of distributions fill anew, and what stood frozen is replaced."""
        levels = {
            name: {"values": watch.values(), "numbers": np.array(self._numbers[name], np.int64)}
            for name, watch in self.levels_watched.items()
        }
        return {"levels": levels, "behaviour": self._behaviour.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue; detectors learn again from the values kept."""
        self._behaviour.load_state_dict(state.get("behaviour", {"latest": []}))
        for name, kept in state.get("levels", state).items():  # snapshots of earlier versions have nothing around it
            if name in self.levels_watched:
                self._numbers[name].extend(np.asarray(kept["numbers"]).tolist())
                self.levels_watched[name].refill(np.asarray(kept["values"]))

    def _take(self, name: str, value: float, number: int) -> Found | None:
        watch, numbers = self.means[name], self._numbers[name]
        numbers.append(number)
        shift = watch.update(value)
        if shift is None:
            return None
        return Found(name, watch.name, numbers[-min(shift.length, len(numbers))], shift, [])


def _stricter(strictness: Strictness, signal: str) -> Strictness:
    return replace(strictness, least_effect=max(strictness.least_effect, _LEAST_EFFECTS.get(signal, 0.0)))
