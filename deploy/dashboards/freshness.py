"""Freshness: from the publish of an event until the session, the rows and the weights reflect it."""

from __future__ import annotations

from deploy.dashboards.panels import Page, Panel
from deploy.dashboards.promql import or_zero, quantile, rate

PAGE = Page(
    uid="headwater-freshness",
    title="Headwater: freshness",
    panels=(
        Panel(
            title="Event to session",
            unit="s",
            queries={
                "p50": quantile(0.5, "headwater_session_visible_seconds"),
                "p95": quantile(0.95, "headwater_session_visible_seconds"),
                "p99": quantile(0.99, "headwater_session_visible_seconds"),
            },
            about="Until the online store has it. Alert: SessionFreshness.",
        ),
        Panel(
            title="Event to weights that serve",
            unit="s",
            queries={
                "p50": quantile(0.5, "headwater_weights_freshness_seconds"),
                "p95": quantile(0.95, "headwater_weights_freshness_seconds"),
            },
            about="Alert: WeightsFreshness.",
        ),
        Panel(
            title="Event to session, as requests saw it",
            unit="s",
            queries={"p95": or_zero(quantile(0.95, "headwater_session_freshness_seconds", window="5m"))},
            about="Of the requests that waited for an event of their own.",
        ),
        Panel(
            title="Age of the serving version",
            unit="s",
            queries={"{{model}}": "max by (model) (headwater_serving_model_age_seconds)"},
        ),
        Panel(
            title="Rows published",
            unit="eps",
            width=8,
            queries={"{{table}}": rate("headwater_rows_published_total", by="table")},
        ),
        Panel(
            title="Rows applied by the servers",
            unit="eps",
            width=8,
            queries={"{{model}} {{table}}": rate("headwater_serving_rows_applied_total", by="model, table")},
        ),
        Panel(
            title="Examples behind the published weights",
            width=8,
            queries={
                "{{job}}, learned": 'sum by (job) (headwater_examples_learned_total{job=~"trainer.*"})',
                "{{job}}, published": 'max by (job) (headwater_weights_step_examples{job=~"trainer.*"})',
            },
            about="Alert: WeightsStandStill.",
        ),
        Panel(
            title="How far the servers are behind",
            width=8,
            queries={"{{topic}}": or_zero("max by (topic) (headwater_serving_lag_records)")},
            about="Records that the slowest server has not applied. Alert: ServerBehind.",
        ),
        Panel(
            title="Silence of the broker at the servers",
            unit="s",
            width=8,
            queries={"longest": 'max(headwater_serving_broker_silence_seconds{job="server"})'},
            about="Seconds since the broker last answered. Alert: BrokerSilent.",
        ),
        Panel(
            title="Served tables against the trainer's",
            width=8,
            queries={
                "{{model}} {{table}}, buckets that differ": or_zero(
                    "max by (model, table) (headwater_table_parity_buckets)"
                ),
                "{{model}}, comparisons that {{outcome}}, a second": or_zero(
                    rate("headwater_table_parity_checks_total", by="model, outcome")
                ),
                "{{model}}, repairs asked for": or_zero("sum by (model) (headwater_table_parity_repairs_total)"),
                "{{table}}, repairs answered": or_zero("sum by (table) (headwater_row_repairs_asked_total)"),
            },
            about="Alert: TablesDiffer.",
        ),
        Panel(
            title="Rows refused",
            unit="eps",
            width=8,
            queries={
                "by a server: {{model}}, {{reason}}": or_zero(
                    rate("headwater_serving_rows_refused_total", by="model, reason")
                ),
                "by the trainer: {{reason}}": or_zero(rate("headwater_rows_refused_total", by="reason")),
            },
            about="Alert: RowsRefused.",
        ),
        Panel(
            title="Held back",
            width=8,
            queries={
                "publishing of {{model}}": or_zero("max by (model) (headwater_publishing_held_ratio)"),
                "vectors of {{model}}": or_zero("max by (model) (headwater_vectors_held_ratio)"),
            },
            about="1 while it lasts. Alert: PublishingHeld.",
        ),
        Panel(
            title="Time of a comparison of tables",
            unit="s",
            width=8,
            queries={"{{table}}": or_zero("max by (table) (headwater_table_parity_seconds)")},
            about="No row is applied meanwhile.",
        ),
    ),
)
