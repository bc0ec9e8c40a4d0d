"""Produces with idempotence while the broker is killed: `crash_producer.py HOST:PORT TOPIC RECORDS KILLS`.

Prints `kill-now` when the broker is to be killed; records are on their way then. Afterwards every record that was
acknowledged must be at the offset that was told, in order, and none may be there twice.
"""

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from common import *

BOOTSTRAP, TOPIC = arguments()
COUNT, KILLS = int(sys.argv[3]), int(sys.argv[4])

acknowledged = {}
failures = []


def value(number):
    return b"%08d " % number + b"y" * (number % 200)


def create_topic():
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    # Small segments, so that some kills come while one is closed and the next begins.
    topic = NewTopic(TOPIC, num_partitions=PARTITIONS, replication_factor=1, config={"segment.bytes": "1048576"})
    admin.create_topics([topic])[TOPIC].result(20)


def produce():
    marks = [COUNT * (n + 1) // (KILLS + 1) for n in range(KILLS)]
    producer = Producer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "enable.idempotence": True,
            "batch.num.messages": 100,
            "queue.buffering.max.messages": 5000,
            "message.timeout.ms": 45000,
            "reconnect.backoff.max.ms": 500,
        }
    )

    def delivered(error, message):
        if error:
            failures.append(str(error))
            return
        number = int(message.value()[:8])
        acknowledged[number] = (message.partition(), message.offset())
        if marks and len(acknowledged) >= marks[0]:
            marks.pop(0)
            say("kill-now")

    for number in range(COUNT):
        while True:
            try:
                producer.produce(TOPIC, partition=number % PARTITIONS, value=value(number), on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    check(producer.flush(50) == 0, "records left undelivered")
    check(not failures, f"{len(failures)} deliveries failed, first: {failures[:1]}")
    check(len(acknowledged) == COUNT, f"{len(acknowledged)} acknowledgements for {COUNT} records")
    return f"{COUNT} acknowledged"


def read_all():
    reader = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error"})
    ends = {p: reader.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=20)[1] for p in range(PARTITIONS)}
    reader.assign([TopicPartition(TOPIC, p, 0) for p in ends])
    got = {p: [] for p in ends}
    deadline = time.monotonic() + 40
    while any(len(got[p]) < ends[p] for p in ends):
        check(time.monotonic() < deadline, f"read {[len(g) for g in got.values()]} of {list(ends.values())} in 40 s")
        for m in reader.consume(1000, timeout=0.2):
            check(m.error() is None, f"{m.error()}")
            got[m.partition()].append((m.offset(), m.value()))
    reader.close()
    return got


def every_acknowledged_record_is_there(got):
    read = {(p, offset): v for p, records in got.items() for offset, v in records}
    for number, place in acknowledged.items():
        check(place in read, f"record {number}, acknowledged at partition {place[0]} offset {place[1]}, is not there")
        found = read[place]
        check(found == value(number), f"record {number}, acknowledged at {place}: there is {short(found)}")


def in_order_and_none_twice(got):
    for p, records in got.items():
        numbers = [int(v[:8]) for _, v in records]
        for before, after in zip(numbers, numbers[1:]):
            check(before < after, f"partition {p}: record {after} after record {before}")
        check([o for o, _ in records] == list(range(len(records))), f"partition {p}: offsets with holes")
        wanted = len(range(p, COUNT, PARTITIONS))
        check(len(numbers) == wanted, f"partition {p}: {len(numbers)} records, {wanted} produced")


def main():
    steps = Steps()
    steps.run("create-topic", create_topic)
    steps.run("produce-through-kills", produce)
    got = {}
    steps.run("read-all", lambda: got.update(read_all()))
    steps.run("all-acknowledged-are-there", lambda: every_acknowledged_record_is_there(got))
    steps.run("in-order-and-none-twice", lambda: in_order_and_none_twice(got))


main()
