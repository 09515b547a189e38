"""Taking a bad model out of service: back to an earlier version, and publishing on hold. By hand or by a monitor."""

from __future__ import annotations

import time

from exporters.announcements import Announcement, announcement_of
from exporters.errors import ExporterError
from exporters.registry import Registry
from streamer.announcing import announce
from streamer.errors import HeadwaterError
from streamer.settings import Settings


def roll_back(settings: Settings, name: str, version: str | None = None, reason: str = "") -> Announcement:
    """Serve an earlier version everywhere, with its tables, and stay there until :func:`release`.

    Parameters
    ----------
    settings
        Broker and registry.
    name
        The model.
    version
        Where to go; the newest whole version before the one that serves when absent.
    reason
        Kept beside the pin, shown by ``headwater models``, and announced.

    Raises
    ------
    HeadwaterError
        There is no such version, or it is damaged; nothing has changed then. A
        :class:`~streamer.errors.BrokerError` comes after the change: servers that run have not been told.
    """
    return _announced(settings, move(_registry(settings), name, to=version, release=False, reason=reason))


def release(settings: Settings, name: str, reason: str = "") -> Announcement:
    """Serve the newest version again, and lift a hold."""
    registry = _registry(settings)
    if registry.lift(name) and registry.current(name) is None:  # held before its first version
        return Announcement(name=name, kind="held", reason="lifted", time_ms=_now_ms())
    return _announced(settings, move(registry, name, to=None, release=True, reason=reason))


def hold(settings: Settings, name: str, reason: str = "") -> Announcement:
    """Put publishing on hold: the trainer goes on learning, and neither rows nor versions go out.

    The hold lies in the registry, so it outlives every process. What serves goes on serving.
    """
    _registry(settings).hold(name, reason)
    return _announced(settings, Announcement(name=name, kind="held", reason=reason, time_ms=_now_ms()))


def lift(settings: Settings, name: str) -> bool:
    """End a hold without moving what serves; returns whether there was one."""
    return _registry(settings).lift(name)


def move(registry: Registry, name: str, *, to: str | None, release: bool, reason: str) -> Announcement:
    """Move the registry's pointer; returns what is to be announced.

    Raises
    ------
    HeadwaterError
        When there is no such version, or it is damaged; nothing has changed then.
    """
    try:
        pointer = registry.release(name) if release else registry.rollback(name, to, reason)
        kept = registry.manifest(name, pointer.version)
        return announcement_of(registry, kept, "released" if release else "rolled_back", reason)
    except ExporterError as error:
        raise HeadwaterError(str(error)) from error


def _announced(settings: Settings, told: Announcement) -> Announcement:
    announce(told, settings.kafka.bootstrap_servers)
    return told


def _registry(settings: Settings) -> Registry:
    return Registry(settings.stores.models_dir)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
