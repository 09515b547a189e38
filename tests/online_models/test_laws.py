"""Every law for every learner of the zoo and of the counting ones."""

from __future__ import annotations

import warnings

import pytest

from online_models.checks import ALL_LAWS, learners

LEARNERS = learners()


@pytest.mark.parametrize("law", ALL_LAWS)
@pytest.mark.parametrize("name", LEARNERS)
def test_law(name: str, law: str) -> None:
    make, exceptions = LEARNERS[name]
    if law in exceptions:
        pytest.skip(exceptions[law])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torch.onnx")
        ALL_LAWS[law](make)


def test_learners_are_found() -> None:
    assert {"BiasedMF", "ItemKNN", "Cooccurrence", "Transitions", "Popularity"} <= set(LEARNERS)


@pytest.mark.parametrize("name", LEARNERS)
def test_exceptions_have_a_reason(name: str) -> None:
    assert all(len(reason) > 10 for reason in LEARNERS[name][1].values())
