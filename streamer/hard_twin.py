"""What a student would be without its teacher, measured on the same stream."""

from __future__ import annotations

from streamer.network import Network

HARD_ONLY = "hard_only"  # its name among the scorers of the prequential figures


class HardTwin(Network):
    """A network that learns what the student learns, but for the soft labels.

    Same start and the same batches in the same order, replayed ones included. It takes no delayed steps: repeating the
    hard labels in their place made it worse, so this is the stronger opponent. It is scored on the same batches; their
    candidates are those of the sources and of the student.
    """
