"""The process of the label store: follows the topic, writes, compacts, expires."""

from __future__ import annotations

import logging
import threading
import time

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from streamer import metrics, topics
from streamer.errors import BrokerError
from streamer.label_files import files_of
from streamer.label_upkeep import compact, expire
from streamer.label_writer import LabelWriter
from streamer.settings import Settings

_POLL_RECORDS = 5_000
_ASKED_MS = 3_000  # statistics do without the broker after this time
_log = logging.getLogger(__name__)


class LabelProcess:
    """Writes every soft label once, from where the files end.

    Parameters
    ----------
    settings
        Broker, store, limits.

    Raises
    ------
    BrokerError
        No broker answers, the topic is missing, or it is not the one that the files were written from.
    SourceError
        Another process writes this store.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopping = threading.Event()
        self.writer = LabelWriter(settings.stores.labels_dir)
        try:
            self._consumer = self._connect()
        except BaseException:
            self.writer.close()
            raise
        self._upkept = self._flushed = float("-inf")

    def run(self) -> None:
        """Write until :attr:`stopping` is set, then write what was taken."""
        limits = self.settings.labels
        while not self.stopping.is_set():
            self.poll()
            now = time.monotonic()
            if len(self.writer) >= limits.flush_labels or now - self._flushed >= limits.flush_seconds:
                self.flush()
                self._flushed = time.monotonic()
            if now - self._upkept >= limits.upkeep_seconds:
                self.keep_up()
                self._upkept = time.monotonic()
        self.flush()

    def poll(self, timeout_ms: int = 500) -> int:
        """Take what the topic has; returns how many records."""
        count = 0
        unreadable = self.writer.unreadable
        for partition, records in self._consumer.poll(timeout_ms=timeout_ms, max_records=_POLL_RECORDS).items():
            for record in records:
                self.writer.add(partition.partition, record.offset, record.value)
            count += len(records)
            self._show_lag(partition, records[-1].offset)
        metrics.LABELS_UNREADABLE.inc(self.writer.unreadable - unreadable)
        return count

    def flush(self) -> int:
        """Write what was taken; returns how many labels."""
        started = time.monotonic()
        count = self.writer.flush()
        if count:
            metrics.LABELS_STORED.inc(count)
            metrics.LABEL_FLUSH_SECONDS.observe(time.monotonic() - started)
        return count

    def keep_up(self) -> None:
        """Merge small files and remove old days."""
        folder, limits, now_ms = self.writer.folder, self.settings.labels, time.time_ns() // 1_000_000
        gone = expire(folder, now_ms, limits.retention_days)
        merged = compact(folder, now_ms, limits.compact_files)
        metrics.LABEL_FILES.set(len(files_of(folder)))
        if gone or merged:
            _log.info("%d files merged away, %d expired", merged, gone)

    def close(self) -> None:
        """Leave the broker, and let another writer take over."""
        self._consumer.close()
        self.writer.close()

    def _connect(self) -> KafkaConsumer:
        servers, name = self.settings.kafka.bootstrap_servers, topics.SOFT_LABELS.name
        try:
            consumer = KafkaConsumer(
                bootstrap_servers=servers, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest"
            )
        except (KafkaError, ValueError) as error:
            raise BrokerError(f"No Kafka broker answers at kafka.bootstrap_servers={servers!r} ({error})") from error
        partitions = [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name) or ())]
        if not partitions:
            raise BrokerError(f"The topic {name} is missing: run `headwater topics`.")
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        for partition in partitions:
            self._seek(consumer, partition, ends[partition])
        return consumer

    def _seek(self, consumer: KafkaConsumer, partition: TopicPartition, end: int) -> None:
        begin = self.writer.offsets.get(partition.partition, 0)
        if begin > end:
            raise BrokerError(
                f"{partition.topic} ends at offset {end} in partition {partition.partition}, but {self.writer.folder} "
                f"holds its labels up to {begin}: it is another broker's topic. Move that folder away, or set another "
                "stores.state_dir"
            )
        consumer.seek(partition, begin)  # where the broker has dropped that already, it begins with what is there

    def _show_lag(self, partition: TopicPartition, offset: int) -> None:
        end = self._consumer.highwater(partition)
        if end is not None:
            lag = max(end - offset - 1, 0)
            metrics.CONSUMER_LAG.labels(topic=partition.topic, partition=str(partition.partition)).set(lag)


def examples_of_last_hour(settings: Settings, now_ms: int) -> int | None:
    """How many examples the broker got in the last hour; None where no broker answers."""
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=settings.kafka.bootstrap_servers, group_id=None, bootstrap_timeout_ms=_ASKED_MS
        )
    except (KafkaError, ValueError):
        return None
    try:
        name = topics.EXAMPLES.name
        partitions = [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name) or ())]
        ends = consumer.end_offsets(partitions)
        found = consumer.offsets_for_times({one: now_ms - 3_600_000 for one in partitions})
        return sum(int(ends[one]) - int(found[one].offset) for one in partitions if found.get(one) is not None)
    except KafkaError:
        return None
    finally:
        consumer.close()
