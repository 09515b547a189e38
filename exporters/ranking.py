"""The request path: session, candidates, features, ONNX Runtime, slate. Synchronous, safe to call from many threads.

Its two halves may run in different threads: the first waits for other systems, the second only computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exporters.asks import Ask
from exporters.candidates import CandidateFinder, searches_everywhere
from exporters.contracts import Session
from exporters.explain import contributions
from exporters.feeds import Feeds, HistoryView, candidate_feeds, context_feeds, history_view
from exporters.intents import told_intents
from exporters.ordering import Ordering
from exporters.pool import Pool
from exporters.reasons import Reasons
from exporters.row_catalog import UNKNOWN_ROW
from exporters.runtime import LoadedModel
from exporters.services import Services
from exporters.side_sources import Pending, SideSources
from exporters.slates import Slate, Stopwatch
from exporters.stability import ShownLists
from exporters.students import ServedStudent
from exporters.two_stages import Outputs, TwoStages
from online_models.imputation import impute_words


class NotFinite(RuntimeError):
    """The graph answered NaN or an infinity."""


class Gathered(NamedTuple):
    """What other systems know of a user."""

    session: Session
    known: Sequence[str]  # items that a model of long histories finds for the user, best first
    watch: Stopwatch  # running since they were asked


class _Found(NamedTuple):
    """What a list is made from."""

    history: HistoryView
    context: Feeds
    state: Outputs
    pool: Pool
    candidates: Feeds


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
    beside
        Threads for sources that ask other systems; own ones where nothing is said.
    """

    def __init__(
        self,
        services: Services,
        shown: ShownLists | None = None,
        student: ServedStudent | None = None,
        beside: SideSources | None = None,
    ) -> None:
        self._services = services
        self.student = student or services.students.first
        self._beside = beside or SideSources()
        tables, catalogue = self.student.tables, services.catalogue
        self.finder = CandidateFinder(tables, self.student.index, catalogue, lambda: services.limits)
        self._ordering = Ordering(shown or ShownLists(), lambda: services.limits, tables.rows)
        self._stages = TwoStages(services.limits.session_states_bytes)
        self._reasons = Reasons(self.finder, tables, catalogue)

    def rank(self, ask: Ask, now_ms: int) -> Slate:
        """Rank as of ``now_ms``: :meth:`gather`, then :meth:`compute`."""
        return self.compute(ask, now_ms, self.gather(ask, now_ms))

    def waits(self, ask: Ask) -> bool:
        """Whether :meth:`gather` may have to wait for another machine, or for a model of long histories."""
        return self._services.store.remote or self._asks_side_sources(ask)

    def gather(self, ask: Ask, now_ms: int) -> Gathered:
        """Ask the other systems what they know of the user; this half waits for them.

        Raises
        ------
        exporters.errors.StoreUnavailable
            There is no session to be read.
        """
        watch = Stopwatch()
        known = self._known(ask)
        with watch.stage("session"):
            session = self._services.store.read(ask.user_id, now_ms)
            taken = known.take(watch.started + self._services.limits.sources_ms / 1_000)
        return Gathered(session, taken, watch)

    def compute(self, ask: Ask, now_ms: int, gathered: Gathered) -> Slate:
        """Rank what was gathered, all of it between two batches of rows; this half waits for nobody.

        Raises
        ------
        NotFinite
            The graph answered NaN or an infinity.
        exporters.errors.RuntimeLoadError
            The graph does not take what the tables hold.
        """
        return self.student.tables.consistent(lambda: self._slate(ask, now_ms, gathered))

    def _slate(self, ask: Ask, now_ms: int, gathered: Gathered) -> Slate:
        session, known, watch = gathered
        model = self.student.answering(ask.user_id)
        found = self._find(ask, session, model, known, now_ms, watch)
        pool, state = found.pool, found.state
        if not len(pool):
            return self._empty(session, model, watch)
        with watch.stage("rank"):
            logits, weights = self._logits(model, found)
            order, propensities = self._ordering.order(ask, session.session_id, pool, logits)
        explanation = self._explain(ask, found, logits, weights, order) if ask.explain else None
        return Slate(
            item_ids=tuple([pool.item_ids[place] for place in order.tolist()]),
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
            intents=told_intents(state, self._services.catalogue) if ask.explain else None,
            session_id=session.session_id,
            timings_ms=watch.total(),
            candidates=len(pool),
        )

    def _known(self, ask: Ask) -> Pending:
        """Start asking what a model of long histories knows of the user, while the session is read."""
        known_of = self._services.known_of
        if known_of is None or not self._asks_side_sources(ask):
            return Pending("foundation", None)
        return self._beside.ask("foundation", lambda: known_of(ask.user_id))

    def _asks_side_sources(self, ask: Ask) -> bool:
        services = self._services
        return services.known_of is not None and searches_everywhere(ask) and services.knows()

    def _find(
        self, ask: Ask, session: Session, model: LoadedModel | None, known: Sequence[str], now_ms: int, watch: Stopwatch
    ) -> _Found:
        """Encode the session, find candidates and read what is known of them."""
        with watch.stage("encode"):
            history, context = self._context(session, ask, now_ms)
            state = self._encode(ask, model, history, context)
        with watch.stage("candidates"):
            vector = state["user_vector"][0] if len(history.rows) and "user_vector" in state else None
            pool = self.finder.find(ask, history.rows, vector, session.seen_item_ids, now_ms, known)
            candidates = self._candidate_feeds(pool)
        return _Found(history, context, state, pool, candidates)

    def _context(self, session: Session, ask: Ask, now_ms: int) -> tuple[HistoryView, Feeds]:
        tables, limit = self.student.tables, self._services.limits.history
        moment_ms = now_ms if session.moment_ms is None else session.moment_ms
        newest = session.item_ids[-limit:]
        sources = [ask.source_item_id] if ask.source_item_id else []
        rows = tables.rows([*newest, *sources])
        vectors = tables.gather_vectors(rows)
        count = len(newest)
        history = history_view(
            rows[:count], session.actions[-limit:], session.event_times_ms[-limit:], moment_ms, limit
        )
        feeds = context_feeds(
            history,
            vectors[:count],
            session.features,
            vectors[count] if sources else np.zeros(vectors.shape[1], np.float32),
            surface=ask.surface,
            query=impute_words(ask.query, ask.source_item_id, self._title),
            length=limit,
        )
        return history, feeds

    def _title(self, item_id: str) -> str:
        item = self._services.catalogue.get(item_id)
        return item.title if item else ""

    def _encode(self, ask: Ask, model: LoadedModel | None, history: HistoryView, context: Feeds) -> Outputs:
        retrieves = searches_everywhere(ask) and len(history.rows) > 0
        return {} if model is None else self._stages.encode(model, context, retrieves=retrieves)

    def _candidate_feeds(self, pool: Pool) -> Feeds:
        tables = self.student.tables
        features = _filled_in(tables.gather_features(pool.rows), pool.rows > UNKNOWN_ROW)
        return candidate_feeds(tables.gather_vectors(pool.rows), pool.source_scores, features)

    def _logits(
        self, model: LoadedModel | None, found: _Found
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Logits [N] and the sources' weights; without a model each source counts by its share of its best."""
        if model is None:
            scores = found.pool.source_scores  # [N, S]
            return (scores / np.maximum(scores.max(axis=0, initial=0), 1e-9)).sum(axis=1).astype(np.float32), None
        outputs = self._stages.score(model, found.context, found.state, found.candidates)
        logits = outputs["logits"][0]
        if not np.isfinite(logits).all():
            raise NotFinite(f"version {model.version} answered NaN or an infinity")
        weights = outputs.get("source_weights")
        return logits, None if weights is None else weights[0]

    def _explain(
        self,
        ask: Ask,
        found: _Found,
        logits: NDArray[np.float32],
        weights: NDArray[np.float32] | None,
        order: NDArray[np.intp],
    ) -> list[dict[str, Any]]:
        parts = contributions(self.finder.source_names, found.pool.source_scores, logits, weights)
        features = found.candidates["candidate_features"][0]  # [N, G]
        return self._reasons.explain(ask, found.history.rows, found.pool, parts, features, order)

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
