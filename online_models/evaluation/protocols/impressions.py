"""Slates that were shown, with what was taken of them: real negatives, so probabilities can be judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from online_models.evaluation.interactions import Rows
from online_models.evaluation.metrics import Calibration, log_loss, ndcg, ranks_of

Floats = NDArray[np.float64]
_BLOCK = 256  # slates between two corrections of the calibrator
_NEWTON_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Impressions:
    """Ragged slates in order of time."""

    offsets: Rows  # [I + 1]
    items: Rows  # [offsets[-1]] catalogue rows, in the order shown
    taken: NDArray[np.bool_]  # [offsets[-1]]
    users: Rows  # [I]
    times_seconds: NDArray[np.float64]  # [I]

    def __len__(self) -> int:
        """Return the number of slates."""
        return len(self.users)


class OnlineCalibrator:
    """Logistic regression on a score, learnt after each use: makes probabilities of scores that have no scale.

    Platt scaling [1]_ in the form of a Laplace approximation that is carried on: each batch is fitted by a few Newton
    steps, with the precision so far as its prior.

    References
    ----------
    .. [1] J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999. He fits once, on held-out data; here
       every batch is predicted before it is learnt.

    Examples
    --------
    >>> calibrator = OnlineCalibrator(1)
    >>> first = calibrator.predict(np.array([[2.], [-2.]]))
    >>> calibrator.learn(np.array([[2.], [-2.]] * 50), np.array([1., 0.] * 50))
    >>> first.tolist(), calibrator.predict(np.array([[2.], [-2.]])).round().tolist()
    ([0.5, 0.5], [1.0, 0.0])
    """

    def __init__(self, features: int) -> None:
        self._weights = np.zeros(features + 1)
        self._precision = np.eye(features + 1) * 0.1

    def predict(self, features: Floats) -> Floats:
        """Probability of each example. [n, features] -> [n]."""
        probabilities: Floats = 1 / (1 + np.exp(-np.clip(_with_one(features) @ self._weights, -30, 30)))
        return probabilities

    def learn(self, features: Floats, labels: Floats) -> None:
        """Take examples [n, features] with labels [n] into account."""
        inputs, prior, precision = _with_one(features), self._weights.copy(), self._precision
        for _ in range(_NEWTON_STEPS):
            chances = self.predict(features)
            slope = inputs.T @ (chances - labels) + precision @ (self._weights - prior)
            curvature = inputs.T @ (inputs * (chances * (1 - chances))[:, None]) + precision
            self._weights = self._weights - np.linalg.solve(curvature, slope)
        self._precision = curvature


def slate_measures(slates: Impressions, kept: Rows, scores: list[Floats]) -> dict[str, float]:
    """Order inside the slates, and how good probabilities made of the scores are.

    ``slate_auc`` and ``slate_ndcg@10`` are means over slates in which some items were taken and others not; the NDCG
    is of the first item taken. For the probabilities, scores are standardised inside each slate and handed, with the
    log of its length, to an :class:`OnlineCalibrator` that learns every slate after it was judged.

    Parameters
    ----------
    slates
        What was shown.
    kept
        [K] which slates were scored, in order of time.
    scores
        K arrays, one score for each item of the slate.
    """
    taken = [slates.taken[slates.offsets[slate] : slates.offsets[slate + 1]] for slate in kept]
    clean = [np.nan_to_num(np.asarray(values, np.float64), nan=-1e9, posinf=1e9, neginf=-1e9) for values in scores]
    mixed = [place for place, labels in enumerate(taken) if 0 < labels.sum() < len(labels)]
    return {
        "slate_auc": _mean([_auc(clean[place], taken[place]) for place in mixed]),
        "slate_ndcg@10": _mean([_first_gain(clean[place], taken[place]) for place in mixed]),
        "impressions": float(len(kept)),
    } | _probability_measures(clean, taken)


def _probability_measures(scores: list[Floats], taken: list[NDArray[np.bool_]]) -> dict[str, float]:
    calibrator, calibration, losses = OnlineCalibrator(2), Calibration(), []
    for start in range(0, len(scores), _BLOCK):
        features = np.concatenate([_features(values) for values in scores[start : start + _BLOCK]])  # [n, 2]
        labels = np.concatenate(taken[start : start + _BLOCK]).astype(np.float64)  # [n]
        if start:  # the first block only teaches
            chances = calibrator.predict(features)
            calibration.update(chances, labels)
            losses.append(log_loss(chances, labels))
        calibrator.learn(features, labels)
    if not losses:
        return {}
    loss = float(np.concatenate(losses).mean())
    return {"log_loss": loss, "calibration_error": calibration.error, "calibration_ratio": calibration.ratio}


def _features(scores: Floats) -> Floats:
    spread = float(scores.std())
    standard = (scores - scores.mean()) / spread if spread > 0 else np.zeros_like(scores)
    return np.column_stack([standard, np.full(len(scores), np.log(len(scores)))])


def _auc(scores: Floats, taken: NDArray[np.bool_]) -> float:
    """Share of (taken, left) pairs in the right order; a tie counts as wrong."""
    return float((scores[taken][:, None] > scores[~taken][None, :]).mean())


def _first_gain(scores: Floats, taken: NDArray[np.bool_]) -> float:
    places = np.flatnonzero(taken)
    ranks = ranks_of(np.repeat(scores[None], len(places), axis=0), places)
    return float(ndcg(ranks, 10).max())


def _with_one(features: Floats) -> Floats:
    return np.column_stack([features, np.ones(len(features))])


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")
