"""Which student answers which user: by a hash of the user, in given shares."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from hashlib import blake2b

from exporters.errors import AssignmentError

_TOLERANCE = 1e-6


class Assignment:
    """Assigns users to students, the same user always to the same one.

    A user goes to the student with the largest ``-share / log(h)``, where ``h`` in (0, 1) is a hash of salt, student
    and user (weighted rendezvous hashing). Where one share grows at the others' expense, users move to that student
    only; where a student is away, its own users alone go to the others, in proportion to their shares.

    Parameters
    ----------
    shares
        Share of the users by the student's name; they sum to 1.
    salt
        Another salt draws another assignment, so that two experiments do not put the same users together.

    Raises
    ------
    AssignmentError
        A share is negative, or they do not sum to 1.

    References
    ----------
    C. Schindelhauer, G. Schomaker, "Weighted Distributed Hash Tables", SPAA 2005, the logarithmic method.

    Examples
    --------
    >>> assignment = Assignment({"student": 0.5, "caser": 0.5}, salt="spring")
    >>> assignment.of("ada") == assignment.of("ada"), assignment.of("ada", present={"caser"})
    (True, 'caser')
    """

    def __init__(self, shares: Mapping[str, float], salt: str = "") -> None:
        check_shares(shares)
        self.shares, self.salt = dict(shares), salt

    def of(self, user_id: str, present: Collection[str] | None = None) -> str:
        """Name the user's student among those that are present; among all where none is, or where nothing is said."""
        names = [name for name, share in self.shares.items() if share > 0 and (present is None or name in present)]
        if not names:
            return self.of(user_id)
        return names[0] if len(names) == 1 else max(names, key=lambda name: self._pull(name, user_id))

    def _pull(self, name: str, user_id: str) -> float:
        digest = blake2b(f"{self.salt}\0{name}\0{user_id}".encode(errors="replace"), digest_size=8).digest()
        uniform = ((int.from_bytes(digest) >> 12) + 0.5) / (1 << 52)  # in (0, 1): exact in a float, so never 0 or 1
        return -self.shares[name] / math.log(uniform)


def check_shares(shares: Mapping[str, float]) -> None:
    """Raise :class:`AssignmentError` unless all shares are at least 0 and sum to 1.

    >>> check_shares({"student": 0.9, "caser": 0.1})
    """
    told = ", ".join(f"{name} = {share:g}" for name, share in shares.items()) or "nothing"
    if any(not share >= 0 for share in shares.values()):
        raise AssignmentError(f"shares of users were given as {told}; each must be 0 or more, and their sum 1")
    total = sum(shares.values())
    if abs(total - 1) > _TOLERANCE:
        raise AssignmentError(f"shares of users were given as {told}; they sum to {total:g}, but must sum to 1")
