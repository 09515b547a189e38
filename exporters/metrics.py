"""Prometheus objects of the server. Buckets are fine where the promises lie (50 ms, 1 s, 10 s)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_MS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 30_000)
SECONDS = tuple(milliseconds / 1_000 for milliseconds in _MS)

REQUESTS = Counter("headwater_http_requests", "Requests by route and status", ("route", "status"))
REQUEST_SECONDS = Histogram("headwater_http_request_seconds", "Time of a request by route", ("route",), buckets=SECONDS)
STAGE_SECONDS = Histogram(
    "headwater_serving_stage_seconds", "Time of one stage of a ranking", ("route", "stage"), buckets=SECONDS
)
CANDIDATES = Histogram(
    "headwater_serving_candidates", "Candidates scored", buckets=(0, 1, 5, 10, 25, 50, 100, 200, 300, 400, 500, 1_000)
)
LIST_OVERLAP = Histogram(
    "headwater_serving_list_overlap",
    "Rank-biased overlap of successive lists of one session (1: nothing moved)",
    buckets=[tenth / 10 for tenth in range(11)],
)
FALLBACKS = Counter("headwater_serving_fallbacks", "Lists that the ranker did not make, by reason", ("reason",))
EVENTS_IN = Counter("headwater_http_events", "Events at the door by outcome", ("outcome",))
EVENTS_REJECTED = Counter("headwater_http_events_rejected", "Events turned away at the door by reason", ("reason",))
IMPRESSIONS = Counter("headwater_serving_impressions", "Impressions published by outcome", ("outcome",))
WEIGHTS_FRESHNESS_SECONDS = Histogram(
    "headwater_weights_freshness_seconds", "Publish of an event until weights that reflect it serve", buckets=SECONDS
)
SESSION_FRESHNESS_SECONDS = Histogram(
    "headwater_session_freshness_seconds", "Publish of an event until it shows in the session", buckets=SECONDS
)
MODEL_VERSION = Gauge("headwater_serving_model_info", "1 for each student's version that serves", ("model", "version"))
MODEL_AGE_SECONDS = Gauge(
    "headwater_serving_model_age_seconds", "Seconds since a student's serving version was published", ("model",)
)
STUDENT_SHARE = Gauge("headwater_serving_student_share", "Share of the users that are a student's own", ("model",))
STUDENT_READY = Gauge("headwater_serving_student_ready", "1 where a student has a version to serve", ("model",))
STOOD_IN = Counter(
    "headwater_serving_stood_in",
    "Lists by another student: the user's own has no version yet",
    ("model", "by"),
)
LISTS = Counter("headwater_serving_lists", "Lists by the student that made them", ("model", "route"))
RANKING_SECONDS = Histogram(
    "headwater_serving_ranking_seconds", "Time of a list by the student that made it", ("model",), buckets=SECONDS
)
OUTCOMES = Counter(
    "headwater_serving_outcomes", "Interactions at the door by the student whose list they answer", ("model", "action")
)
SESSION_STATES = Counter(
    "headwater_serving_session_states", "Encoded sessions: kept from before, or computed", ("how",)
)
SOURCES_LEFT_OUT = Counter(
    "headwater_serving_sources_left_out", "Sources of candidates that a list went without, and why", ("source", "why")
)
ROWS_APPLIED = Counter("headwater_serving_rows_applied", "Rows of tables applied", ("model", "table"))
RATE_LIMITED = Counter(
    "headwater_http_rate_limited", "Requests beyond a caller's rate, by name of the key", ("caller",)
)
UNDER_WAY = Gauge("headwater_http_under_way", "Requests that are being answered")
STORE_UP = Gauge("headwater_serving_store_up", "1 while the online store answers")
STORE_FAILURES = Counter("headwater_serving_store_failures", "Reads of the online store that failed or took too long")
FOLLOW_LAG = Gauge("headwater_serving_lag_records", "Records of a topic that the server has not applied", ("topic",))
BROKER_SILENCE = Gauge("headwater_serving_broker_silence_seconds", "Seconds since the broker last answered the server")
RELOADS = Counter("headwater_serving_reloads", "Reloads of the settings by outcome", ("outcome",))
INDEX_ARRANGED_SECONDS = Histogram(
    "headwater_serving_index_arranged_seconds",
    "Time to put a large catalogue's vectors into cells anew, in the background",
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300),
)
PROVIDER_FALLBACKS = Counter(
    "headwater_serving_provider_fallbacks",
    "Graphs that went on without a provider of ONNX Runtime",
    ("provider", "when"),
)
ROWS_REFUSED = Counter(
    "headwater_serving_rows_refused", "Rows that were not applied, by what is wrong with them", ("model", "reason")
)
TABLE_PARITY_CHECKS = Counter(
    "headwater_table_parity_checks", "Comparisons of a served table with the trainer's", ("model", "table", "outcome")
)
TABLE_PARITY_BUCKETS = Gauge(
    "headwater_table_parity_buckets", "Buckets of rows that differed at the last comparison", ("model", "table")
)
TABLE_PARITY_SECONDS = Gauge(
    "headwater_table_parity_seconds", "Time of the last comparison, while no row is applied", ("model", "table")
)
TABLE_PARITY_REPAIRS = Counter(
    "headwater_table_parity_repairs", "Times that a trainer was asked to publish rows again", ("model", "table")
)
CANARIES = Counter(
    "headwater_serving_canaries", "Versions that were tried on a share of the users", ("model", "outcome")
)
