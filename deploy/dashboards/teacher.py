"""Teacher and labels: what is labelled, how late, how well, and what the students get of it."""

from __future__ import annotations

from deploy.dashboards.panels import Page, Panel
from deploy.dashboards.promql import or_zero, quantile, rate

PAGE = Page(
    uid="headwater-teacher",
    title="Headwater: teacher and labels",
    panels=(
        Panel(
            title="Soft labels",
            unit="eps",
            width=8,
            queries={
                "written": rate("headwater_soft_labels_written_total"),
                "stored": rate("headwater_labels_stored_total"),
                "unreadable": rate("headwater_labels_unreadable_total"),
            },
        ),
        Panel(
            title="Age of a label",
            unit="s",
            width=8,
            queries={
                "on the topic, p95": or_zero(quantile(0.95, "headwater_soft_label_age_seconds")),
                "{{learner}} learns it, p95": or_zero(
                    quantile(0.95, "headwater_soft_label_join_seconds", by="learner")
                ),
            },
            about="Alert: TeacherBehind.",
        ),
        Panel(
            title="Labels in time",
            unit="percentunit",
            width=8,
            queries={"{{learner}}": or_zero("min by (learner) (headwater_soft_label_coverage_ratio)")},
            about="Alert: SoftLabelsMissing.",
        ),
        Panel(
            title="What became of the labels",
            unit="eps",
            width=8,
            queries={
                "{{learner}} {{result}}": or_zero(rate("headwater_soft_label_joins_total", by="learner, result")),
                "{{learner}} waiting": or_zero("max by (learner) (headwater_soft_label_waiting_examples)"),
            },
        ),
        Panel(
            title="The item taken among the teacher's best",
            unit="percentunit",
            width=8,
            queries={
                "teacher, ten best": "max(headwater_teacher_agreement_ratio)",
                "{{learner}}, {{depth}} best": or_zero(
                    "max by (learner, depth) (headwater_soft_label_agreement_ratio)"
                ),
            },
        ),
        Panel(
            title="Files of the label store",
            width=8,
            queries={
                "files": "max(headwater_label_files)",
                "seconds a flush, p95": or_zero(quantile(0.95, "headwater_label_flush_seconds", window="5m")),
            },
        ),
        Panel(
            title="Refreshes",
            width=8,
            queries={
                "{{outcome}}": or_zero("sum by (outcome) (headwater_teacher_refreshes_total)"),
                "asked: {{reason}}": or_zero("sum by (reason) (headwater_teacher_refreshes_asked_total)"),
                "version": "max(headwater_teacher_version_number)",
            },
        ),
        Panel(
            title="Held-out loss of the last refresh",
            width=8,
            queries={"{{weights}}": or_zero("max by (weights) (headwater_teacher_held_out_loss)")},
        ),
        Panel(
            title="Window and time of a refresh",
            width=8,
            queries={
                "examples": "max(headwater_teacher_window_examples)",
                "seconds a refresh, p95": or_zero(quantile(0.95, "headwater_teacher_refresh_seconds", window="30m")),
            },
        ),
    ),
)
