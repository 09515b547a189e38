"""Learners that count. They publish the rows that they touched; the server scores candidates with them.

Each alone loses to or ties with a plain online sequence model; as inputs of the ranker they are memory beside
its depth.
"""

from online_models.counting.cooccurrence import Cooccurrence
from online_models.counting.ease import EASE
from online_models.counting.item_knn import ItemKNN
from online_models.counting.popularity import Popularity
from online_models.counting.transitions import Transitions

__all__ = ["EASE", "Cooccurrence", "ItemKNN", "Popularity", "Transitions"]
