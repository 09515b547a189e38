"""For one user, what every student would show, and what every source of candidates would show alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from exporters.asks import RecommendAsk
from exporters.ranking import RankingPath
from exporters.services import Services
from exporters.slates import Slate
from exporters.stability import ShownLists


class SideBySide:
    """Lists of one user side by side. Nothing of it is logged, and no student learns from it.

    A source's list holds the candidates of the student that answers the user, ordered by that source alone; one that
    gives none of them a score says nothing. Lists are made anew: what was shown before does not hold them in place.

    Parameters
    ----------
    services
        The parts of the server.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._paths = {
            student.name: RankingPath(services, ShownLists(), student)  # one of its own: it must not touch the users'
            for student in services.students
        }

    def lists(self, user_id: str, count: int, now_ms: int) -> dict[str, Any]:
        """Rank for every student; ``{user_id, students, sources}`` with ``count`` items a list."""
        ask = RecommendAsk(user_id=user_id, count=self._services.limits.candidates, log=False)
        answering = self._services.students.answering(user_id).name
        slates = {name: path.rank(ask, now_ms) for name, path in self._paths.items()}
        names = self._paths[answering].finder.source_names
        return {
            "user_id": user_id,
            "students": [self._student(name, slate, answering, count) for name, slate in slates.items()],
            "sources": list(self._sources(slates[answering], names, count)),
        }

    def _student(self, name: str, slate: Slate, answering: str, count: int) -> dict[str, Any]:
        return {
            "name": name,
            "answers": name == answering,
            "share": self._services.students.share(name),
            "model_version": slate.model_version,
            "items": self._items(slate.item_ids[:count], slate.scores[:count].tolist()),
        }

    def _sources(self, slate: Slate, names: Sequence[str], count: int) -> Iterable[dict[str, Any]]:
        for column, name in enumerate(names if len(slate.item_ids) else ()):
            scores = slate.source_scores[:, column]  # [N]
            best = [place for place in np.argsort(-scores, kind="stable")[:count].tolist() if scores[place] > 0]
            items = self._items([slate.item_ids[place] for place in best], scores[best].tolist())
            yield {"name": name, "items": items}

    def _items(self, item_ids: Iterable[str], scores: Iterable[float]) -> list[dict[str, Any]]:
        items = []
        for item_id, score in zip(item_ids, scores, strict=True):
            item = self._services.catalogue.get(item_id)
            items.append({"item_id": item_id, "title": item.title if item else "", "score": round(score, 6)})
        return items
