"""Time split: learn everything before one moment, be asked about each user's first events after it."""

from __future__ import annotations

import numpy as np

from online_models.evaluation.interactions import Interactions, Rows
from online_models.evaluation.protocols.measures import Progress, Result, no_progress
from online_models.evaluation.protocols.split import Part, Split, run_split
from online_models.evaluation.protocols.timeline import Timeline
from online_models.recommenders import Factory

_VALIDATED = 10  # the last event of every tenth user before the cut is for validation


def time_split(
    interactions: Interactions, *, cut: float = 0.9, targets: int = 1, on: Part = "test", repeats: bool = False
) -> Split:
    """Cut the log at the time of the event with which a share ``cut`` of it has passed; nothing leaks back.

    Of every tenth user the last event before the cut is kept back from training as validation; it is in the history
    when that user is asked about.

    Parameters
    ----------
    interactions
        The log in order of time.
    cut
        Share of the events before the cut; events of the same second stay on one side.
    targets
        How many events after the cut are asked about, the first ones of each user.
    on
        "test", or "validation": cut the part before the cut once more, and look only at it.
    repeats
        Whether seen items stay in the lists.

    Raises
    ------
    ValueError
        ``cut`` is no share, ``targets`` is below 1, or one side of the cut is empty.

    Examples
    --------
    >>> from online_models.evaluation.protocols.examples import log_of
    >>> split = time_split(log_of([(0, 2), (1, 3), (0, 4), (1, 2), (1, 5)]), cut=0.6)
    >>> split.train.tolist(), split.tests.tolist()
    ([0, 1], [3])
    """
    if not 0 < cut < 1 or targets < 1:
        raise ValueError(f"cut is {cut} and targets {targets}; give a share between 0 and 1, and 1 or more targets")
    if on == "validation":
        whole = time_split(interactions, cut=cut)
        return time_split(
            interactions.take(slice(0, len(whole.train) + len(whole.validation))),
            cut=cut,
            targets=targets,
            repeats=repeats,
        )
    first = int(np.searchsorted(interactions.times_seconds, interactions.times_seconds[int(len(interactions) * cut)]))
    if first == 0:
        raise ValueError(f"no event lies before the cut at {cut} of the log: too many share one time")
    known, later = np.arange(first), np.arange(first, len(interactions))
    validation = _last_of_some(interactions, known)
    asked = later[Timeline(interactions.take(later)).earlier < targets]
    return Split(
        log=interactions,
        train=np.setdiff1d(known, validation),
        validation=validation,
        tests=asked[interactions.tested[asked]],
        repeats=repeats,
    )


def _last_of_some(interactions: Interactions, known: Rows) -> Rows:
    timeline = Timeline(interactions.take(known))
    some = interactions.users[known] % _VALIDATED == 0
    found: Rows = np.flatnonzero(some & (timeline.lasting == 0) & (timeline.earlier > 0))
    return found


def run_time_split(
    make: Factory,
    interactions: Interactions,
    *,
    seed: int = 0,
    cut: float = 0.9,
    targets: int = 1,
    on: Part = "test",
    repeats: bool = False,
    progress: Progress = no_progress,
) -> Result:
    """Fit and rank by :func:`time_split`.

    Parameters
    ----------
    make
        Builds the recommender.
    interactions
        The log in order of time.
    seed
        Handed to ``make``.
    cut, targets, on, repeats
        As :func:`time_split` takes them.
    progress
        Told how many more tests are done.
    """
    split = time_split(interactions, cut=cut, targets=targets, on=on, repeats=repeats)
    return run_split(make, split, seed=seed, progress=progress)
