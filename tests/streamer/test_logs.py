from __future__ import annotations

import io
import json
import logging

import pytest

from exporters.request_context import CURRENT, RequestContext
from streamer.logs import Repeats, configure
from streamer.settings import Logs


@pytest.fixture(autouse=True)
def own_root():
    """Leave the root logger as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_is_one_json_object_with_the_requests_id_and_the_fields():
    out = io.StringIO()
    configure(Logs(format="json"), out)
    token = CURRENT.set(RequestContext(request_id="r-1"))
    logging.getLogger("a").info("%d of %s", 3, "x\ny", extra={"fields": {"route": "/rank"}})
    CURRENT.reset(token)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("b").exception("failed")
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["message"], first["request_id"], first["route"], first["level"]) == (
        "3 of x\ny",
        "r-1",
        "/rank",
        "INFO",
    )
    assert first["time"].endswith("+00:00")
    assert "request_id" not in second and "ValueError: why" in second["exception"]


@pytest.mark.parametrize(("stream", "as_json"), [(io.StringIO(), True), (Terminal(), False)])
def test_a_terminal_gets_text_and_everything_else_json(stream, as_json):
    configure(Logs(), stream)
    logging.getLogger("a").warning("hello")
    assert stream.getvalue().startswith("{") is as_json and "hello" in stream.getvalue()


def test_the_level_leaves_out_what_is_below():
    out = io.StringIO()
    configure(Logs(format="text", level="WARNING"), out)
    logging.getLogger("a").info("no")
    logging.getLogger("a").warning("yes")
    assert "yes" in out.getvalue() and "no" not in out.getvalue()


def test_a_library_that_repeats_itself_is_heard_once_in_a_while():
    now = [0.0]
    repeats = Repeats(seconds=30, clock=lambda: now[0])

    def said(name, message):
        return repeats.filter(logging.LogRecord(name, logging.ERROR, "", 0, message, ("x",), None))

    assert [said("aiokafka", "gone %s"), said("aiokafka", "gone %s"), said("aiokafka", "other %s")] == [
        True,
        False,
        True,
    ]
    assert said("streamer.serve", "gone %s") and said("streamer.serve", "gone %s"), "our own lines all come"
    now[0] = 30.0
    assert said("aiokafka", "gone %s")
