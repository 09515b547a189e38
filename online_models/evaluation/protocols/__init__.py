"""Protocols of evaluation, each a function of a recommender's factory and a log.

>>> from online_models.evaluation.protocols.examples import log_of
>>> from online_models.recommenders import recommenders
>>> log = log_of([(0, 2), (1, 2), (0, 3), (1, 3), (0, 4), (1, 4)])
>>> run_leave_one_out(recommenders()["popular"], log).metrics["hr@5"]
1.0
"""

from online_models.evaluation.protocols.leave_one_out import leave_one_out, run_leave_one_out
from online_models.evaluation.protocols.measures import Result
from online_models.evaluation.protocols.prequential import Plan, run_prequential
from online_models.evaluation.protocols.sessions import as_sessions, run_sessions, session_split
from online_models.evaluation.protocols.split import Split, run_split
from online_models.evaluation.protocols.time_split import run_time_split, time_split

__all__ = [
    "Plan",
    "Result",
    "Split",
    "as_sessions",
    "leave_one_out",
    "run_leave_one_out",
    "run_prequential",
    "run_sessions",
    "run_split",
    "run_time_split",
    "session_split",
    "time_split",
]
