from __future__ import annotations

import numpy as np

from exporters.catalogue import Catalogue, Item
from exporters.intents import told_intents
from online_models.vocabulary import ACTIONS, AGE_NAMES, CATEGORY_BUCKETS, category_buckets


def catalogue_of(*categories: str) -> Catalogue:
    catalogue = Catalogue()
    for number, category in enumerate(categories):
        catalogue.put(Item(item_id=str(number), categories=(category,)))
    return catalogue


def peak(classes: int, place: int) -> np.ndarray:
    probabilities = np.full((1, classes), 0.01, np.float32)
    probabilities[0, place] = 0.9
    return probabilities


def test_answers_are_named() -> None:
    (drama,) = category_buckets(["Drama"])
    outputs = {
        "logits": np.zeros((1, 5), np.float32),
        "intent_actions": peak(len(ACTIONS) + 1, 1 + ACTIONS.index("like")),
        "intent_ages": peak(len(AGE_NAMES), 0),
        "intent_categories": peak(CATEGORY_BUCKETS, drama),
    }
    told = told_intents(outputs, catalogue_of("Drama", "War"))
    assert {name: answers[0] for name, answers in told.items()} == {
        "actions": {"answer": "like", "probability": 0.9},
        "ages": {"answer": "out today", "probability": 0.9},
        "categories": {"answer": "Drama", "probability": 0.9},
    }
    assert {answer["answer"] for answer in told["categories"]} == {"Drama", "War"}, "empty buckets have no name"


def test_a_bucket_of_two_categories_is_named_after_the_larger() -> None:
    (bucket,) = category_buckets(["Drama"])
    other = next(name for name in map(str, range(10_000)) if category_buckets([name]) == [bucket])
    catalogue = catalogue_of("Drama", other, other)
    outputs = {"intent_categories": peak(CATEGORY_BUCKETS, bucket)}
    assert told_intents(outputs, catalogue)["categories"][0]["answer"] == other
    catalogue.withdraw("1")
    catalogue.withdraw("2")
    assert told_intents(outputs, catalogue)["categories"][0]["answer"] == "Drama"
