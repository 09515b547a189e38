"""When requests come: the arrival processes of an open loop, in which nobody waits for an answer to ask again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]


def poisson(rate: float, seconds: float, seed: int) -> Times:
    r"""Draw arrivals of many users who do not know of each other: gaps are exponential with mean 1 / rate.

    Parameters
    ----------
    rate
        Arrivals a second.
    seconds
        Length of the run.
    seed
        Of the draw.

    Returns
    -------
    Seconds since the start, in order. [A]

    Examples
    --------
    >>> times = poisson(100, 10, seed=1)
    >>> 900 < len(times) < 1_100, bool((np.diff(times) >= 0).all()), bool(times[-1] < 10)
    (True, True, True)
    """
    # Given their number, Poisson arrivals are uniform draws in order.
    random = np.random.default_rng(seed)
    return np.sort(random.uniform(0, seconds, random.poisson(rate * seconds)))


def constant(rate: float, seconds: float, seed: int = 0) -> Times:
    """Give arrivals at equal distances; the seed is not used.

    >>> constant(4, 1).tolist()
    [0.0, 0.25, 0.5, 0.75]
    """
    return np.arange(int(rate * seconds)) / rate


PROCESSES: dict[str, Callable[[float, float, int], Times]] = {"poisson": poisson, "constant": constant}
