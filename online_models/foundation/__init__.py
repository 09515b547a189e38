"""The foundation model: trained on windows that slide over long histories, refreshed on the stream, in one space."""

from online_models.foundation.alignment import Alignment, procrustes
from online_models.foundation.histories import HistoryStore
from online_models.foundation.learner import FoundationLearner
from online_models.foundation.model import FoundationModel

__all__ = ["Alignment", "FoundationLearner", "FoundationModel", "HistoryStore", "procrustes"]
