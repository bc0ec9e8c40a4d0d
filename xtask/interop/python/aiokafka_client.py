"""aiokafka, unmodified: `aiokafka_client.py HOST:PORT TOPIC`."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from common import *

BOOTSTRAP, TOPIC = arguments()


async def with_admin(work):
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP, request_timeout_ms=20000)
    await admin.start()
    try:
        return await work(admin)
    finally:
        await admin.close()


async def listed():
    return await with_admin(lambda admin: admin.list_topics())


async def wait_listed(expected):
    for _ in range(300):
        if (TOPIC in await listed()) == expected:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"after 60 s the topic is {'not ' if expected else 'still '}in the metadata")


async def create_topic():
    topic = NewTopic(TOPIC, num_partitions=PARTITIONS, replication_factor=1)
    answer = await with_admin(lambda admin: admin.create_topics([topic], timeout_ms=20000))
    check(all(e[1] == 0 for e in answer.topic_errors), f"{answer.topic_errors}")
    await wait_listed(True)


async def with_consumer(work):
    reader = AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP, group_id=None, enable_auto_commit=False, auto_offset_reset="none", check_crcs=True
    )
    await reader.start()
    try:
        return await asyncio.wait_for(work(reader), 30)
    finally:
        await reader.stop()


async def end_offsets():
    partitions = [TopicPartition(TOPIC, p) for p in range(PARTITIONS)]
    found = await with_consumer(lambda reader: reader.end_offsets(partitions))
    return {tp.partition: o for tp, o in found.items()}


async def produce(expected, settings):
    producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, linger_ms=20, request_timeout_ms=20000, **settings)
    await producer.start()
    try:
        sent = [
            await producer.send(
                TOPIC,
                partition=r.partition,
                key=r.key,
                value=r.value,
                headers=r.headers,
                timestamp_ms=r.timestamp,
            )
            for r in expected
        ]
        await asyncio.wait_for(asyncio.gather(*sent), 25)
    finally:
        await producer.stop()


async def read(offsets, count):
    async def work(reader):
        reader.assign([TopicPartition(TOPIC, p) for p in offsets])
        for p, o in offsets.items():
            reader.seek(TopicPartition(TOPIC, p), o)
        got = {p: [] for p in offsets}
        while sum(len(g) for g in got.values()) < count:
            for tp, batch in (await reader.getmany(timeout_ms=1000)).items():
                got[tp.partition] += [(m.offset, m.key, m.value, list(m.headers), m.timestamp) for m in batch]
        return got

    return await with_consumer(work)


async def round_trip(steps, number, label, settings):
    expected = records(number, label)
    starts = {}

    async def produce_step():
        starts.update(await end_offsets())
        await produce(expected, settings)

    async def read_step():
        compare(expected, await read(starts, RECORDS), starts)

    await steps.run_async(f"produce-{label}", produce_step)
    await steps.run_async(f"read-{label}", read_step)


async def offsets_by_time():
    wanted = per_partition(records(0, "none"))[1]
    tp = TopicPartition(TOPIC, 1)

    async def work(reader):
        for n in (0, 1, 50, 99):
            found = (await reader.offsets_for_times({tp: wanted[n].timestamp - 1}))[tp]
            check(found.offset == n, f"timestamp {wanted[n].timestamp - 1}: offset {found.offset}, expected {n}")
        late = (await reader.offsets_for_times({tp: BASE_TIMESTAMP + 9_000_000}))[tp]
        check(late is None, f"a timestamp after the last record gave {late}")
        low = (await reader.beginning_offsets([tp]))[tp]
        check(low == 0, f"earliest is {low}")

    await with_consumer(work)


async def delete_records():
    tp = TopicPartition(TOPIC, 0)
    await with_admin(lambda admin: admin.delete_records({tp: RecordsToDelete(before_offset=42)}, timeout_ms=20000))
    low = (await with_consumer(lambda reader: reader.beginning_offsets([tp])))[tp]
    check(low == 42, f"earliest offset {low}, expected 42")
    first = (await read({0: 42}, 1))[0][0]
    check(first[0] == 42, f"first record after the deletion is at {first[0]}")


async def delete_topic():
    answer = await with_admin(lambda admin: admin.delete_topics([TOPIC], timeout_ms=20000))
    check(all(e[1] == 0 for e in answer.topic_error_codes), f"{answer.topic_error_codes}")
    await wait_listed(False)


async def main():
    steps = Steps()
    await steps.run_async("create-topic", create_topic)
    for number, codec in enumerate(CODECS):
        settings = {"compression_type": None if codec == "none" else codec, "enable_idempotence": True}
        await round_trip(steps, number, codec, settings)
    await round_trip(steps, 5, "acks-1", {"acks": 1})
    await steps.run_async("offsets-by-time", offsets_by_time)
    await steps.run_async("delete-records", delete_records)
    await steps.run_async("delete-topic", delete_topic)


asyncio.run(main())
