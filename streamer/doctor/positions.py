"""Where the state stands against where the topic ends: a state that is ahead belongs to another broker."""

from __future__ import annotations

from collections.abc import Iterator

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import KafkaError

from streamer import topics
from streamer.backup.positions import applied_offsets
from streamer.doctor.broker import reachable
from streamer.doctor.finding import Finding, fine, wrong
from streamer.settings import Settings


def check_positions(settings: Settings) -> Iterator[Finding]:
    """Compare the last applied offset of every partition with the broker's end of it."""
    applied = applied_offsets(settings.stores.sessions_dir)
    if not applied or not reachable(settings):
        return
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap_servers)
    asked = {TopicPartition(topics.EVENTS.name, int(number)): OffsetSpec.LATEST for number in applied}
    try:
        ends = {one.partition: int(found.offset) for one, found in admin.list_partition_offsets(asked).items()}
    except KafkaError:
        return  # the topic's own line says what is missing
    finally:
        admin.close()
    ahead = {number: offset for number, offset in applied.items() if offset >= ends[int(number)]}
    mend = f"set HEADWATER_KAFKA__BOOTSTRAP_SERVERS, or move {settings.stores.sessions_dir} away"
    for number, offset in ahead.items():
        where = f"partition {int(number)} of {topics.EVENTS.name} ends at {ends[int(number)]}"
        said = f"{where}, its state has applied {offset}: it belongs to another broker or an older topic"
        yield wrong("positions", said, mend)
    if not ahead:
        yield fine("positions", f"the state of {len(applied)} partitions is within the topic")
