"""API keys: who may read, who may administer, and by which name a caller is known."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256


class Right(IntEnum):
    """What a caller may do; each right includes the ones before it."""

    NONE = 0
    USE = 1  # events in, rankings out, everything that only reads
    ADMIN = 2  # change which model serves, or how the server is set up


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who sends a request: the name of the key, never the key itself."""

    name: str
    right: Right


ANYBODY = Caller(name="", right=Right.ADMIN)
STRANGER = Caller(name="", right=Right.NONE)


@dataclass(frozen=True)
class Keys:
    """The keys of a server, by name. Without any, everybody may do everything.

    Where there are keys but none of them administers, nobody may administer.

    Parameters
    ----------
    use
        Keys of applications.
    admin
        Keys of operators: they may do what applications may, and administer.

    Examples
    --------
    >>> keys = Keys({"shop": "k1"}, {"operator": "k2"})
    >>> keys.caller("k1").name, keys.caller("k2").right.name, keys.caller("guess").right.name
    ('shop', 'ADMIN', 'NONE')
    >>> Keys().caller("").right.name
    'ADMIN'
    """

    use: Mapping[str, str] = field(default_factory=dict, repr=False)
    admin: Mapping[str, str] = field(default_factory=dict, repr=False)
    _known: tuple[tuple[bytes, Caller], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Keep digests: all of one length, so that a comparison tells nothing of a key."""
        known = [(_digest(key), Caller(name=name, right=Right.USE)) for name, key in self.use.items()]
        known += [(_digest(key), Caller(name=name, right=Right.ADMIN)) for name, key in self.admin.items()]
        object.__setattr__(self, "_known", tuple(known))

    @property
    def asked_for(self) -> bool:
        """Whether a key is needed at all."""
        return bool(self._known)

    def caller(self, given: str) -> Caller:
        """Say who sent a key; every known key is compared, in the same time whichever matches."""
        if not self._known:
            return ANYBODY
        digest, found = _digest(given), STRANGER
        for known, caller in self._known:
            if hmac.compare_digest(known, digest):
                found = max(found, caller, key=lambda one: one.right)
        return found


def _digest(key: str) -> bytes:
    return sha256(key.encode(errors="surrogatepass")).digest()
