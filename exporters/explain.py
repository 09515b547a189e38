"""Why an item stands where it does: each signal's part of the logit, in numbers and in a line of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-2  # as in the ranker: log(v / max v + ε)
FAINTEST = 1e-6
ENCODER = "session"
_LEAST_SHARE = 0.005  # below this a signal is not worth a line
_BY_HISTORY = {
    **dict.fromkeys(("item_knn", "item_knn_short", "item_knn_long"), "taken by those who also took “{item}”"),
    **dict.fromkeys(("cooccurrence", "cooccurrence_short", "cooccurrence_long"), "often comes together with “{item}”"),
    "transitions": "often follows “{item}”",
}
_BY_ITSELF = {"popularity": "popular now", ENCODER: "fits this session"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Contributions:
    """What each signal adds to each item's logit, beyond what an item unknown to the signal would get."""

    names: tuple[str, ...]
    values: NDArray[np.float32]  # [N, len(names)]


def contributions(
    names: Sequence[str],
    source_scores: NDArray[np.float32],
    logits: NDArray[np.float32],
    source_weights: NDArray[np.float32] | None,
) -> Contributions:
    r"""Take the logits apart.

    With :math:`v` the score of a source and :math:`\hat v` its largest among the candidates, the ranker adds
    :math:`a \log(v / \hat v + ε) + b\,v / \hat v`; an item that the source does not know gets the same with
    :math:`v = 0`. What is left of a logit belongs to the session encoder and the items' features; it is given relative
    to its mean.

    Parameters
    ----------
    names
        The S sources.
    source_scores
        [N, S] of all candidates that were ranked together.
    logits
        [N].
    source_weights
        [2 S + 1] of the ``rank`` graph: a, then b, then the encoder's. None where sources were only added up.

    Examples
    --------
    >>> parts = contributions(["popularity"], np.array([[2.0], [0.0]]), np.array([1.0, 0.0]), None)
    >>> parts.values[:, 0].tolist()
    [1.0, 0.0]
    """
    peak = np.maximum(source_scores.max(axis=0, initial=0), FAINTEST)  # [S]
    share = source_scores / peak  # [N, S]
    if source_weights is None:
        return Contributions(names=tuple(names), values=share.astype(np.float32))
    count = len(names)
    a, b = source_weights[:count], source_weights[count : 2 * count]
    absolute = a * np.log(share + EPSILON) + b * share  # [N, S]
    baseline = a * np.log(EPSILON)  # [S]
    rest = logits - absolute.sum(axis=1)
    encoder = rest - rest.mean() if len(rest) else rest
    return Contributions(names=(*names, ENCODER), values=np.column_stack([absolute - baseline, encoder]))


def why_lines(
    names: Sequence[str], values: NDArray[np.float32], reasons: dict[str, str | None], limit: int = 3
) -> list[dict[str, Any]]:
    """Turn one item's contributions into lines, the strongest first.

    Parameters
    ----------
    names
        The signals.
    values
        [len(names)] contributions of the item.
    reasons
        For a signal that reads the history: the title of the history item that spoke loudest.
    limit
        At most so many lines.

    Examples
    --------
    >>> why_lines(["transitions"], np.array([2.0]), {"transitions": "Toy Story"})
    [{'signal': 'transitions', 'contribution': 2.0, 'share': 1.0, 'text': 'often follows “Toy Story”'}]
    """
    positive = np.maximum(values, 0)
    total = float(positive.sum()) or 1.0
    order = [place for place in np.argsort(-positive, kind="stable")[:limit] if positive[place] > _LEAST_SHARE * total]
    return [
        {
            "signal": names[place],
            "contribution": round(float(values[place]), 4),
            "share": round(float(positive[place]) / total, 4),
            "text": _text(names[place], reasons.get(names[place])),
        }
        for place in order
    ]


def _text(signal: str, item: str | None) -> str:
    if signal in _BY_HISTORY:
        return _BY_HISTORY[signal].format(item=item) if item else signal.replace("_", " ")
    return _BY_ITSELF.get(signal, signal.replace("_", " "))
