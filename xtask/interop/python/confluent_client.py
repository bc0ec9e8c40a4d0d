"""confluent-kafka (librdkafka), unmodified: `confluent_client.py HOST:PORT TOPIC`."""

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from common import *

BOOTSTRAP, TOPIC = arguments()
admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def create_topic():
    topic = NewTopic(TOPIC, num_partitions=PARTITIONS, replication_factor=1, config={"retention.ms": "86400000"})
    admin.create_topics([topic], request_timeout=20)[TOPIC].result(20)
    wait_for("the topic in the metadata", lambda: TOPIC in admin.list_topics(timeout=10).topics)
    check(len(admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions) == PARTITIONS, "not three partitions")


def describe_configs():
    resource = ConfigResource(ConfigResource.Type.TOPIC, TOPIC)
    found = admin.describe_configs([resource], request_timeout=20)[resource].result(20)
    check(found["retention.ms"].value == "86400000", f"retention.ms is {found['retention.ms'].value}")
    check("cleanup.policy" in found, "no cleanup.policy")


def consumer():
    # A group id is demanded by the client; nothing is committed and no group is joined.
    return Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "check.crcs": True,
        }
    )


def end_offsets():
    reader = consumer()
    try:
        return {p: reader.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=20)[1] for p in range(PARTITIONS)}
    finally:
        reader.close()


def produce(expected, settings):
    failures = []
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 20, "message.timeout.ms": 20000, **settings})
    for record in expected:
        producer.produce(
            TOPIC,
            partition=record.partition,
            key=record.key,
            value=record.value,
            headers=record.headers,
            timestamp=record.timestamp,
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    check(producer.flush(25) == 0, "records left undelivered after 25 s")
    check(not failures, f"{len(failures)} deliveries failed, first: {failures[:1]}")


def read(offsets, count):
    reader = consumer()
    try:
        reader.assign([TopicPartition(TOPIC, p, o) for p, o in offsets.items()])
        got = {p: [] for p in offsets}
        end = time.monotonic() + 25
        while sum(len(g) for g in got.values()) < count:
            check(time.monotonic() < end, f"only {sum(len(g) for g in got.values())} of {count} records in 25 s")
            for m in reader.consume(100, timeout=0.2):
                check(m.error() is None, f"{m.error()}")
                got[m.partition()].append((m.offset(), m.key(), m.value(), m.headers() or [], m.timestamp()[1]))
        return got
    finally:
        reader.close()


def round_trip(steps, number, label, settings):
    expected = records(number, label)
    starts = {}

    def produce_step():
        starts.update(end_offsets())
        produce(expected, settings)

    steps.run(f"produce-{label}", produce_step)
    steps.run(f"read-{label}", lambda: compare(expected, read(starts, RECORDS), starts))


def offsets_by_time():
    wanted = per_partition(records(0, "none"))[1]
    reader = consumer()
    try:
        for n in (0, 1, 50, 99):
            found = reader.offsets_for_times([TopicPartition(TOPIC, 1, wanted[n].timestamp - 1)], timeout=20)[0]
            check(found.offset == n, f"timestamp {wanted[n].timestamp - 1}: offset {found.offset}, expected {n}")
        late = reader.offsets_for_times([TopicPartition(TOPIC, 1, BASE_TIMESTAMP + 9_000_000)], timeout=20)[0]
        check(late.offset == -1, f"a timestamp after the last record gave offset {late.offset}")
    finally:
        reader.close()


def offsets_by_spec():
    def offset(spec):
        return admin.list_offsets({TopicPartition(TOPIC, 0): spec}, request_timeout=20)[TopicPartition(TOPIC, 0)].result(20).offset

    end = end_offsets()[0]
    check(offset(OffsetSpec.earliest()) == 0, f"earliest is {offset(OffsetSpec.earliest())}")
    check(offset(OffsetSpec.latest()) == end, f"latest is {offset(OffsetSpec.latest())}, not {end}")
    check(offset(OffsetSpec.max_timestamp()) == end - 1, f"max timestamp at {offset(OffsetSpec.max_timestamp())}, not {end - 1}")


def create_partitions():
    admin.create_partitions([NewPartitions(TOPIC, PARTITIONS + 2)], request_timeout=20)[TOPIC].result(20)
    wait_for(
        "five partitions in the metadata",
        lambda: len(admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions) == PARTITIONS + 2,
    )


def delete_records():
    deleted = admin.delete_records([TopicPartition(TOPIC, 0, 42)], request_timeout=20)
    low = list(deleted.values())[0].result(20).low_watermark
    check(low == 42, f"low watermark {low}, expected 42")
    reader = consumer()
    try:
        low, _ = reader.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=20)
    finally:
        reader.close()
    check(low == 42, f"earliest offset {low}, expected 42")
    first = read({0: 42}, 1)[0][0]
    wanted = per_partition(records(0, "none"))[0][42]
    check(first[0] == 42 and first[2] == wanted.value, f"first record after the deletion is at {first[0]}: {short(first[2])}")


def too_large_is_refused():
    """The client lets it through; the broker must refuse it and store nothing of it."""
    end = end_offsets()[2]
    errors = []
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "message.max.bytes": 10_000_000, "message.timeout.ms": 20000})
    producer.produce(TOPIC, partition=2, value=b"z" * 3_000_000, on_delivery=lambda error, _: errors.append(error))
    producer.flush(25)
    check(errors and errors[0] is not None, "3 MB were accepted")
    check(errors[0].code() == KafkaError.MSG_SIZE_TOO_LARGE, f"{errors[0]}")
    check(end_offsets()[2] == end, f"the end moved from {end} to {end_offsets()[2]}")


def waiting_read_wakes():
    """A read that waits for up to 40 s at the end returns as soon as a record is there."""
    reader = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused", "enable.auto.commit": False, "fetch.wait.max.ms": 40000})
    try:
        reader.assign([TopicPartition(TOPIC, 2, end_offsets()[2])])
        check(reader.poll(1.5) is None, "a record where the end was")
        producer = Producer({"bootstrap.servers": BOOTSTRAP, "linger.ms": 0})
        producer.produce(TOPIC, partition=2, value=b"wake up")
        check(producer.flush(30) == 0, "the record was not delivered within 30 s")
        produced = time.monotonic()
        message = reader.poll(30)
        took = time.monotonic() - produced
        check(message is not None and message.value() == b"wake up", f"no record within {took:.1f} s")
        # Unless a record wakes it, the fetch that waits goes on for more than 30 s.
        check(took < 20, f"it took {took:.1f} s")
        return f"woke after {took * 1000:.0f} ms"
    finally:
        reader.close()


def append_time():
    """With LogAppendTime the broker's clock replaces the producer's timestamps."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, TOPIC, incremental_configs=[
        ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    ])
    admin.incremental_alter_configs([resource], request_timeout=20)[resource].result(20)
    start = end_offsets()[2]
    before = int(time.time() * 1000)
    producer = Producer({"bootstrap.servers": BOOTSTRAP})
    producer.produce(TOPIC, partition=2, value=b"now", timestamp=BASE_TIMESTAMP)
    producer.flush(10)
    offset, _, value, _, timestamp = read({2: start}, 1)[2][0]
    check((offset, value) == (start, b"now"), f"read {value} at {offset}, expected at {start}")
    check(abs(timestamp - before) < 20_000, f"timestamp {timestamp}, about {before} expected")


def delete_topic():
    admin.delete_topics([TOPIC], request_timeout=20)[TOPIC].result(20)
    # Listing all topics names none, so that the listing itself cannot create the topic anew.
    wait_for("the topic gone from the metadata", lambda: TOPIC not in admin.list_topics(timeout=10).topics)


def main():
    steps = Steps()
    steps.run("create-topic", create_topic)
    steps.run("describe-configs", describe_configs)
    for number, codec in enumerate(CODECS):
        round_trip(steps, number, codec, {"compression.type": codec, "enable.idempotence": True})
    round_trip(steps, 5, "acks-1", {"acks": 1})
    round_trip(steps, 6, "acks-0", {"acks": 0})
    steps.run("offsets-by-time", offsets_by_time)
    steps.run("offsets-by-spec", offsets_by_spec)
    steps.run("delete-records", delete_records)
    steps.run("create-partitions", create_partitions)
    steps.run("too-large-is-refused", too_large_is_refused)
    steps.run("waiting-read-wakes", waiting_read_wakes)
    steps.run("append-time", append_time)
    steps.run("delete-topic", delete_topic)


main()
