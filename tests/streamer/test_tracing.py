from __future__ import annotations

import asyncio

import pytest

trace = pytest.importorskip("opentelemetry.sdk.trace", reason="the extra tracing is not installed")

from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

from exporters.request_context import RequestContext, note_timings  # noqa: E402
from streamer.errors import SettingsError  # noqa: E402
from streamer.settings import Tracing  # noqa: E402
from streamer.tracing import OpenTelemetryTracer, opened_tracer  # noqa: E402

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter):
    provider = trace.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return OpenTelemetryTracer(provider.get_tracer("test"))


async def test_a_request_its_stages_and_its_impression_are_one_trace_of_the_caller(tracer, exporter):
    context = RequestContext(request_id="r-1", caller="shop", started_ns=1_000_000_000)

    async def behind():
        with tracer.span("publish impression"):
            await asyncio.sleep(0)

    with tracer.request(context, "POST", {"traceparent": PARENT}):
        task = asyncio.create_task(behind())
        context.timings_ms = {"session": 1.0, "candidates": 2.0, "rank": 3.0, "total": 6.5}
        tracer.answered(context, "/recommend", 200)
    await task
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans.keys() == {"request /recommend", "session read", "candidates", "rank", "publish impression"}
    assert {format(span.context.trace_id, "032x") for span in spans.values()} == {PARENT.split("-")[1]}
    request = spans["request /recommend"]
    assert format(request.parent.span_id, "016x") == PARENT.split("-")[2]
    assert request.attributes["http.route"] == "/recommend" and request.attributes["headwater.request_id"] == "r-1"
    assert all(span.parent.span_id == request.context.span_id for name, span in spans.items() if span is not request)
    assert spans["rank"].start_time == 1_003_000_000 and spans["rank"].end_time == 1_006_000_000


async def test_an_error_is_one_in_the_trace(tracer, exporter):
    with tracer.request(RequestContext(request_id="r", started_ns=1), "GET", {}):
        tracer.answered(RequestContext(request_id="r"), "/models", 500)
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok and span.parent is None


async def test_an_undecided_callers_no_is_kept(tracer, exporter):
    with tracer.request(RequestContext(request_id="r"), "GET", {"traceparent": PARENT[:-1] + "0"}):
        tracer.answered(RequestContext(request_id="r"), "/models", 200)
    assert exporter.get_finished_spans() == ()


def test_without_an_endpoint_there_is_no_tracer_and_timings_go_nowhere():
    with opened_tracer(Tracing()) as none:
        assert none is None
    note_timings({"total": 1.0})


def test_an_endpoint_opens_one_and_without_the_packages_it_says_what_to_install(monkeypatch):
    with opened_tracer(Tracing(endpoint="http://localhost:1/v1/traces", share=0.0)) as tracer:
        assert isinstance(tracer, OpenTelemetryTracer)
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"headwater\[tracing\]"), opened_tracer(Tracing(endpoint="http://x")):
        pass
