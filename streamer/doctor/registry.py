"""The model registry: checksums, pointers, what a cut-off write has left."""

from __future__ import annotations

from collections.abc import Iterator

from exporters import files
from exporters.errors import ExporterError
from exporters.registry import Registry
from streamer.doctor.finding import Finding, fine, wrong
from streamer.settings import Settings


def check_registry(settings: Settings) -> Iterator[Finding]:
    """Check every version's files against their checksums, and that each pointer leads to a whole version."""
    registry = Registry(settings.stores.models_dir)
    for name in registry.names():
        yield from _of_model(registry, name)
    if not registry.names():
        yield fine("registry", "nothing is published yet")
    left = sorted(settings.stores.models_dir.rglob(files.TEMPORARY + "*"))
    if left:
        yield fine("registry", f"{len(left)} cut-off writes lie there and are not read, the first: {left[0].name}")


def _of_model(registry: Registry, name: str) -> Iterator[Finding]:
    whole = set()
    for version in registry.versions(name):
        try:
            registry.verify(name, version)
            whole.add(version)
        except ExporterError as error:
            if not registry.folder(name, version).exists():
                continue  # retired while we looked
            mend = f"delete {registry.folder(name, version)}, or headwater restore"
            yield wrong("registry", str(error).split("; ")[0], mend)
    yield from _of_pointer(registry, name, whole)


def _of_pointer(registry: Registry, name: str, whole: set[str]) -> Iterator[Finding]:
    try:
        pointer = registry.current(name)
    except ExporterError as error:
        yield wrong("registry", str(error).split("; ")[0], f"headwater rollback --name {name} writes it anew")
        return
    if pointer is None:
        if whole:
            yield wrong("registry", f"{name} points to no version", f"headwater rollback --name {name} --release")
    elif pointer.version not in whole:
        said = f"{name} points to {pointer.version}, which is missing or damaged"
        yield wrong("registry", said, f"headwater rollback --name {name}" if whole else "headwater restore")
    else:
        pinned = ", pinned" if pointer.pinned else ""
        yield fine("registry", f"{name}: {len(whole)} whole versions, {pointer.version} serves{pinned}")
