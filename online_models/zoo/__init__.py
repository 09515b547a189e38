"""One system a file. What lies here is found by :func:`online_models.checks.learners` and held to every law.

:mod:`~online_models.zoo.in_session` is the ranker that is served, :mod:`~online_models.zoo.biased_mf` a baseline.
"""
