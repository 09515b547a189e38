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
    ),
)
