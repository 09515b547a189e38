from __future__ import annotations

import pytest
import torch

from online_models.distill.direct import soft_list_loss, soft_task_loss

NAN, NONE = torch.nan, -torch.inf


def everywhere(rows: int, columns: int) -> torch.Tensor:
    return torch.ones(rows, columns, dtype=torch.bool)


def test_the_minimum_is_where_the_student_agrees_with_the_whole_distribution() -> None:
    teacher_all = torch.tensor([[2.0, 1.0, 0.5, -1.0, 0.0]])
    teacher = teacher_all.clone()
    teacher[0, 2:] = NAN
    rest = teacher_all[:, 2:].logsumexp(1)
    student = torch.zeros(1, 5, requires_grad=True)
    optimizer = torch.optim.Adam([student], lr=0.1)
    for _ in range(400):
        optimizer.zero_grad()
        soft_list_loss(student, teacher, rest, everywhere(1, 5)).backward()
        optimizer.step()
    expected = teacher_all.softmax(1)
    found = student.detach().softmax(1)
    assert torch.allclose(found[0, :2], expected[0, :2], atol=1e-3)
    assert float(found[0, 2:].sum()) == pytest.approx(float(expected[0, 2:].sum()), abs=1e-3)
    assert torch.allclose(found[0, 2:], found[0, 2].expand(3))  # nothing is said of how the rest is shared


def test_without_a_remainder_what_was_not_scored_is_not_judged() -> None:
    student = torch.tensor([[1.0, 0.0, 9.0]], requires_grad=True)
    soft_list_loss(student, torch.tensor([[0.0, 0.0, NAN]]), torch.tensor([NONE]), everywhere(1, 3)).backward()
    assert student.grad is not None
    assert student.grad[0, 2] == 0 and student.grad[0, 0] > 0 > student.grad[0, 1]


def test_masked_and_silent_examples_have_no_gradient_whatever_stands_there() -> None:
    student = torch.tensor([[1.0, 2.0, torch.inf], [5.0, 1.0, 3.0]], requires_grad=True)
    mask = everywhere(2, 3)
    mask[0, 2] = False
    teacher = torch.tensor([[0.0, NAN, 3.0], [NAN, NAN, NAN]])
    loss = soft_list_loss(student, teacher, torch.tensor([0.0, 1.0]), mask)
    loss.backward()
    assert torch.isfinite(loss) and student.grad is not None
    assert student.grad[0, 2] == 0 and not student.grad[1].any() and student.grad[0, :2].abs().sum() > 0
    alone = soft_list_loss(student[:1, :2].detach(), teacher[:1, :2], torch.tensor([0.0]), mask[:1, :2])
    assert float(loss) == pytest.approx(float(alone))


def test_no_label_at_all_is_a_loss_of_zero() -> None:
    student = torch.zeros(2, 3, requires_grad=True)
    loss = soft_list_loss(student, torch.full((2, 3), NAN), torch.zeros(2), everywhere(2, 3))
    loss.backward()
    assert float(loss) == 0 and student.grad is not None and not student.grad.any()


def test_the_teacher_gets_no_gradient_and_its_level_says_nothing() -> None:
    student, teacher = torch.randn(2, 4), torch.randn(2, 4, requires_grad=True)
    rest = torch.zeros(2)
    mask = everywhere(2, 4)
    first = soft_list_loss(student, teacher, rest, mask)
    assert not first.requires_grad
    assert float(first) == pytest.approx(float(soft_list_loss(student, teacher + 3, rest + 3, mask)), rel=1e-5)


def test_a_temperature_must_be_positive() -> None:
    with pytest.raises(ValueError, match="temperature is 0"):
        soft_list_loss(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros(1), everywhere(1, 1), temperature=0)


def test_tasks_meet_the_teachers_probability() -> None:
    logit = torch.zeros(3, requires_grad=True)
    soft_task_loss(logit, torch.tensor([2.0, -2.0, NAN])).backward()
    assert logit.grad is not None
    assert logit.grad[0] < 0 < logit.grad[1] and logit.grad[2] == 0
    assert float(soft_task_loss(torch.zeros(1), torch.tensor([NAN]))) == 0
