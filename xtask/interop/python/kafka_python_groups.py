"""kafka-python in consumer groups: `kafka_python_groups.py HOST:PORT TOPIC`."""

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from groups import *

BOOTSTRAP, TOPIC = arguments()


class KafkaPythonMember(Member):
    def open(self):
        self.consumer = KafkaConsumer(
            self.topic,
            bootstrap_servers=BOOTSTRAP,
            group_id=self.group,
            group_instance_id=self.instance,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=self.session_ms,
            heartbeat_interval_ms=500,
            max_poll_interval_ms=20000,
            reconnect_backoff_max_ms=RECONNECT_MAX_MS,
        )

    def poll(self):
        got = []
        for tp, batch in self.consumer.poll(timeout_ms=100).items():
            got += [(tp.partition, m.offset, m.value) for m in batch]
        self.on_assigned({tp.partition for tp in self.consumer.assignment()})
        return got

    def commit_all(self):
        self.consumer.commit()

    def leave(self):
        self.consumer.close(autocommit=False)


def create_topic():
    admin = KafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    admin.create_topics([NewTopic(TOPIC, num_partitions=GROUP_PARTITIONS, replication_factor=1)], timeout_ms=20000)
    wait_for("the topic in the metadata", lambda: TOPIC in admin.list_topics())
    admin.close()


def produce(wanted):
    producer = KafkaProducer(bootstrap_servers=BOOTSTRAP, delivery_timeout_ms=25000, request_timeout_ms=15000)
    try:
        sent = [producer.send(TOPIC, partition=n % GROUP_PARTITIONS, value=v.encode()) for n, v in enumerate(wanted)]
        for future in sent:
            future.get(timeout=30)
    finally:
        producer.close(timeout=5)


Groups(TOPIC, KafkaPythonMember, produce).run(create_topic)
