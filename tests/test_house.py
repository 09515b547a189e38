"""Who may import whom: the rules of the house, read from the syntax trees."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("streamer", "feature_store", "online_models", "exporters")
# module prefix -> what it may import of ours; the longest prefix that matches counts
ALLOWED: dict[str, tuple[str, ...]] = {
    "streamer": PACKAGES,
    "streamer.events": ("streamer.errors",),
    "streamer.errors": (),
    "feature_store": ("feature_store", "streamer.events", "streamer.errors"),
    "online_models": ("online_models",),
    "exporters": ("exporters", "online_models"),
}
PICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(module: str, path: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            # `from streamer import events` imports a module, `from streamer.events import Event` a name of one
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def rule_for(module: str) -> tuple[str, ...]:
    return ALLOWED[max((prefix for prefix in ALLOWED if under(module, prefix)), key=len)]


def violations(module: str, path: Path) -> list[str]:
    rule = rule_for(module)
    return [
        f"{path.name}:{line} imports {name}; {module} may import {', '.join(rule) or 'nothing'} of ours"
        for line, name in imported(module, path)
        if name.split(".")[0] in PACKAGES and not any(under(name, prefix) for prefix in rule)
    ]


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=[name for name, _ in modules()])
def test_imports_point_one_way(module: str, path: Path) -> None:
    assert violations(module, path) == []


@pytest.mark.parametrize(("module", "path"), list(modules()), ids=[name for name, _ in modules()])
def test_nothing_pickles(module: str, path: Path) -> None:
    assert not {name.split(".")[0] for _, name in imported(module, path)} & PICKLERS


def test_every_package_is_looked_at() -> None:
    assert {name.split(".")[0] for name, _ in modules()} == set(PACKAGES)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("online_models.made_up", "from streamer.events import Event"),
        ("online_models.made_up", "import exporters.runtime"),
        ("exporters.made_up", "from feature_store import vectors"),
        ("exporters.made_up", "def late():\n    from streamer import settings"),
        ("feature_store.made_up", "from streamer import settings"),
        ("feature_store.families.made_up", "from ...streamer.settings import Settings"),
        ("streamer.events", "from streamer.topics import EVENTS"),
        ("streamer.events", "from . import settings"),
    ],
)
def test_a_breach_is_found(module: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / f"{module.rsplit('.', 1)[-1]}.py"
    path.write_text(source)
    assert len(violations(module, path)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("feature_store.made_up", "from streamer.events import Event\nfrom streamer.errors import EventError"),
        ("feature_store.made_up", "from streamer import events"),
        ("streamer.workers", "from online_models.learner import Learner\nfrom exporters import registry"),
        ("exporters.routes.made_up", "from ..limits import Limits\nimport json"),
    ],
)
def test_what_is_allowed_passes(module: str, source: str, tmp_path: Path) -> None:
    path = tmp_path / "made_up.py"
    path.write_text(source)
    assert violations(module, path) == []


def test_a_server_starts_without_what_only_learners_need() -> None:
    told = "import sys, streamer.commands.serve; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split()
    assert {"feast", "onnxruntime"} <= set(loaded)
    unwanted = {"faust", "onnx", "river", "scipy", "torch"}
    assert not unwanted & set(loaded), "each costs a second of every start, and memory"
