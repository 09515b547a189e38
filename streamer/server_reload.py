"""Reading the settings again while a server runs: all of what can change at once, or nothing."""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from exporters import metrics
from exporters.assignment import Assignment
from exporters.errors import AssignmentError
from exporters.problem import Problem
from exporters.services import Services
from streamer import events
from streamer.http_door import KafkaDoor
from streamer.logs import set_level
from streamer.server_settings import access_log_of, canary_rules_of, keys_of, limits_of, rate_of
from streamer.settings import Settings

_log = logging.getLogger(__name__)
SECRETS = frozenset({"serving.api_key", "serving.api_keys", "serving.admin_keys", "stores.redis_url"})
LIVE = frozenset(
    {
        "serving.api_key",
        "serving.api_keys",
        "serving.admin_keys",
        "serving.rate_per_second",
        "serving.rate_burst",
        "serving.lame_duck_seconds",
        "serving.drain_seconds",
        "serving.deadline_ms",
        "serving.sources_ms",
        "serving.stability_margin",
        "serving.max_body_bytes",
        "serving.max_candidates",
        "serving.max_results",
        "serving.canary_share",
        "serving.canary_seconds",
        "serving.canary_lists",
        "serving.students",
        "serving.assignment_salt",
        "events.earliest_event_time_ms",
        "events.future_tolerance_seconds",
        "events.max_event_bytes",
        "events.max_slate",
        "logs.level",
        "logs.access_share",
        "logs.slow_ms",
    }
)
READ_BY_SERVERS = ("kafka", "events", "sessions", "stores", "learning", "serving", "logs", "tracing")


class Reloader:
    """Holds the settings that a server runs with and moves them on.

    Parameters
    ----------
    settings
        What the server was started with.
    services
        Where limits, keys, rate, shares and access log are replaced.
    door
        Where the limits of events are replaced.
    read
        Reads the settings anew.
    """

    def __init__(self, settings: Settings, services: Services, door: KafkaDoor, read: Callable[[], Settings]) -> None:
        self.settings = settings
        self._services, self._door, self._read = services, door, read

    async def reload(self) -> dict[str, Any]:
        """Read the settings again and put into force what can change in a running server.

        Returns
        -------
        dict
            ``changed`` and ``needs_restart``: (old, new) by the setting's name; of keys the names alone.

        Raises
        ------
        Problem
            422 ``bad_settings``: they cannot be read, or break a rule; nothing has changed.
        """
        try:
            answer = self._move_on()
        except (ValidationError, tomllib.TOMLDecodeError, AssignmentError, OSError) as error:
            metrics.RELOADS.labels("refused").inc()
            said = _said(error)
            _log.error("the settings were not reloaded, nothing has changed: %s", said)
            raise Problem(422, "bad_settings", f"Nothing has changed: {said}") from error
        metrics.RELOADS.labels("done").inc()
        _log.info("settings reloaded: %s", answer)
        return answer

    def _move_on(self) -> dict[str, Any]:
        old, new = _flat(self.settings), _flat(_present(self._read))
        differing = [name for name in new if new[name] != old[name]]
        live = {name: new[name] for name in differing if self._can_change(name, new[name])}
        self._put_into_force(_with(self.settings, live))
        told = {name: _told(name, old[name], new[name]) for name in differing}
        return {
            "changed": {name: told[name] for name in differing if name in live},
            "needs_restart": {name: told[name] for name in differing if name not in live},
        }

    def _can_change(self, name: str, value: Any) -> bool:
        if name == "serving.students":
            return set(value) <= set(self._services.students.names())
        return name in LIVE

    def _put_into_force(self, settings: Settings) -> None:
        """Make everything first, then replace it: nothing below can fail half way."""
        serving, services = settings.serving, self._services
        limits, keys, rate, lines = limits_of(settings), keys_of(serving), rate_of(serving), access_log_of(settings)
        assignment = Assignment(serving.students, serving.assignment_salt)
        event_limits, canary_rules = events.Limits(**settings.events.model_dump()), canary_rules_of(serving)
        services.limits, services.keys, services.rate.rate, services.access_log = limits, keys, rate, lines
        services.students.assignment = assignment
        for student in services.students:
            if student.canary is not None:
                student.canary.change(canary_rules, serving.assignment_salt)
        self._door.limits = event_limits
        set_level(settings.logs.level)
        self.settings = settings


def _present(read: Callable[[], Settings]) -> Settings:
    named = os.environ.get("HEADWATER_CONFIG")
    if named is not None and not Path(named).is_file():
        raise FileNotFoundError(f"HEADWATER_CONFIG names {named}, and there is no such file")
    return read()


def _flat(settings: Settings) -> dict[str, Any]:
    groups = {name: getattr(settings, name) for name in READ_BY_SERVERS}
    return {f"{group}.{name}": value for group, part in groups.items() for name, value in part.model_dump().items()}


def _with(settings: Settings, values: Mapping[str, Any]) -> Settings:
    groups: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        group, _, field = name.partition(".")
        groups.setdefault(group, {})[field] = value
    parts: dict[str, BaseModel] = {
        group: getattr(settings, group).model_copy(update=fields) for group, fields in groups.items()
    }
    return settings.model_copy(update=parts)


def _told(name: str, old: Any, new: Any) -> Any:
    return "a secret" if name in SECRETS else [_plain(old), _plain(new)]


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _said(error: Exception) -> str:
    """Name the settings and the rules that they break, never what was given: it may be a key."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
