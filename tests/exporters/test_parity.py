from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exporters.errors import ParityError
from exporters.parity import Reference, compare


class Double(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"twice": 2 * x, "masked": x.masked_fill(x > 2, float("-inf"))}


class Answers:
    """A session that answers what it is told to."""

    def __init__(self, **outputs: np.ndarray) -> None:
        self.outputs = outputs

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.outputs


X = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
REFERENCE = Reference(module=Double(), inputs={"x": X}, outputs=("twice", "masked"))
TWICE, MASKED = 2 * X.numpy(), np.where(X.numpy() > 2, -np.inf, X.numpy())


def test_equal_answers_pass_and_equal_infinities_are_equal():
    report = compare(REFERENCE, Answers(twice=TWICE, masked=MASKED))
    assert report.passed and report.max_abs == 0


def test_the_worst_row_is_named():
    wrong = TWICE.copy()
    wrong[2, 1] += 0.5
    wrong[0, 0] += 0.01
    report = compare(REFERENCE, Answers(twice=wrong, masked=MASKED))
    assert not report.passed and report.outputs[0].worst_row == 2 and report.max_abs == pytest.approx(0.5)
    assert "twice: max abs 0.5, worst row 2" in str(report)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_nan_and_lost_infinities_never_pass(bad):
    wrong = MASKED.copy()
    wrong[1, 0] = bad
    report = compare(REFERENCE, Answers(twice=TWICE, masked=wrong))
    assert not report.passed and report.outputs[1].worst_row == 1


def test_nan_in_both_does_not_pass_either():
    broken = Reference(module=Double(), inputs={"x": X * float("nan")}, outputs=("twice", "masked"))
    assert not compare(broken, Answers(twice=TWICE * np.nan, masked=MASKED * np.nan)).passed


def test_other_shapes_and_other_numbers_of_outputs_are_errors():
    with pytest.raises(ParityError, match=r"'twice'.*\(2, 2\).*\(3, 2\)"):
        compare(REFERENCE, Answers(twice=TWICE[:2], masked=MASKED))
    with pytest.raises(ParityError, match="returns 2 tensors, but 1 outputs"):
        compare(Reference(module=Double(), inputs={"x": X}, outputs=("twice",)), Answers(twice=TWICE))
