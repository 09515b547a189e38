"""The first look: is it running, is it fresh, is it good."""

from __future__ import annotations

from deploy.dashboards.panels import Figure, Page, Panel
from deploy.dashboards.promql import or_zero, quantile, rate

PAGE = Page(
    uid="headwater",
    title="Headwater",
    panels=(
        Figure(title="Events", unit="eps", queries={"events": rate("headwater_events_consumed_total")}),
        Figure(title="Examples learned", queries={"examples": "sum(headwater_examples_learned_total)"}),
        Figure(
            title="Session visible, p95", unit="s", queries={"p95": quantile(0.95, "headwater_session_visible_seconds")}
        ),
        Figure(
            title="Weights visible, p95",
            unit="s",
            queries={"p95": quantile(0.95, "headwater_weights_freshness_seconds")},
        ),
        Figure(
            title="Parity, largest difference",
            unit="sci",
            queries={"max |torch - ONNX Runtime|": "max(headwater_parity_max_abs_logits)"},
        ),
        Figure(
            title="Age of the serving version",
            unit="s",
            queries={"{{model}}": "max by (model) (headwater_serving_model_age_seconds)"},
        ),
        Panel(
            title="Prequential HR@10",
            unit="percentunit",
            queries={"{{model}}": 'headwater_prequential_ratio{metric="hr@10"}'},
            about="Test-then-learn: every event is predicted before it is learnt.",
        ),
        Panel(
            title="Processes that answer",
            queries={"{{job}}": "sum by (job) (up)"},
            about="Alert: ProcessDown.",
        ),
        Panel(
            title="Latency of /recommend",
            unit="s",
            queries={
                "p50": quantile(0.5, 'headwater_http_request_seconds{route="/recommend"}'),
                "p99": quantile(0.99, 'headwater_http_request_seconds{route="/recommend"}'),
            },
        ),
        Panel(
            title="Alerts",
            queries={"{{alertname}}": or_zero('count by (alertname) (ALERTS{alertstate="firing"})')},
            about="docs/operations.md has the cause, where to look and the mend of each.",
        ),
    ),
)
