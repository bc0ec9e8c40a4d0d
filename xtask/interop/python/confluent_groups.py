"""confluent-kafka in consumer groups: `confluent_groups.py HOST:PORT TOPIC classic|consumer`."""

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from groups import *

BOOTSTRAP, TOPIC = arguments()
PROTOCOL = sys.argv[3]


class ConfluentMember(Member):
    def open(self):
        settings = {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": self.group,
            "group.protocol": PROTOCOL,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "reconnect.backoff.max.ms": RECONNECT_MAX_MS,
        }
        if PROTOCOL == "classic":
            settings |= {"session.timeout.ms": self.session_ms, "heartbeat.interval.ms": 500}
        if self.instance:
            settings["group.instance.id"] = self.instance
        self.consumer = Consumer(settings)
        # Without callbacks of ours the client assigns by itself, incrementally where it has to.
        self.consumer.subscribe([self.topic])

    def poll(self):
        got = []
        for message in self.consumer.consume(100, timeout=0.1):
            if message.error() is None:
                got.append((message.partition(), message.offset(), message.value()))
        self.on_assigned({p.partition for p in self.consumer.assignment()})
        return got

    def commit_all(self):
        positions = [p for p in self.consumer.position(self.consumer.assignment()) if p.offset >= 0]
        if positions:
            self.consumer.commit(offsets=positions, asynchronous=False)

    def leave(self):
        self.consumer.close()


def create_topic():
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    admin.create_topics([NewTopic(TOPIC, num_partitions=GROUP_PARTITIONS, replication_factor=1)])[TOPIC].result(20)
    wait_for("the topic in the metadata", lambda: TOPIC in admin.list_topics(timeout=10).topics)


def produce(wanted):
    failures = []
    producer = Producer({"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True, "message.timeout.ms": 25000})
    for n, value in enumerate(wanted):
        producer.produce(
            TOPIC, partition=n % GROUP_PARTITIONS, value=value, on_delivery=lambda e, _: failures.append(e) if e else None
        )
    check(producer.flush(30) == 0 and not failures, f"not delivered: {failures[:1]}")


Groups(TOPIC, ConfluentMember, produce).run(create_topic)
