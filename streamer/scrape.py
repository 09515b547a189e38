"""Reading a process's own Prometheus metrics back: counters, gauges and quantiles of histograms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Scrape:
    r"""One answer of ``/metrics``.

    >>> page = Scrape.parse('# TYPE a counter\na_total{kind="x"} 2.0\na_total{kind="y"} 3.0\n')
    >>> page.total("a_total"), page.total("a_total", kind="x"), page.total("b_total")
    (5.0, 2.0, 0.0)
    """

    samples: list[tuple[str, Labels, float]]

    @classmethod
    def parse(cls, text: str) -> Scrape:
        """Read the text format."""
        families = text_string_to_metric_families(text)
        return cls([(sample.name, sample.labels, sample.value) for family in families for sample in family.samples])

    def total(self, name: str, **labels: str) -> float:
        """Sum of a sample over all label values that fit ``labels``; 0 where there is none."""
        return sum((value for _, value in self._fitting(name, labels)), 0.0)

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Sum a sample by one label, where the others fit ``labels``."""
        sums: dict[str, float] = {}
        for found, value in self._fitting(name, labels):
            sums[found.get(label, "")] = sums.get(found.get(label, ""), 0.0) + value
        return sums

    def since(self, before: Scrape) -> Scrape:
        """Subtract what an earlier answer had counted: counters and histograms of the time between, no gauges.

        >>> old, new = (Scrape.parse(f"# TYPE a counter{chr(10)}a_total {count}.0{chr(10)}") for count in (2, 5))
        >>> new.since(old).total("a_total")
        3.0
        """
        counted = {(name, *sorted(labels.items())): value for name, labels, value in before.samples}
        return Scrape(
            [
                (name, labels, value - counted.get((name, *sorted(labels.items())), 0.0))
                for name, labels, value in self.samples
            ]
        )

    def quantile(self, histogram: str, q: float, **labels: str) -> float | None:
        """Quantile of a histogram, linear inside its bucket; None while it is empty.

        The last bucket has no upper bound: its lower bound is returned.
        """
        bounds: dict[float, float] = {}
        for found, value in self._fitting(f"{histogram}_bucket", labels):
            bound = float(found["le"])
            bounds[bound] = bounds.get(bound, 0.0) + value
        return _quantile(sorted(bounds.items()), q)

    def _fitting(self, name: str, labels: Labels) -> list[tuple[Labels, float]]:
        return [
            (found, value)
            for sample, found, value in self.samples
            if sample == name and all(found.get(key) == wanted for key, wanted in labels.items())
        ]


def _quantile(cumulative: list[tuple[float, float]], q: float) -> float | None:
    total = cumulative[-1][1] if cumulative else 0.0
    if total == 0:
        return None
    below_bound, below_count = 0.0, 0.0
    for bound, count in cumulative:
        if count >= q * total:
            if bound == float("inf"):
                return below_bound
            inside = count - below_count
            return below_bound + (bound - below_bound) * ((q * total - below_count) / inside if inside else 1.0)
        below_bound, below_count = bound, count
    return below_bound
