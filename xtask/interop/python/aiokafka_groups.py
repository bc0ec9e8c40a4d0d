"""aiokafka in consumer groups: `aiokafka_groups.py HOST:PORT TOPIC`.

Each member has an event loop in its thread; the client's heartbeats run while it polls.
"""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from groups import *

BOOTSTRAP, TOPIC = arguments()


class AiokafkaMember(Member):
    def open(self):
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.begin())

    async def begin(self):
        self.consumer = AIOKafkaConsumer(
            self.topic,
            bootstrap_servers=BOOTSTRAP,
            group_id=self.group,
            group_instance_id=self.instance,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=self.session_ms,
            heartbeat_interval_ms=500,
        )
        await self.consumer.start()

    def poll(self):
        got = []
        for tp, batch in self.loop.run_until_complete(self.consumer.getmany(timeout_ms=100)).items():
            got += [(tp.partition, m.offset, m.value) for m in batch]
        self.on_assigned({tp.partition for tp in self.consumer.assignment()})
        return got

    def commit_all(self):
        self.loop.run_until_complete(self.consumer.commit())

    def leave(self):
        self.loop.run_until_complete(self.consumer.stop())


def create_topic():
    async def work():
        admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
        await admin.start()
        try:
            topic = NewTopic(TOPIC, num_partitions=GROUP_PARTITIONS, replication_factor=1)
            answer = await admin.create_topics([topic], timeout_ms=20000)
            check(all(e[1] == 0 for e in answer.topic_errors), f"{answer.topic_errors}")
            for _ in range(300):
                if TOPIC in await admin.list_topics():
                    return
                await asyncio.sleep(0.2)
            raise AssertionError("after 60 s the topic is not in the metadata")
        finally:
            await admin.close()

    asyncio.run(work())


def produce(wanted):
    async def work():
        producer = AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, enable_idempotence=True, request_timeout_ms=20000)
        await producer.start()
        try:
            sent = [
                await producer.send(TOPIC, partition=n % GROUP_PARTITIONS, value=value.encode())
                for n, value in enumerate(wanted)
            ]
            await asyncio.wait_for(asyncio.gather(*sent), 30)
        finally:
            await producer.stop()

    asyncio.run(work())


Groups(TOPIC, AiokafkaMember, produce).run(create_topic)
