"""Measuring rankings: :mod:`online_models.evaluation.metrics` turns ranks into the usual figures."""
