"""Sessions: each prefix of a session is asked for the next item."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from online_models.evaluation.interactions import Interactions, Rows
from online_models.evaluation.protocols.measures import Progress, Result, no_progress
from online_models.evaluation.protocols.split import Part, Split, run_split
from online_models.evaluation.protocols.timeline import Timeline
from online_models.recommenders import Factory

SESSION_GAP_SECONDS = 1_800.0
_VALIDATED = 50  # the last event of every 50th training session is for validation


def as_sessions(interactions: Interactions, gap_seconds: float = SESSION_GAP_SECONDS) -> Interactions:
    """Cut users into sessions wherever they pause; each session then stands as a user of its own.

    Examples
    --------
    >>> from online_models.evaluation.protocols.examples import log_of
    >>> as_sessions(log_of([(0, 2), (1, 3), (0, 4)], times_seconds=[0., 5., 9_000.])).users.tolist()
    [0, 1, 2]
    """
    begins = Timeline(interactions).in_session(gap_seconds) == 0  # [E]
    order = np.lexsort((np.arange(len(interactions)), interactions.users))
    numbers = np.empty(len(interactions), np.int64)
    numbers[order] = np.flatnonzero(begins[order]).searchsorted(np.arange(len(order)), side="right") - 1
    _, firsts, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    by_begin = np.empty(len(firsts), np.int64)  # number the sessions in the order in which they begin
    by_begin[np.argsort(firsts)] = np.arange(len(firsts))
    return replace(interactions, users=by_begin[inverse], user_count=len(firsts))


def session_split(
    sessions: Interactions, *, cut: float = 0.9, given: bool = False, on: Part = "test", repeats: bool = True
) -> Split:
    """Hold out whole sessions, the latest ones, and ask after each of their events but the last for the next.

    Parameters
    ----------
    sessions
        A log whose users are sessions (see :func:`as_sessions`).
    cut
        Share of the sessions, in the order in which they begin, that are learnt.
    given
        The cases are given: exactly the events with ``tested`` are asked about, and sessions that have one are not
        learnt.
    on
        "test", or "validation": hold out once more from the sessions that are learnt, and look only at those.
    repeats
        Whether an item of the session may be the next one, as published session tables allow.

    Raises
    ------
    ValueError
        ``cut`` is no share.

    Examples
    --------
    >>> from online_models.evaluation.protocols.examples import log_of
    >>> split = session_split(log_of([(0, 2), (0, 3), (1, 4), (1, 4), (1, 5)]), cut=0.5)
    >>> split.train.tolist(), split.tests.tolist()
    ([0, 1], [3, 4])
    """
    if not 0 < cut < 1:
        raise ValueError(f"cut is {cut}; give a share between 0 and 1, such as 0.9")
    held = _held(sessions, cut, given)  # [U]
    if on == "validation":
        return session_split(sessions.take(~held[sessions.users]), cut=cut, repeats=repeats)
    timeline = Timeline(sessions)
    asked = sessions.tested if given else timeline.earlier > 0
    learnt = ~held[sessions.users]
    last = learnt & (sessions.users % _VALIDATED == 0) & (timeline.lasting == 0) & (timeline.earlier > 1)
    return Split(
        log=sessions,
        train=np.flatnonzero(learnt & ~last),
        validation=np.flatnonzero(last),
        tests=np.flatnonzero(asked & ~learnt & (timeline.earlier > 0)),
        repeats=repeats,
    )


def _held(sessions: Interactions, cut: float, given: bool) -> Rows:
    """Mark the sessions that are not learnt. [U]."""
    held = np.zeros(sessions.user_count, bool)
    if given:
        held[sessions.users[sessions.tested]] = True
        return held
    present, firsts = np.unique(sessions.users, return_index=True)
    ordered = present[np.argsort(firsts)]
    held[ordered[int(len(ordered) * cut) :]] = True
    return held


def run_sessions(
    make: Factory,
    sessions: Interactions,
    *,
    seed: int = 0,
    cut: float = 0.9,
    given: bool = False,
    on: Part = "test",
    repeats: bool = True,
    progress: Progress = no_progress,
) -> Result:
    """Fit and rank by :func:`session_split`; HR@20 is what session papers call P@20.

    Parameters
    ----------
    make
        Builds the recommender.
    sessions
        A log whose users are sessions.
    seed
        Handed to ``make``.
    cut, given, on, repeats
        As :func:`session_split` takes them.
    progress
        Told how many more tests are done.
    """
    split = session_split(sessions, cut=cut, given=given, on=on, repeats=repeats)
    return run_split(make, split, seed=seed, progress=progress)
