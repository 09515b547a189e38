"""Leave-one-out: every user's last item is the test, the one before it the validation."""

from __future__ import annotations

import numpy as np

from online_models.evaluation.interactions import Interactions
from online_models.evaluation.protocols.measures import Progress, Result, no_progress
from online_models.evaluation.protocols.split import Part, Split, run_split
from online_models.evaluation.protocols.timeline import Timeline
from online_models.recommenders import Factory

LEAST_EVENTS = 3  # one to learn, one to validate, one to test


def leave_one_out(interactions: Interactions, *, on: Part = "test", repeats: bool = False) -> Split:
    """Hold out the last two events of every user with at least three.

    At test time the history includes the validation item, as in the published tables. The protocol leaks the future:
    other users' events after a test are learnt.

    Parameters
    ----------
    interactions
        The log; only the order inside a user matters.
    on
        "test", or "validation": rank the item before the last one, to choose settings by.
    repeats
        Whether seen items stay in the lists.

    Examples
    --------
    >>> from online_models.evaluation.protocols.examples import log_of
    >>> split = leave_one_out(log_of([(0, 2), (0, 3), (0, 4), (1, 2), (0, 5)]))
    >>> split.train.tolist(), split.validation.tolist(), split.tests.tolist()
    ([0, 1, 3], [2], [4])
    """
    timeline = Timeline(interactions)
    earlier, lasting = timeline.earlier, timeline.lasting  # [E]
    enough = earlier + lasting + 1 >= LEAST_EVENTS
    held = {"test": np.flatnonzero(enough & (lasting == 0)), "validation": np.flatnonzero(enough & (lasting == 1))}
    return Split(
        log=interactions,
        train=np.flatnonzero(~enough | (lasting >= 2)),
        validation=held["validation"],
        tests=held[on],
        repeats=repeats,
    )


def run_leave_one_out(
    make: Factory,
    interactions: Interactions,
    *,
    seed: int = 0,
    on: Part = "test",
    repeats: bool = False,
    progress: Progress = no_progress,
) -> Result:
    """Fit and rank by :func:`leave_one_out`.

    Parameters
    ----------
    make
        Builds the recommender.
    interactions
        The log.
    seed
        Handed to ``make``.
    on
        "test", or "validation" to choose settings.
    repeats
        Whether seen items stay in the lists.
    progress
        Told how many more tests are done.
    """
    return run_split(make, leave_one_out(interactions, on=on, repeats=repeats), seed=seed, progress=progress)
