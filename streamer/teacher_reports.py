"""What the teacher says of itself: metrics, log and announcements."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from exporters.announcements import Announcement
from streamer import metrics
from streamer.soft_labels import SoftLabel
from streamer.teacher import MODEL, Teacher
from streamer.teacher_labels import Received
from streamer.teacher_refresh import Refreshed

_TOLD_EVERY_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Told:
    """Says in the log how far a refresh is, not more often than every few seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Take how many examples are done, of all."""
        if time.monotonic() - self._last >= _TOLD_EVERY_SECONDS:
            self._last = time.monotonic()
            _log.info("refresh: %d of %d examples (%.0f %%)", done, total, 100 * done / max(total, 1))


def show_labels(written: Sequence[SoftLabel], received: Sequence[Received], teacher: Teacher) -> None:
    """Count labels that are on the topic now, and their ages since the examples' events."""
    metrics.SOFT_LABELS_WRITTEN.inc(len(written))
    now_ms, ids = time.time_ns() / 1e6, {label.example_id for label in written}
    for _, _, example in received:
        if example.example_id in ids:
            metrics.SOFT_LABEL_AGE_SECONDS.observe(max(now_ms - example.published_time_ms, 0) / 1e3)
    metrics.show_learning(MODEL, teacher.plotted, teacher.network.network.learner.clipping_factors())
    metrics.TEACHER_WINDOW_EXAMPLES.set(len(teacher.window))
    quality = teacher.quality.read()
    if quality:
        metrics.TEACHER_AGREEMENT.set(quality["hr@10"])


def show_refresh(refreshed: Refreshed, adopted: bool, teacher: Teacher) -> None:
    """Say in the log and the metrics what a refresh has come to."""
    outcome, said = ("adopted", "labels from now on") if adopted else ("dropped", "goes on labelling")
    _log.info(
        "refresh %s after %.1f s: held-out loss %.4f -> %.4f; %s %s",
        outcome, refreshed.seconds, refreshed.before.mean, refreshed.after.mean, teacher.version, said,
    )  # fmt: skip
    metrics.TEACHER_REFRESHES.labels(outcome=outcome).inc()
    metrics.TEACHER_REFRESH_SECONDS.observe(refreshed.seconds)
    metrics.TEACHER_VERSION.set(teacher.number)
    metrics.TEACHER_HELD_OUT_LOSS.labels(weights="before").set(refreshed.before.mean)
    metrics.TEACHER_HELD_OUT_LOSS.labels(weights="after").set(refreshed.after.mean)


def announcement_of(
    refreshed: Refreshed, adopted: bool, teacher: Teacher, reason: str, offsets: Mapping[int, int]
) -> Announcement:
    """Announce the new version, or that a refresh was dropped."""
    return Announcement(
        name=MODEL,
        kind="published" if adopted else "refused",
        version=teacher.version,
        step=teacher.labelled,
        metrics=refreshed.metrics(),
        offsets={str(partition): offset for partition, offset in offsets.items()},
        reason=reason if adopted else f"the loss on what was held out is not better ({reason})",
        time_ms=time.time_ns() // 1_000_000,
    )
