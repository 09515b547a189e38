"""``python -m deploy.dashboards [--check]``: write the dashboards, or say which ones differ from the program.

The alert rules are copied into the Helm chart too: Helm reads no file outside of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.dashboards import drift, freshness, learning, overview, serving, stream, teacher
from deploy.dashboards.panels import Page, rendered

DEPLOY = Path(__file__).parents[1]
FOLDER = DEPLOY / "grafana" / "dashboards"
ALERTS = DEPLOY / "alerts.yml"
CHART_ALERTS = DEPLOY / "helm" / "headwater" / "files" / "alerts.yml"
PAGES: tuple[Page, ...] = (
    overview.PAGE,
    stream.PAGE,
    learning.PAGE,
    freshness.PAGE,
    serving.PAGE,
    drift.PAGE,
    teacher.PAGE,
)


def files() -> dict[str, str]:
    """Every dashboard by its file name."""
    return {f"{page.uid}.json": rendered(page) for page in PAGES}


def differences(folder: Path = FOLDER) -> list[str]:
    """Names of the files that are missing, too many, or not what the program writes."""
    wanted = files()
    found = {path.name: path.read_text() for path in folder.glob("*.json")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def main() -> None:
    """Write the files, or compare them."""
    if "--check" in sys.argv[1:]:
        if different := differences():
            sys.exit(f"not as the program writes them: {', '.join(different)}; run python -m deploy.dashboards")
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text)
    CHART_ALERTS.write_text(ALERTS.read_text())
    for path in FOLDER.glob("*.json"):
        if path.name not in files():
            path.unlink()


if __name__ == "__main__":
    main()
