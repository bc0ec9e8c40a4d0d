"""kafka-python, unmodified: `kafka_python_client.py HOST:PORT TOPIC`."""

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from common import *

BOOTSTRAP, TOPIC = arguments()
admin = None


def connect():
    global admin
    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP, request_timeout_ms=20000)


def create_topic():
    admin.create_topics([NewTopic(TOPIC, num_partitions=PARTITIONS, replication_factor=1)], timeout_ms=20000)
    wait_for("the topic in the metadata", lambda: TOPIC in admin.list_topics())


def consumer():
    return KafkaConsumer(
        bootstrap_servers=BOOTSTRAP, group_id=None, enable_auto_commit=False, auto_offset_reset="none", check_crcs=True
    )


def partitions():
    return [TopicPartition(TOPIC, p) for p in range(PARTITIONS)]


def end_offsets():
    reader = consumer()
    try:
        return {tp.partition: o for tp, o in reader.end_offsets(partitions()).items()}
    finally:
        reader.close()


def produce(expected, settings):
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, linger_ms=20, delivery_timeout_ms=25000, request_timeout_ms=15000, **settings)
    try:
        sent = [
            producer.send(
                TOPIC,
                partition=r.partition,
                key=r.key,
                value=r.value,
                headers=r.headers,
                timestamp_ms=r.timestamp,
            )
            for r in expected
        ]
        producer.flush(timeout=25)
        for future in sent:
            future.get(timeout=25)
    finally:
        producer.close(timeout=5)


def read(offsets, count):
    reader = consumer()
    try:
        reader.assign([TopicPartition(TOPIC, p) for p in offsets])
        for p, o in offsets.items():
            reader.seek(TopicPartition(TOPIC, p), o)
        got = {p: [] for p in offsets}
        end = time.monotonic() + 25
        while sum(len(g) for g in got.values()) < count:
            check(time.monotonic() < end, f"only {sum(len(g) for g in got.values())} of {count} records in 25 s")
            for tp, batch in reader.poll(timeout_ms=1000).items():
                got[tp.partition] += [(m.offset, m.key, m.value, list(m.headers), m.timestamp) for m in batch]
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
    tp = TopicPartition(TOPIC, 1)
    reader = consumer()
    try:
        for n in (0, 1, 50, 99):
            found = reader.offsets_for_times({tp: wanted[n].timestamp - 1})[tp]
            check(found.offset == n, f"timestamp {wanted[n].timestamp - 1}: offset {found.offset}, expected {n}")
            check(found.timestamp == wanted[n].timestamp, f"timestamp {found.timestamp}, expected {wanted[n].timestamp}")
        late = reader.offsets_for_times({tp: BASE_TIMESTAMP + 9_000_000})[tp]
        check(late is None, f"a timestamp after the last record gave {late}")
        check(reader.beginning_offsets([tp])[tp] == 0, f"earliest is {reader.beginning_offsets([tp])[tp]}")
        check(reader.end_offsets([tp])[tp] >= RECORDS // PARTITIONS, f"latest is {reader.end_offsets([tp])[tp]}")
    finally:
        reader.close()


def delete_records():
    tp = TopicPartition(TOPIC, 0)
    admin.delete_records({tp: 42}, timeout_ms=20000)
    reader = consumer()
    try:
        low = reader.beginning_offsets([tp])[tp]
    finally:
        reader.close()
    check(low == 42, f"earliest offset {low}, expected 42")
    first = read({0: 42}, 1)[0][0]
    check(first[0] == 42, f"first record after the deletion is at {first[0]}")


def delete_topic():
    admin.delete_topics([TOPIC], timeout_ms=20000)
    wait_for("the topic gone from the metadata", lambda: TOPIC not in admin.list_topics())


def main():
    steps = Steps()
    steps.run("connect", connect)
    steps.run("create-topic", create_topic)
    for number, codec in enumerate(CODECS):
        settings = {"compression_type": None if codec == "none" else codec, "enable_idempotence": True, "acks": "all"}
        round_trip(steps, number, codec, settings)
    round_trip(steps, 5, "acks-1", {"acks": 1, "enable_idempotence": False})
    steps.run("offsets-by-time", offsets_by_time)
    steps.run("delete-records", delete_records)
    steps.run("delete-topic", delete_topic)


main()
