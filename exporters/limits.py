"""What one request may ask for, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of a request. Breaking one is answered with 413 or 422, never with a truncated result.

    >>> Limits().history
    50
    """

    history: int = 50  # newest events of a user that the ranker sees
    body_bytes: int = 1_048_576
    candidates: int = 500  # scored in one request
    results: int = 100  # returned by one request
    filter_items: int = 1_000  # in each of allow, deny and categories
    query_characters: int = 256
    identifier_characters: int = 256
    deadline_ms: float = 150.0
    sources_ms: float = 25.0  # after so long a list goes without the sources that have not answered
    session_states_bytes: int = 64 * 1_048_576  # encoded sessions kept in memory; 0 keeps none
    wait_ms: float = 30_000.0  # longest wait for an event to become visible
    earliest_time_ms: int = 631_152_000_000
    future_tolerance_ms: float = 300_000.0
    stability_margin: float = 0.0  # 0 serves the plain ranking; above, what was shown stays unless beaten by so much
    exploration_temperature: float = 0.0  # 0 serves the best list; above, slates are drawn (Plackett-Luce)
