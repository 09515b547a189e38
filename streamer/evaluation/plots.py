"""Plots as SVG text: bars and lines, drawn with CSS variables so that they follow the page in light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

HUES = 8
_DASHES = ("", "6 3", "2 3")
_LINE_HEIGHT = 26


@dataclass(frozen=True)
class Series:
    """One model in a plot."""

    name: str
    values: Sequence[float]  # NaN where there is none
    spread: float | None = None  # bars: deviation over seeds


def bars(series: Sequence[Series], width: int = 1000) -> str:
    """Horizontal bars of each series' first value, with whiskers of one deviation.

    >>> bars([Series("popular", [0.1])]).count("<rect")
    1
    """
    left, right = _text_width(series), 84
    most = max((_finite(one.values[0]) + (one.spread or 0) for one in series), default=0) or 1
    parts = []
    for row, one in enumerate(series):
        top, value = row * _LINE_HEIGHT, _finite(one.values[0])
        scale = (width - left - right) / most
        middle, end = top + _LINE_HEIGHT / 2, left + value * scale
        parts.append(f'<text x="{left - 8}" y="{middle}" class="name" dy=".35em">{escape(one.name)}</text>')
        parts.append(
            f'<rect x="{left}" y="{top + 5}" width="{max(value * scale, 0.5):.1f}" height="{_LINE_HEIGHT - 10}" rx="2" '
            f'fill="var(--hue-{row % HUES})"><title>{escape(one.name)}: {value:.4f}</title></rect>'
        )
        if one.spread:
            low, high = end - one.spread * scale, end + one.spread * scale
            parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" class="whisker"/>')
            end = high
        parts.append(f'<text x="{end + 6:.1f}" y="{middle}" class="value" dy=".35em">{value:.4f}</text>')
    return _svg(width, max(len(series), 1) * _LINE_HEIGHT, "".join(parts))


def lines(series: Sequence[Series], places: Sequence[float], x_label: str, width: int = 1000, height: int = 300) -> str:
    """Lines over ``places``, each with its name at its end.

    >>> lines([Series("a", [0.1, 0.2])], [0.6, 1.0], "share of the stream").count("<polyline")
    1
    """
    left, right, top, bottom = 52, _text_width(series), 10, 38
    most = max((value for one in series for value in one.values if math.isfinite(value)), default=0) or 1
    ticks = _ticks(most)
    first, last = places[0], places[-1]

    def x(place: float) -> float:
        return left + (width - left - right) * (place - first) / max(last - first, 1e-9)

    def y(value: float) -> float:
        return height - bottom - (height - top - bottom) * value / ticks[-1]

    parts = [
        f'<line x1="{left}" x2="{width - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" class="grid"/>'
        f'<text x="{left - 8}" y="{y(tick):.1f}" class="tick" text-anchor="end" dy=".35em">{tick:g}</text>'
        for tick in ticks
    ]
    parts += [
        f'<text x="{x(place):.1f}" y="{height - bottom + 16}" class="tick" text-anchor="middle">{place:.0%}</text>'
        for place in places
    ]
    parts.append(f'<text x="{(left + width - right) / 2}" y="{height - 4}" class="axis">{escape(x_label)}</text>')
    ends = _apart([y(_last_finite(one.values)) for one in series], 13)
    for row, (one, end) in enumerate(zip(series, ends, strict=True)):
        points = [(x(place), y(value), value) for place, value in zip(places, one.values, strict=True)]
        parts.append(_line(row, one.name, [point for point in points if math.isfinite(point[2])]))
        parts.append(
            f'<text x="{width - right + 8}" y="{end:.1f}" class="end" dy=".35em" style="fill:var(--hue-{row % HUES})">'
            f"{escape(one.name)}</text>"
        )
    return _svg(width, height, "".join(parts))


def _line(row: int, name: str, points: list[tuple[float, float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    hue, dash = f"var(--hue-{row % HUES})", _DASHES[row // HUES % len(_DASHES)]
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{hue}"><title>{escape(name)}: {value:.4f}</title></circle>'
        for x, y, value in points
    )
    return f'<polyline points="{path}" fill="none" stroke="{hue}" stroke-width="2" stroke-dasharray="{dash}"/>{marks}'


def _svg(width: int, height: int, inner: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">{inner}</svg>'


def _ticks(most: float) -> list[float]:
    """Round numbers from 0 to at least ``most``, about five of them.

    >>> _ticks(0.23)
    [0.0, 0.05, 0.1, 0.15, 0.2, 0.25]
    """
    rough = most / 5
    unit = 10 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * (1 - 1e-9))
    return [round(step * number, 12) for number in range(math.ceil(most / step - 1e-9) + 1)]


def _apart(wanted: list[float], least: float) -> list[float]:
    """Move labels apart from the top down, each as little as it takes.

    >>> _apart([5.0, 1.0, 2.0], 3.0)
    [7.0, 1.0, 4.0]
    """
    placed, floor = dict.fromkeys(range(len(wanted)), 0.0), -math.inf
    for index in sorted(range(len(wanted)), key=wanted.__getitem__):
        floor = max(wanted[index], floor + least)
        placed[index] = floor
    return [placed[index] for index in range(len(wanted))]


def _text_width(series: Sequence[Series]) -> int:
    return 24 + 7 * max((len(one.name) for one in series), default=0)


def _last_finite(values: Sequence[float]) -> float:
    return next((value for value in reversed(values) if math.isfinite(value)), 0.0)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
