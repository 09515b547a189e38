"""Stream health: what comes in, what cannot be read, how far behind the readers are."""

from __future__ import annotations

from deploy.dashboards.panels import Page, Panel
from deploy.dashboards.promql import or_zero, rate

PAGE = Page(
    uid="headwater-stream",
    title="Headwater: stream health",
    panels=(
        Panel(
            title="Events by type",
            unit="eps",
            queries={"{{type}}": rate("headwater_events_consumed_total", by="type")},
        ),
        Panel(
            title="Consumer lag",
            queries={"{{job}} {{topic}}": "sum by (job, topic) (headwater_consumer_lag_messages)"},
            about="Messages between the end of the partitions and what is applied. Alert: ConsumerLag.",
        ),
        Panel(
            title="Dead letters, late, duplicates",
            unit="eps",
            width=8,
            queries={
                "dead letter {{reason}}": or_zero(rate("headwater_dead_letters_total", by="reason")),
                "late": rate("headwater_late_events_total"),
                "duplicate": rate("headwater_duplicate_events_total"),
            },
            about="Alert: DeadLetters.",
        ),
        Panel(
            title="Examples written",
            unit="eps",
            width=8,
            queries={"{{kind}}": rate("headwater_examples_written_total", by="kind")},
        ),
        Panel(
            title="Partitions of the events topic",
            width=8,
            queries={"{{instance}}": 'sum by (instance) (headwater_assigned_partitions{job="worker"})'},
            about="Each worker reads whole partitions; their sum is the number of partitions.",
        ),
        Panel(
            title="Events at the HTTP door",
            unit="eps",
            queries={
                "{{outcome}}": or_zero(rate("headwater_http_events_total", by="outcome")),
                "turned away: {{reason}}": or_zero(rate("headwater_http_events_rejected_total", by="reason")),
            },
        ),
        Panel(
            title="Memory of the processes",
            unit="bytes",
            queries={"{{job}}": 'sum by (job) (process_resident_memory_bytes{job!="prometheus"})'},
        ),
        Panel(
            title="Processor time",
            unit="short",
            queries={"{{job}} cores": 'sum by (job) (rate(process_cpu_seconds_total{job!="prometheus"}[1m]))'},
        ),
        Panel(
            title="Open files",
            queries={"{{job}}": 'sum by (job) (process_open_fds{job!="prometheus"})'},
        ),
    ),
)
