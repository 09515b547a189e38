"""Prometheus metrics of the worker and the trainer, and the port that serves them.

Every name starts with ``headwater_`` and ends with its unit; counters end with ``_total`` when they are read. The
serving process has its own in :mod:`exporters.metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram, start_http_server

LATENCY_BUCKETS_SECONDS = (
    0.001, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Bounds of the latency histograms: dense around the goals of 50 ms (session) and 1 s (weights)."""

# the worker
EVENTS_CONSUMED = Counter("headwater_events_consumed", "Valid events whose effects are durable, once each.", ["type"])
DEAD_LETTERS = Counter("headwater_dead_letters", "Messages sent to the dead-letter topic.", ["reason"])
DUPLICATES = Counter("headwater_duplicate_events", "Events skipped because their event_id was already applied.")
LATE = Counter("headwater_late_events", "Events older than their session's watermark; merged by event time.")
EXAMPLES_WRITTEN = Counter("headwater_examples_written", "Labelled examples written to the examples topic.", ["kind"])
SESSION_VISIBLE_SECONDS = Histogram(
    "headwater_session_visible_seconds",
    "From the broker's timestamp of an event until the user's session and features in the online store reflect it.",
    buckets=LATENCY_BUCKETS_SECONDS,
)
CONSUMER_LAG = Gauge(
    "headwater_consumer_lag_messages",
    "Messages between the end of the partition and what this process has applied.",
    ["topic", "partition"],
)
ASSIGNED = Gauge("headwater_assigned_partitions", "Partitions of the events topic that this worker reads.")

# the trainer
TRAINER_INFO = Gauge("headwater_trainer_info", "1 for the student that this trainer holds.", ["model", "family"])
EXAMPLES_LEARNED = Counter("headwater_examples_learned", "Labelled examples that a learning step has taken in.")
LEARNING_SHED = Counter(
    "headwater_learning_shed",
    "Replayed batches and tests before learning that a trainer has left out to catch up; examples never are.",
    ["learner", "what"],
)
LEARNING_LOSS = Gauge("headwater_learning_loss", "Loss of the last micro-batch, before its step.", ["learner"])
GRADIENT_NORM = Gauge("headwater_gradient_norm", "Length of the last gradient before it was clipped.", ["learner"])
UPDATE_RATIO = Gauge(
    "headwater_update_ratio", "Length of the last step over the length of the weights that it moved.", ["learner"]
)
CLIPPING_FACTOR = Gauge(
    "headwater_clipping_factor_ratio",
    "Share of its last step that Clippy let a tensor take; 1 where nothing was cut.",
    ["learner", "parameter"],
)
SKIPPED_STEPS = Gauge(
    "headwater_skipped_steps", "Steps not taken because loss or gradient was not finite, since the start.", ["learner"]
)
LOSS_SPIKES = Gauge("headwater_loss_spikes", "Losses far above the recent ones, since the start.", ["learner"])
PREQUENTIAL = Gauge(
    "headwater_prequential_ratio",
    "Test-then-learn quality over the recent examples: hr@10 and ndcg@10 of what was served and of the baselines.",
    ["metric", "model"],
)
PUBLISHED_MODELS = Counter("headwater_published_models", "Published versions, by what was published.", ["kind"])
PUBLISH_REJECTED = Counter("headwater_publish_rejected", "Versions that a gate kept from being served.", ["gate"])
PARITY_MAX_ABS = Gauge(
    "headwater_parity_max_abs_logits",
    "Largest absolute difference between torch and ONNX Runtime at the last publish.",
)
PUBLISH_SECONDS = Histogram(
    "headwater_publish_seconds",
    "Time to write, check and announce one version.",
    buckets=LATENCY_BUCKETS_SECONDS,
)
ROWS_PUBLISHED = Counter("headwater_rows_published", "Row deltas written to the weights topic.", ["table"])
ROWS_REFUSED = Counter("headwater_rows_refused", "Rows that were not published: not finite, or too large.", ["reason"])
REPAIRS_ASKED = Counter(
    "headwater_row_repairs_asked", "Requests of servers to publish rows of a table again.", ["table"]
)
PUBLISHING_HELD = Gauge("headwater_publishing_held_ratio", "1 while publishing is on hold.", ["model"])
VECTORS_HELD = Gauge("headwater_vectors_held_ratio", "1 while the gate keeps item vectors back.", ["model"])
WEIGHTS_STEP = Gauge("headwater_weights_step_examples", "Learned examples that the last published weights reflect.")
SNAPSHOT_SECONDS = Histogram(
    "headwater_snapshot_seconds",
    "Time to write one atomic snapshot of weights, optimiser, counters and offsets.",
    buckets=LATENCY_BUCKETS_SECONDS,
)

# the drift monitor, in the trainer
DRIFT_ALARMS = Counter("headwater_drift_alarms", "Confirmed moves of a signal.", ["model", "signal"])
DRIFT_DISMISSED = Counter(
    "headwater_drift_dismissed", "Moves that a detector proposed and fresh examples refuted.", ["model", "signal"]
)
DRIFT_ACTIONS = Counter(
    "headwater_drift_actions",
    "Actions by what became of them: started, ended, reverted, dry-run or refused.",
    ["model", "kind", "state"],
)
DRIFT_ACTIVE = Gauge("headwater_drift_action_active_ratio", "1 while an action lasts.", ["model", "kind"])
DRIFT_SIGNAL = Gauge(
    "headwater_drift_signal_value", "Level of a watched signal over its latest window.", ["model", "signal"]
)
DRIFT_REFERENCE = Gauge(
    "headwater_drift_reference_value", "Level of a watched signal before its latest window.", ["model", "signal"]
)
DRIFT_EVIDENCE = Gauge(
    "headwater_drift_evidence_examples", "Examples behind the two sides of the last alarm.", ["model", "signal"]
)

# the foundation model
FOUNDATION_WINDOWS = Counter(
    "headwater_foundation_windows", "Windows of histories trained on: the newest, or replayed ones.", ["kind"]
)
FOUNDATION_REFRESH_SECONDS = Histogram(
    "headwater_foundation_refresh_seconds",
    "From the first new event read until users and items are published.",
    buckets=(1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0),
)
FOUNDATION_VERSION = Gauge("headwater_foundation_version_steps", "Optimiser steps behind the version published last.")
FOUNDATION_RESIDUAL = Gauge(
    "headwater_foundation_alignment_residual_ratio",
    "Share of the last published item vectors that no rotation of the new ones explains.",
)
FOUNDATION_USERS = Gauge("headwater_foundation_users", "Users whose vectors were published last.")
FOUNDATION_ITEMS = Gauge("headwater_foundation_items", "Items whose vectors were published last.")
FOUNDATION_RECALL = Gauge(
    "headwater_foundation_recall_ratio",
    "Share of newest events among the ten best, ranked before a refresh learnt them, 0 before the second refresh:"
    " by the model, by popularity.",
    ["scorer"],
)
for _scorer in ("model", "popular"):  # so that a panel has a line from the start
    FOUNDATION_RECALL.labels(scorer=_scorer)

# the teacher
SOFT_LABELS_WRITTEN = Counter("headwater_soft_labels_written", "Examples that the teacher has labelled, once each.")
SOFT_LABEL_AGE_SECONDS = Histogram(
    "headwater_soft_label_age_seconds",
    "From the broker's timestamp of an example's event until its soft label is on the topic.",
    buckets=(*LATENCY_BUCKETS_SECONDS, 60.0, 300.0, 1_800.0),
)
TEACHER_VERSION = Gauge("headwater_teacher_version_number", "Version of the teacher that labels now.")
TEACHER_REFRESHES = Counter(
    "headwater_teacher_refreshes", "Refreshes of the teacher: adopted, dropped (not better), or failed.", ["outcome"]
)
TEACHER_ASKED = Counter(
    "headwater_teacher_refreshes_asked", "Why refreshes were begun: first, interval, drift or request.", ["reason"]
)
TEACHER_REFRESH_SECONDS = Histogram(
    "headwater_teacher_refresh_seconds",
    "Time of one refresh, from the copy of the weights to the check on what was held out.",
    buckets=(1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0),
)
TEACHER_WINDOW_EXAMPLES = Gauge("headwater_teacher_window_examples", "Examples in the teacher's training window.")
TEACHER_HELD_OUT_LOSS = Gauge(
    "headwater_teacher_held_out_loss", "Loss on the newest part of the window at the last refresh.", ["weights"]
)
TEACHER_AGREEMENT = Gauge(
    "headwater_teacher_agreement_ratio",
    "Share of the recent examples whose taken item is in the teacher's ten best, labelled before it was known.",
)

# the label store, and students that learn from it
LABELS_STORED = Counter("headwater_labels_stored", "Soft labels written to the store, once each.")
LABELS_UNREADABLE = Counter("headwater_labels_unreadable", "Records of the labels' topic that are no soft labels.")
LABEL_FILES = Gauge("headwater_label_files", "Files in the label store.")
LABEL_FLUSH_SECONDS = Histogram(
    "headwater_label_flush_seconds", "Time to write waiting labels to files.", buckets=LATENCY_BUCKETS_SECONDS
)
SOFT_LABEL_JOINS = Counter(
    "headwater_soft_label_joins",
    "Examples by what became of their soft label: joined, missed (hard label alone), stale (of the missed: too late).",
    ["learner", "result"],
)
SOFT_LABEL_JOIN_SECONDS = Histogram(
    "headwater_soft_label_join_seconds",
    "From the broker's timestamp of an example's event until a student learns its soft label.",
    ["learner"],
    buckets=(*LATENCY_BUCKETS_SECONDS, 60.0, 300.0, 1_800.0),
)
SOFT_LABEL_COVERAGE = Gauge(
    "headwater_soft_label_coverage_ratio",
    "Share of the recent examples whose soft label was there in time.",
    ["learner"],
)
SOFT_LABEL_WAITING = Gauge(
    "headwater_soft_label_waiting_examples", "Examples that wait for their soft label.", ["learner"]
)
SOFT_LABEL_AGREEMENT = Gauge(
    "headwater_soft_label_agreement_ratio",
    "Share of the recent joined examples whose taken item is among the teacher's best, by depth.",
    ["learner", "depth"],
)


LEARNING_GAUGES = {
    "loss": LEARNING_LOSS,
    "gradient_norm": GRADIENT_NORM,
    "update_ratio": UPDATE_RATIO,
    "skipped_steps": SKIPPED_STEPS,
    "loss_spikes": LOSS_SPIKES,
}
"""What ``learn`` returns, by the gauge that shows it."""


def show_shed(learner: str, plotted: Mapping[str, float]) -> None:
    """Count what a step has left out to catch up."""
    for what in ("replay", "test"):
        if plotted.get(f"shed_{what}"):
            LEARNING_SHED.labels(learner=learner, what=what).inc()


def show_learning(learner: str, plotted: Mapping[str, float], factors: Mapping[str, float]) -> None:
    """Show what a step returned, and Clippy's factor of each parameter."""
    for name, gauge in LEARNING_GAUGES.items():
        if name in plotted:
            gauge.labels(learner=learner).set(plotted[name])
    for parameter, factor in factors.items():
        CLIPPING_FACTOR.labels(learner=learner, parameter=parameter).set(factor)


def start(port: int, host: str = "0.0.0.0") -> int:
    """Serve ``/metrics`` from a daemon thread.

    Parameters
    ----------
    port
        The port to listen on; 0 picks a free one.
    host
        The address to listen on.

    Returns
    -------
    int
        The port that is listened on.

    Raises
    ------
    OSError
        If the port is taken: another worker or trainer of this machine serves its metrics there.
    """
    server, _ = start_http_server(port, host)
    return int(server.server_port)
