"""From the settings to what the server's parts are set up with."""

from __future__ import annotations

from exporters.access_log import AccessLog
from exporters.canary import CanaryRules
from exporters.keys import Keys
from exporters.lifecycle import Grace
from exporters.limits import Limits
from exporters.rate_limit import Rate
from streamer.settings import Serving, Settings


def limits_of(settings: Settings) -> Limits:
    """Limits of requests."""
    return Limits(
        history=settings.sessions.history_limit,
        body_bytes=settings.serving.max_body_bytes,
        candidates=settings.serving.max_candidates,
        results=settings.serving.max_results,
        deadline_ms=settings.serving.deadline_ms,
        sources_ms=settings.serving.sources_ms,
        session_states_bytes=settings.serving.session_states_mb * 1_048_576,
        stability_margin=settings.serving.stability_margin,
        earliest_time_ms=settings.events.earliest_event_time_ms,
        future_tolerance_ms=1_000 * settings.events.future_tolerance_seconds,
    )


def keys_of(serving: Serving) -> Keys:
    """Who may use the server; ``api_key`` may do everything.

    >>> keys_of(Serving(api_keys={"shop": "shop-key-1"})).caller("shop-key-1").right.name
    'USE'
    """
    alone = {"api_key": serving.api_key} if serving.api_key is not None else {}
    return Keys(use=serving.api_keys, admin={**alone, **serving.admin_keys})


def rate_of(serving: Serving) -> Rate:
    """How much one caller may send."""
    return Rate(per_second=serving.rate_per_second, burst=serving.rate_burst)


def canary_rules_of(serving: Serving) -> CanaryRules:
    """How new versions are tried.

    >>> canary_rules_of(Serving(canary_share=0.1)).share
    0.1
    """
    return CanaryRules(share=serving.canary_share, seconds=serving.canary_seconds, lists=serving.canary_lists)


def grace_of(serving: Serving) -> Grace:
    """How the server ends."""
    return Grace(lame_duck_seconds=serving.lame_duck_seconds, drain_seconds=serving.drain_seconds)


def access_log_of(settings: Settings) -> AccessLog:
    """Which requests get a line in the log."""
    return AccessLog(share=settings.logs.access_share, slow_ms=settings.logs.slow_ms)
