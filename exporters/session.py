"""One graph in ONNX Runtime, on the fastest provider that works."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from exporters import metrics
from exporters.errors import RuntimeLoadError

Feeds = Mapping[str, NDArray[Any]]

_log = logging.getLogger(__name__)
_CPU = "CPUExecutionProvider"
_AUTO = ("CUDA", "CPU")
_WARM_SIZES = {"B": 1, "N": 500}  # requests and candidates in a run that only warms up
_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64,
          "tensor(int32)": np.int32, "tensor(bool)": np.bool_}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Execution:
    """How graphs are run.

    Parameters
    ----------
    providers
        Of ONNX Runtime, best first, as it calls them but without ``ExecutionProvider``; ``auto`` is CUDA where there is
        one, else the CPU. What does not work is left out, logged and counted; the CPU is always the last resort.
    threads
        Threads that one call may use. They sleep between calls.
    """

    providers: tuple[str, ...] = ("auto",)
    threads: int = 1

    def wanted(self) -> list[str]:
        """Names of the providers to try, in full; those that are not installed are counted unless nobody asked.

        >>> Execution(providers=("cpu",)).wanted()
        ['CPUExecutionProvider']
        """
        available = {name.casefold(): name for name in onnxruntime.get_available_providers()}
        asked = [name for name in self.providers if name != "auto"] or list(_AUTO)
        full = [(name, available.get(f"{name}ExecutionProvider".casefold())) for name in asked]
        for name, found in full:
            if found is None and "auto" not in self.providers:
                _fell_back(name, "load", f"installed are {', '.join(available.values())}")
        return list(dict.fromkeys([*(found for _, found in full if found is not None), _CPU]))


class RankerSession:
    """One graph, ready to answer; safe to call from many threads.

    Parameters
    ----------
    model
        The bytes of the graph, or where it lies.
    execution
        Threads and providers.

    Raises
    ------
    RuntimeLoadError
        When ONNX Runtime cannot load the graph.
    """

    def __init__(self, model: bytes | Path, execution: Execution | None = None) -> None:
        self._model = model if isinstance(model, bytes) else str(model)
        self._threads = (execution or Execution()).threads
        self._changing = threading.Lock()
        self._session = self._opened((execution or Execution()).wanted())
        self._kinds = {value.name: _TYPES.get(value.type) for value in self._session.get_inputs()}
        self.inputs = {value.name: tuple(value.shape) for value in self._session.get_inputs()}
        self.outputs = tuple(value.name for value in self._session.get_outputs())

    @property
    def provider(self) -> str:
        """Provider that runs the graph."""
        name: str = self._session.get_providers()[0]
        return name

    def run(self, feeds: Feeds) -> dict[str, NDArray[Any]]:
        """Compute the outputs by name; feeds that the graph does not know are left out.

        Raises
        ------
        RuntimeLoadError
            When an input is missing, or has a type or a shape that the graph does not take.
        """
        missing = self.inputs.keys() - feeds.keys()
        if missing:
            raise RuntimeLoadError(f"inputs {sorted(missing)} are missing; the graph takes {sorted(self.inputs)}")
        given, session = {name: feeds[name] for name in self.inputs}, self._session
        try:
            values = session.run(None, given)
        except Exception as error:  # ONNX Runtime raises bare exceptions of its own
            values = self._on_the_cpu(session, given, error)
        return dict(zip(self.outputs, values, strict=True))

    def warm_up(self) -> None:
        """Answer an empty request of full size once, so that no user's request pays for the first one.

        Raises
        ------
        RuntimeLoadError
            When the graph does not run.
        """
        if all(kind is not None for kind in self._kinds.values()):
            self.run({name: np.zeros(_sizes(self.inputs[name]), kind) for name, kind in self._kinds.items()})

    def _on_the_cpu(self, session: Any, feeds: Feeds, error: Exception) -> Any:
        """Run where it always works; go on there if the provider was to blame and not the feeds."""
        provider = session.get_providers()[0]
        if provider == _CPU:
            raise RuntimeLoadError(f"the graph did not run: {error}") from error
        instead = self._opened([_CPU])
        try:
            values = instead.run(None, feeds)
        except Exception as second:
            raise RuntimeLoadError(f"the graph did not run: {second}") from second
        with self._changing:
            if self._session is session:
                self._session = instead
                _fell_back(provider, "run", str(error))
        return values

    def _opened(self, providers: list[str]) -> Any:
        """Open a session on the first provider that takes the graph."""
        error: Exception | None = None
        for place, provider in enumerate(providers):
            try:
                session = onnxruntime.InferenceSession(self._model, self._options(), providers=providers[place:])
            except Exception as failure:  # ONNX Runtime raises bare exceptions of its own
                error = failure
                if provider != _CPU:
                    _fell_back(provider, "load", str(failure))
                continue
            if session.get_providers()[0] != provider:  # it falls back by itself where a library is missing
                _fell_back(provider, "load", "ONNX Runtime did not take it")
            return session
        raise RuntimeLoadError(f"ONNX Runtime could not load the graph: {error}") from error

    def _options(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options


def _sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes of a shape with named axes.

    >>> _sizes(("B", "N", 64)), _sizes(("T",))
    ((1, 500, 64), (1,))
    """
    return tuple(size if isinstance(size, int) else _WARM_SIZES.get(str(size), 1) for size in shape)


def _fell_back(provider: str, when: str, reason: str) -> None:
    name = provider.removesuffix("ExecutionProvider")
    metrics.PROVIDER_FALLBACKS.labels(name, when).inc()
    _log.warning("%s does not %s the graph; going on without it: %s", name, when, reason)
