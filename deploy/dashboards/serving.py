"""Serving: how fast lists are, who made them, and what was answered instead."""

from __future__ import annotations

from deploy.dashboards.panels import Page, Panel
from deploy.dashboards.promql import or_zero, quantile, rate

PAGE = Page(
    uid="headwater-serving",
    title="Headwater: serving",
    panels=(
        Panel(
            title="Latency by route",
            unit="s",
            width=8,
            queries={
                "{{route}} p50": quantile(0.5, "headwater_http_request_seconds", by="route"),
                "{{route}} p99": quantile(0.99, "headwater_http_request_seconds", by="route"),
            },
            about="Alert: ServingSlow.",
        ),
        Panel(
            title="Latency of /recommend by stage, p95",
            unit="s",
            width=8,
            queries={"{{stage}}": quantile(0.95, 'headwater_serving_stage_seconds{route="recommend"}', by="stage")},
        ),
        Panel(
            title="Requests and fall-backs",
            unit="reqps",
            width=8,
            queries={
                "{{route}} {{status}}": rate("headwater_http_requests_total", by="route, status"),
                "fall-back {{reason}}": or_zero(rate("headwater_serving_fallbacks_total", by="reason")),
            },
            about="Alert: Fallbacks.",
        ),
        Panel(
            title="Lists by student",
            unit="reqps",
            width=8,
            queries={
                "{{model}} {{route}}": or_zero(rate("headwater_serving_lists_total", by="model, route")),
                "{{by}} for {{model}}": or_zero(rate("headwater_serving_stood_in_total", by="model, by")),
            },
        ),
        Panel(
            title="Share and readiness of the students",
            width=8,
            queries={
                "{{model}}, share": "max by (model) (headwater_serving_student_share)",
                "{{model}}, ready": "min by (model) (headwater_serving_student_ready)",
            },
        ),
        Panel(
            title="Time of a list by student, p99",
            unit="s",
            width=8,
            queries={"{{model}}": or_zero(quantile(0.99, "headwater_serving_ranking_seconds", by="model"))},
        ),
        Panel(
            title="Candidates scored",
            width=8,
            queries={
                "p50": or_zero(quantile(0.5, "headwater_serving_candidates")),
                "p95": or_zero(quantile(0.95, "headwater_serving_candidates")),
            },
        ),
        Panel(
            title="Overlap of a session's successive lists",
            unit="percentunit",
            width=8,
            queries={"median": or_zero(quantile(0.5, "headwater_serving_list_overlap"))},
            about="Rank-biased overlap; 1: nothing moved.",
        ),
        Panel(
            title="Impressions and what followed",
            unit="eps",
            width=8,
            queries={
                "impressions {{outcome}}": or_zero(rate("headwater_serving_impressions_total", by="outcome")),
                "{{action}} on a list of {{model}}": or_zero(
                    rate("headwater_serving_outcomes_total", by="model, action")
                ),
            },
        ),
        Panel(
            title="Online store: reads that failed or took too long",
            unit="reqps",
            width=8,
            queries={
                "bad reads": rate("headwater_serving_store_failures_total"),
                "servers without a store": 'count(headwater_serving_store_up{job="server"} == 0) or on () vector(0)',
            },
            about="Alert: StoreGone.",
        ),
        Panel(
            title="Encoded sessions",
            unit="reqps",
            width=8,
            queries={"{{how}}": or_zero(rate("headwater_serving_session_states_total", by="how"))},
            about="Kept: the session had not changed since its last list, and was not encoded again.",
        ),
        Panel(
            title="Sources that lists went without",
            unit="reqps",
            width=8,
            queries={
                "{{source}}, {{why}}": or_zero(rate("headwater_serving_sources_left_out_total", by="source, why"))
            },
        ),
        Panel(
            title="Requests under way, and turned away for their rate",
            width=8,
            queries={
                "under way": "sum(headwater_http_under_way)",
                "{{caller}}, too many a second": or_zero(rate("headwater_http_rate_limited_total", by="caller")),
            },
        ),
        Panel(
            title="Vector index: time to arrange it anew",
            unit="s",
            width=8,
            queries={
                "mean": or_zero(
                    "sum(rate(headwater_serving_index_arranged_seconds_sum[30m]))"
                    " / sum(rate(headwater_serving_index_arranged_seconds_count[30m]))"
                ),
                "p95": or_zero(quantile(0.95, "headwater_serving_index_arranged_seconds", window="30m")),
            },
            about="In the background, of large catalogues alone; searches go on in the old arrangement meanwhile.",
        ),
        Panel(
            title="Trials, reloads, graphs without their provider",
            width=8,
            queries={
                "trial of {{model}} {{outcome}}": or_zero("sum by (model, outcome) (headwater_serving_canaries_total)"),
                "reload {{outcome}}": or_zero("sum by (outcome) (headwater_serving_reloads_total)"),
                "without {{provider}}, {{when}}": or_zero(
                    "sum by (provider, when) (headwater_serving_provider_fallbacks_total)"
                ),
            },
            about="Since the servers' start. Alerts: CanaryRefused, ProviderFallback.",
        ),
    ),
)
