"""What the ranker believes a user is about to do, in words: the intents that its graph answers beside the logits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.catalogue import Catalogue
from online_models.vocabulary import ACTIONS, AGE_NAMES, FAMILIARITIES, category_buckets

_PREFIX = "intent_"
_ANSWERS = 3
_FIXED: Mapping[str, Sequence[str]] = {
    "actions": ("none", *ACTIONS),
    "ages": AGE_NAMES,
    "familiarity": FAMILIARITIES,
}


def told_intents(
    outputs: Mapping[str, NDArray[Any]], catalogue: Catalogue, answers: int = _ANSWERS
) -> dict[str, list[dict[str, Any]]]:
    """Name the likeliest answers of every intent, best first.

    Categories are hashed into buckets while learning; a bucket is named after the category in it that has most items.

    Parameters
    ----------
    outputs
        Of the ``rank`` graph for one user: ``intent_<name>`` [1, C] each; anything else is passed over.
    catalogue
        Where the names of the categories come from.
    answers
        How many of each.

    Examples
    --------
    >>> familiarity = np.array([[0.1, 0.2, 0.7]], np.float32)
    >>> told_intents({"intent_familiarity": familiarity}, Catalogue(), answers=1)
    {'familiarity': [{'answer': 'new', 'probability': 0.7}]}
    """
    found = {}
    for output, probabilities in outputs.items():
        name = output.removeprefix(_PREFIX)
        if name == output:
            continue
        names = _FIXED.get(name) or _bucket_names(catalogue, probabilities.shape[1])
        found[name] = _likeliest(probabilities[0], names, answers)
    return found


def _likeliest(probabilities: NDArray[Any], names: Sequence[str], answers: int) -> list[dict[str, Any]]:
    order = np.argsort(-probabilities, kind="stable").tolist()
    named = [place for place in order if place < len(names) and names[place]]
    return [{"answer": names[place], "probability": round(float(probabilities[place]), 4)} for place in named[:answers]]


def _bucket_names(catalogue: Catalogue, buckets: int) -> list[str]:
    """Name of each bucket; empty where no category of the catalogue falls into it."""
    largest: list[Counter[str]] = [Counter() for _ in range(buckets)]
    for category, items in catalogue.category_sizes().items():
        (bucket,) = category_buckets([category])
        if bucket < buckets:
            largest[bucket][category] = items
    return [counts.most_common(1)[0][0] if counts else "" for counts in largest]
