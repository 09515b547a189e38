"""What users do with the lists of each student, counted at the door, so that an A/B can be read in Prometheus."""

from __future__ import annotations

import msgspec

from exporters import metrics
from exporters.students import ShownBy, Students, student_of_version
from online_models.vocabulary import ACTIONS


class _Told(msgspec.Struct):
    type: str = ""
    user_id: str | None = None
    action: str | None = None
    impression_id: str | None = None
    model_version: str | None = None


_NO_HIT = ("skip",)
_decoder = msgspec.json.Decoder(_Told)


class Outcomes:
    """Counts interactions by the student whose list they answer.

    An interaction tells that by its ``model_version``, or by its ``impression_id`` where this server made the list;
    one that tells neither is not counted. An event that is sent twice counts twice: this is a gauge of an experiment,
    the event log is its record.

    Parameters
    ----------
    students
        Whose lists are counted; other names are left out.
    shown_by
        Who made the lists of late.
    """

    def __init__(self, students: Students, shown_by: ShownBy) -> None:
        self._students, self._shown_by = students, shown_by

    def observe(self, raw: bytes) -> str | None:
        """Count an event that was accepted; returns the student it was counted for."""
        try:
            told = _decoder.decode(raw)
        except msgspec.DecodeError:  # the door takes more spellings than this reader
            return None
        name = self._student(told) if told.type == "interaction" else None
        if name is not None:
            action = told.action if told.action in ACTIONS else "other"  # clients must not make up label values
            metrics.OUTCOMES.labels(name, action).inc()
            canary = self._students[name].canary
            if canary is not None and told.user_id and action not in _NO_HIT:
                canary.count_outcome(told.user_id)
        return name

    def _student(self, told: _Told) -> str | None:
        name = student_of_version(told.model_version) if told.model_version else None
        if name is None and told.impression_id is not None:
            name = self._shown_by.get(told.impression_id)
        return name if name in self._students else None
