"""What goes wrong on the way from a learner to a server."""

from __future__ import annotations


class ExporterError(Exception):
    """Root of the errors of this package."""


class ExportError(ExporterError):
    """A module could not be exported, or new values do not fit the graph that was exported before."""


class ParityError(ExporterError):
    """A graph and the module that it came from answer differently."""


class RegistryError(ExporterError):
    """A version is missing, damaged or still in use."""


class RuntimeLoadError(ExporterError):
    """A version that is whole on disk could not be loaded or run."""


class TableError(ExporterError):
    """Rows or tables do not have the shape that the server was set up with."""


class AssignmentError(ExporterError):
    """Shares of users are negative, do not sum to 1, or name a student that is not there."""


class StoreUnavailable(ExporterError):
    """The online store does not answer, or not in time."""


class GateRefused(ExporterError):
    """A model was not published.

    Parameters
    ----------
    reason
        A short machine-readable word, used as a metric label: ``parity``, ``weights_not_finite``,
        ``weights_too_large``, ``tables_not_finite``, ``outputs_not_finite``,
        ``outputs_too_large``, ``worse_than_serving``.
    message
        What was measured, what is allowed, what to do.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
