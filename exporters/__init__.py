"""From learners to answers: ONNX graphs, row deltas, the registry of versions, retrieval and the HTTP server.

:mod:`exporters.publish` is the way out of a trainer, :mod:`exporters.desk` the way to an answer. Of ours it imports
:mod:`online_models` alone.
"""
