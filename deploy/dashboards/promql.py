"""The few shapes that queries have."""

from __future__ import annotations

WINDOW = "1m"


def rate(counter: str, by: str = "", window: str = WINDOW) -> str:
    """Events a second, summed over processes.

    >>> rate("a_total"), rate('a_total{kind="x"}', by="job")
    ('sum(rate(a_total[1m]))', 'sum by (job) (rate(a_total{kind="x"}[1m]))')
    """
    return f"sum{f' by ({by}) ' if by else ''}(rate({counter}[{window}]))"


def quantile(q: float, histogram: str, by: str = "", window: str = WINDOW) -> str:
    """Quantile of a histogram over all processes.

    >>> quantile(0.95, "a_seconds")
    'histogram_quantile(0.95, sum by (le) (rate(a_seconds_bucket[1m])))'
    """
    name, _, labels = histogram.partition("{")
    series = f"{name}_bucket" + ("{" + labels if labels else "")
    labels_kept = ", ".join(["le", by] if by else ["le"])
    return f"histogram_quantile({q:g}, sum by ({labels_kept}) (rate({series}[{window}])))"


def or_zero(query: str) -> str:
    """Zero where there is nothing yet: things that are rare, and good when they never come.

    A quantile of nothing is NaN; the comparison drops it.

    >>> or_zero("a")
    '(a >= 0) or on () vector(0)'
    """
    return f"({query} >= 0) or on () vector(0)"
