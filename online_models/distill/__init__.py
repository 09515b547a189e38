"""How a student learns from a teacher's soft labels: one method a file.

A soft label of a list is bounded: the teacher's logits of its best few items and one number, the remainder, which is
the log of the summed exponentials of all other items that it scored. Where a label says nothing, its logit is NaN.

:mod:`~online_models.distill.direct` puts the soft label on the logit that is served,
:mod:`~online_models.distill.auxiliary` on a logit of its own, :mod:`~online_models.distill.ranking` on the order alone,
and :mod:`~online_models.distill.diagnosis` holds what must be beaten before a gain is the teacher's knowledge.
"""
