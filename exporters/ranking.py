"""The request path: session, candidates, features, ONNX Runtime, slate. Synchronous, safe to call from many threads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.asks import Ask, RecommendAsk, SearchAsk, SimilarAsk
from exporters.candidates import UNKNOWN, CandidateFinder, Pool
from exporters.contracts import Session
from exporters.explain import contributions
from exporters.feeds import Feeds, HistoryView, candidate_feeds, context_feeds, history_view
from exporters.reasons import Reasons
from exporters.runtime import LoadedModel
from exporters.services import Services
from exporters.stability import ShownLists, steadied
from exporters.students import ServedStudent
from online_models.imputation import impute_words

_FUSION = 60.0  # the constant of reciprocal rank fusion (Cormack et al. 2009)


class Stopwatch:
    """Milliseconds by stage."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure one stage."""
        start = time.perf_counter()
        yield
        self.timings_ms[name] = round(1_000 * (time.perf_counter() - start), 3)

    def total(self) -> dict[str, float]:
        """All stages with ``total`` since the watch was made."""
        return {**self.timings_ms, "total": round(1_000 * (time.perf_counter() - self.started), 3)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Slate:
    """A ranked list and all that was known while ranking it. Arrays run in the order of the list."""

    item_ids: tuple[str, ...]
    scores: NDArray[np.float32]  # [K]
    source_scores: NDArray[np.float32]  # [K, S]
    propensities: NDArray[np.float32]  # [K]
    context_features: NDArray[np.float32] | None = None  # [F]
    student: str | None = None
    model_version: str | None = None
    fallback: bool = False
    reason: str | None = None
    explanation: list[dict[str, Any]] | None = None  # [K]
    state: dict[str, Any] | None = None
    session_id: str | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    candidates: int = 0


class NotFinite(RuntimeError):
    """The graph answered NaN or an infinity."""


class RankingPath:
    """Ranks one request with one student.

    Parameters
    ----------
    services
        Store, catalogue and limits.
    shown
        Lists that were shown last.
    student
        Tables, index and model; the first student's where nothing is said.
    """

    def __init__(
        self, services: Services, shown: ShownLists | None = None, student: ServedStudent | None = None
    ) -> None:
        self._services = services
        self.student = student or services.students.first
        self._shown = shown or ShownLists()
        self._random = np.random.default_rng()
        self.finder = CandidateFinder(
            self.student.tables, self.student.index, services.catalogue, services.limits, services.known_of
        )
        self._reasons = Reasons(self.finder, self.student.tables, services.catalogue)

    def rank(self, ask: Ask, now_ms: int) -> Slate:
        """Rank as of ``now_ms``.

        Raises
        ------
        NotFinite
            The graph answered NaN or an infinity.
        exporters.errors.RuntimeLoadError
            The graph does not take what the tables hold.
        """
        watch = Stopwatch()
        with watch.stage("session"):
            session = self._services.store.read(ask.user_id, now_ms)
        model = self.student.host.current
        with watch.stage("candidates"):
            history, context = self._context(session, ask, now_ms)
            pool = self._candidates(ask, model, session, history, context, now_ms)
        if not len(pool):
            return self._empty(session, model, watch)
        with watch.stage("features"):
            feeds = {**context, **self._candidate_feeds(pool)}
        with watch.stage("rank"):
            logits, weights = _logits(model, feeds, pool)
            order, propensities = self._order(ask, session, pool, logits)
        explanation = self._explain(ask, history, pool, logits, weights, feeds, order) if ask.explain else None
        return Slate(
            item_ids=tuple(pool.item_ids[place] for place in order),
            scores=logits[order],
            source_scores=pool.source_scores[order],
            propensities=propensities,
            context_features=session.features,
            student=self.student.name,
            model_version=self.student.label(model.version if model else ""),
            fallback=model is None,
            reason=_reason(session, model),
            explanation=explanation,
            state=_state(session) if ask.explain else None,
            session_id=session.session_id,
            timings_ms=watch.total(),
            candidates=len(pool),
        )

    def _context(self, session: Session, ask: Ask, now_ms: int) -> tuple[HistoryView, Feeds]:
        tables, limit = self.student.tables, self._services.limits.history
        newest = session.item_ids[-limit:]
        history = history_view(
            tables.rows(newest), session.actions[-limit:], session.event_times_ms[-limit:], now_ms, limit
        )
        source_row = tables.rows([ask.source_item_id]) if ask.source_item_id else np.zeros(1, np.int64)
        feeds = context_feeds(
            history,
            tables.gather_vectors(history.rows),
            session.features,
            tables.gather_vectors(source_row)[0],
            surface=ask.surface,
            query=impute_words(ask.query, ask.source_item_id, self._title),
            length=limit,
        )
        return history, feeds

    def _title(self, item_id: str) -> str:
        item = self._services.catalogue.get(item_id)
        return item.title if item else ""

    def _candidates(
        self, ask: Ask, model: LoadedModel | None, session: Session, history: HistoryView, context: Feeds, now_ms: int
    ) -> Pool:
        encoder = model.sessions.get("encode") if model else None
        wanted = encoder is not None and type(ask) not in (SearchAsk, SimilarAsk) and len(history.rows)
        vector = encoder.run(context)["user_vector"][0] if encoder is not None and wanted else None
        return self.finder.find(ask, history.rows, vector, session.seen_item_ids, now_ms)

    def _candidate_feeds(self, pool: Pool) -> Feeds:
        tables = self.student.tables
        features = _filled_in(tables.gather_features(pool.rows), pool.rows > UNKNOWN)
        return candidate_feeds(tables.gather_vectors(pool.rows), pool.source_scores, features)

    def _order(
        self, ask: Ask, session: Session, pool: Pool, logits: NDArray[np.float32]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        scores = logits if pool.prior is None else _fused(logits, pool.prior)
        count = min(ask.count or len(pool), len(pool))
        temperature = self._services.limits.exploration_temperature
        if temperature <= 0:
            order = self._steady(ask, session, pool, scores, count)
            return order, np.ones(count, np.float32)
        noisy = scores / temperature + self._random.gumbel(size=len(scores))
        order = np.argsort(-noisy, kind="stable")[:count]
        return order, plackett_luce(scores / temperature, order)

    def _steady(
        self, ask: Ask, session: Session, pool: Pool, scores: NDArray[np.float32], count: int
    ) -> NDArray[np.intp]:
        """Best first; where a list was shown in this session, starting from it (see :mod:`exporters.stability`)."""
        margin = self._services.limits.stability_margin
        shown = self._shown.get(ask.user_id, ask.surface, session.session_id) if margin > 0 and is_shown(ask) else ()
        if not shown:
            return np.argsort(-scores, kind="stable")[:count]
        places = {item_id: place for place, item_id in enumerate(pool.item_ids)}
        previous = [places[item_id] for item_id in shown if item_id in places]
        return steadied(scores, previous, count, margin)

    def _explain(
        self,
        ask: Ask,
        history: HistoryView,
        pool: Pool,
        logits: NDArray[np.float32],
        weights: NDArray[np.float32] | None,
        feeds: Feeds,
        order: NDArray[np.intp],
    ) -> list[dict[str, Any]]:
        parts = contributions(self.finder.source_names, pool.source_scores, logits, weights)
        return self._reasons.explain(ask, history.rows, pool, parts, feeds["candidate_features"][0], order)

    def _empty(self, session: Session, model: LoadedModel | None, watch: Stopwatch) -> Slate:
        nothing = np.zeros(0, np.float32)
        known = len(self._services.catalogue) or len(self.student.tables.live_rows())
        return Slate(
            item_ids=(),
            scores=nothing,
            source_scores=nothing.reshape(0, 0),
            propensities=nothing,
            context_features=session.features,
            student=self.student.name,
            model_version=self.student.label(model.version if model else ""),
            reason="no_candidate_left" if known else "empty_catalogue",
            timings_ms=watch.total(),
        )


def is_shown(ask: Ask) -> bool:
    """Whether this is a list that follows the user through a session: not a search, not a list beside an item."""
    return isinstance(ask, RecommendAsk) and ask.log and ask.query is None and ask.source_item_id is None


def _filled_in(features: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Let an item without a row count as an average one of its list, [N, G].

    Its zeros are no measurement, and the ranker never learns from an item without a past: a weight on the age of items,
    say, would put all of them first, or last.

    >>> _filled_in(np.array([[1, 4], [0, 0], [3, 4]], np.float32), np.array([True, False, True]))[1].tolist()
    [2.0, 4.0]
    """
    if known.any() and not known.all():
        features[~known] = features[known].mean(axis=0)
    return features


def _logits(
    model: LoadedModel | None, feeds: Feeds, pool: Pool
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Logits [N] and the sources' weights; without a model each source counts by its share of its best."""
    if model is None:
        peak = np.maximum(pool.source_scores.max(axis=0, initial=0), 1e-9)
        return (pool.source_scores / peak).sum(axis=1).astype(np.float32), None
    outputs = model.sessions["rank"].run(feeds)
    logits = outputs["logits"][0]
    if not np.isfinite(logits).all():
        raise NotFinite(f"version {model.version} answered NaN or an infinity")
    weights = outputs.get("source_weights")
    return logits, None if weights is None else weights[0]


def _fused(logits: NDArray[np.float32], prior: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reciprocal rank fusion of the ranker with the fit to the query or source item, [N]."""
    return (1 / (_FUSION + _ranks(logits)) + 1 / (_FUSION + _ranks(prior))).astype(np.float32)


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rank of each value, 1 for the largest; equal values share the last of their ranks, [N]."""
    return np.searchsorted(np.sort(-values), -values, side="right").astype(np.float64)


def plackett_luce(scores: NDArray[np.floating[Any]], order: NDArray[np.intp]) -> NDArray[np.float32]:
    r"""Probability of each drawn item at its place, :math:`e^{s_k} / \sum_{j \text{ left}} e^{s_j}`.

    >>> plackett_luce(np.zeros(2), np.array([1, 0])).tolist()
    [0.5, 1.0]
    """
    mass = np.exp(scores - scores.max())
    drawn = mass[order]
    left = mass.sum() - np.concatenate([[0.0], np.cumsum(drawn)[:-1]])
    return np.asarray(np.clip(drawn / np.maximum(left, 1e-30), 0, 1), np.float32)


def _reason(session: Session, model: LoadedModel | None) -> str | None:
    if model is None:
        return "no_model"
    return "unknown_user" if session.last_event_id is None and not session.item_ids else None


def _state(session: Session) -> dict[str, Any]:
    """Give the raw state that a list was made from."""
    return {
        "features": dict(zip(session.feature_names, session.features.tolist(), strict=True)),
        "session_id": session.session_id,
        "session_length": session.session_length,
        "last_event_id": session.last_event_id,
        "raw": session.raw,
    }
