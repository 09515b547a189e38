"""Versions: the packages that are installed, and settings that nobody reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata

from packaging.requirements import Requirement
from pydantic import BaseModel

from streamer import snapshots, state
from streamer.doctor.finding import Finding, fine, wrong
from streamer.events import SCHEMA_VERSION
from streamer.settings import Settings

PREFIX = "HEADWATER_"
OTHER_VARIABLES = ("HEADWATER_CONFIG", "HEADWATER_TEST_")
"""Read elsewhere: the settings file, the tests."""


def check_versions(settings: Settings, required: Iterable[str] | None = None) -> Iterator[Finding]:
    """Compare the installed packages with what Headwater asks for.

    Parameters
    ----------
    settings
        Not read.
    required
        Requirements as packages write them; Headwater's own when absent.
    """
    del settings
    lines = metadata.requires("headwater") or [] if required is None else list(required)
    asked = [requirement for line in lines if _applies(requirement := Requirement(line))]
    found = list(_unfit(asked))
    yield from found
    if not found:
        yield fine("versions", f"{len(asked)} packages fit, Python {sys.version.split()[0]}")
    yield fine(
        "versions",
        f"headwater {metadata.version('headwater')}: event schema {SCHEMA_VERSION}, state format {state.FORMAT}, "
        f"snapshot format {snapshots.FORMAT_VERSION}",
    )


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})


def _unfit(asked: Iterable[Requirement]) -> Iterator[Finding]:
    for requirement in asked:
        mend = f"pip install '{requirement.name}{requirement.specifier}'"
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield wrong("versions", f"{requirement.name} is not installed", mend)
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            said = f"{requirement.name} {installed} is installed, {requirement.specifier} is needed"
            yield wrong("versions", said, mend)


def check_environment(settings: Settings, environment: Mapping[str, str] | None = None) -> Iterator[Finding]:
    """Find variables that begin with ``HEADWATER_`` and that no setting reads: a misspelt one is ignored in silence.

    Parameters
    ----------
    settings
        Their fields are the names that exist.
    environment
        This process's own when absent.
    """
    given = os.environ if environment is None else environment
    known = set(_names(type(settings)))
    unread = [
        name
        for name in sorted(given)
        if name.startswith(PREFIX) and not name.startswith(OTHER_VARIABLES) and name.upper() not in known
    ]
    for name in unread:
        yield wrong("settings", f"{name} is read by nobody", "see streamer/settings.py for the names, or unset it")
    if not unread:
        yield fine("settings", "every HEADWATER_ variable names a setting")


def _names(model: type[BaseModel], prefix: str = PREFIX) -> Iterator[str]:
    for field, about in model.model_fields.items():
        name = f"{prefix}{field}".upper()
        yield name
        if isinstance(about.annotation, type) and issubclass(about.annotation, BaseModel):
            yield from _names(about.annotation, f"{name}__")
