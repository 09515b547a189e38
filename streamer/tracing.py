"""OpenTelemetry behind the server's seam for traces: a span a request, one a stage, one for the impression."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from exporters.request_context import RequestContext
from exporters.tracing import RequestTracer
from streamer.errors import SettingsError
from streamer.settings import Tracing

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_STAGES = {"session": "session read"}  # span names where they differ from those of the stages


class OpenTelemetryTracer:
    """Records requests as spans of one OpenTelemetry tracer.

    Stages are recorded when the request is answered, from the milliseconds that the ranking measured: the ranking
    itself knows nothing of traces. So they stand one after the other from the request's start.

    Parameters
    ----------
    tracer
        OpenTelemetry's.

    References
    ----------
    W3C Trace Context: the header ``traceparent`` makes a request part of its caller's trace, and decides the sampling.
    """

    def __init__(self, tracer: Tracer) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api, self._tracer = trace, tracer
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def request(self, context: RequestContext, method: str, headers: Mapping[str, str]) -> Iterator[None]:
        """Cover a request."""
        parent = self._propagator.extract({name: value for name, value in headers.items() if name.startswith("trace")})
        span = self._tracer.start_span(
            method, context=parent, kind=self._api.SpanKind.SERVER, start_time=context.started_ns
        )
        with self._api.use_span(span, end_on_exit=True):
            yield

    def answered(self, context: RequestContext, route: str, status: int) -> None:
        """Name the request's span and add its stages."""
        span = self._api.get_current_span()
        if not span.is_recording():
            return
        span.update_name(f"request {route}")
        span.set_attributes(
            {
                "http.route": route,
                "http.response.status_code": status,
                "headwater.request_id": context.request_id,
                "headwater.caller": context.caller,
            }
        )
        if status >= 500:
            span.set_status(self._api.StatusCode.ERROR)
        at_ns = context.started_ns
        for stage, milliseconds in context.timings_ms.items():
            if stage != "total":
                part = self._tracer.start_span(_STAGES.get(stage, stage), start_time=at_ns)
                at_ns += int(milliseconds * 1e6)
                part.end(end_time=at_ns)

    def span(self, name: str) -> AbstractContextManager[Any]:
        """Cover work behind an answer."""
        return self._tracer.start_as_current_span(name)


@contextmanager
def opened_tracer(tracing: Tracing) -> Iterator[RequestTracer | None]:
    """Send traces to a collector as long as this lasts; None where no endpoint is set.

    Raises
    ------
    SettingsError
        An endpoint is set, and OpenTelemetry is not installed.
    """
    if not tracing.endpoint:
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
    except ImportError as error:
        raise SettingsError(
            f"tracing.endpoint is {tracing.endpoint!r}, and OpenTelemetry is missing ({error}):"
            " pip install 'headwater[tracing]', or leave the endpoint empty"
        ) from error
    resource = Resource.create({"service.name": "headwater-server"})
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(tracing.share), resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=tracing.endpoint)))
    try:
        yield OpenTelemetryTracer(provider.get_tracer("headwater"))
    finally:
        provider.shutdown()
