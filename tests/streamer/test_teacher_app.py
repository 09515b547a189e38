from __future__ import annotations

from streamer import topics
from streamer.settings import Settings
from streamer.teacher_app import GROUP, create_app


def test_the_app_labels_one_batch_at_a_time(small_settings: Settings) -> None:
    app = create_app(small_settings)
    (agent,) = app.agents.values()
    assert agent.concurrency == 1 and not app.conf.web_enabled
    assert app.conf.id == GROUP and topics.EXAMPLES.name in next(iter(agent.channel.topics))
