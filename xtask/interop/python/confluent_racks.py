"""librdkafka reads from the replica in its own rack (KIP-392): `confluent_racks.py HOST:PORT,... TOPIC`.

Node N is in the rack `rack-N`. Prints `kill-node N` when that node is to be killed and started again; records are on
their way then. librdkafka's statistics say which node a partition is read from, and how much came from each.
"""

import json
import threading

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from common import *

BOOTSTRAP, TOPIC = arguments()
NODES = 3
BATCH = 2000
SIZE = 500

# confluent-kafka's name for the replicas in the ISR, which is no word of ours.
IN_SYNC = "is" "rs"

# How long records are written around a kill, and when in that time it comes.
WRITTEN_SECONDS = 8.0
KILLED_AFTER_SECONDS = 1.5

written = []


class Reader:
    """Reads the one partition from its beginning, for a consumer in this rack."""

    def __init__(self, rack):
        self.statistics = {}
        self.read_from = []
        self.got = []
        self.consumer = Consumer(
            {
                "bootstrap.servers": BOOTSTRAP,
                "group.id": "unused",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "client.rack": rack,
                "statistics.interval.ms": 200,
                "stats_cb": self.note_statistics,
                "reconnect.backoff.max.ms": 500,
            }
        )
        self.consumer.assign([TopicPartition(TOPIC, 0, 0)])

    def note_statistics(self, text):
        self.statistics = json.loads(text)
        node = self.node()
        if node is not None and self.read_from[-1:] != [node]:
            self.read_from.append(node)

    def node(self):
        """The node that the partition is read from now, as far as known."""
        topic = self.statistics.get("topics", {}).get(TOPIC, {})
        node = topic.get("partitions", {}).get("0", {}).get("broker", -1)
        return node if node > 0 else None

    def received_from(self, node):
        brokers = self.statistics.get("brokers", {}).values()
        return sum(broker["rxbytes"] for broker in brokers if broker["nodeid"] == node)

    def poll(self):
        for message in self.consumer.consume(500, timeout=0.2):
            check(message.error() is None, f"{message.error()}")
            self.got.append((message.offset(), message.value()))

    def poll_until(self, what, holds, seconds=60.0):
        end = time.monotonic() + seconds
        while not holds():
            check(time.monotonic() < end, f"not within {seconds:.0f} s: {what}; read from {self.read_from}")
            self.poll()

    def read_everything(self):
        self.poll_until("all records read", lambda: len(self.got) >= len(written))
        check([offset for offset, _ in self.got] == list(range(len(written))), "offsets with holes or out of order")
        check([value for _, value in self.got] == written, "other records than were written")

    def close(self):
        self.consumer.close()


def create_topic():
    for host in BOOTSTRAP.split(","):
        # Who is asked for the topic may know less than who says that it is ready.
        wait_for(f"all brokers known to {host}", lambda: len(metadata(host).brokers) == NODES)
    admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
    topic = NewTopic(TOPIC, num_partitions=1, replication_factor=NODES, config={"min.insync.replicas": "2"})
    may_be_made = False

    def made():
        nonlocal may_be_made
        try:
            admin.create_topics([topic])[TOPIC].result(60)
            return True
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.TOPIC_ALREADY_EXISTS and may_be_made:
                return True
            # The quorum elects a leader.
            if code not in [KafkaError.NOT_CONTROLLER, KafkaError.UNKNOWN]:
                raise
            print(f"create: {error}", file=sys.stderr)
            # The leader of before may have made it: nobody knows.
            may_be_made |= code == KafkaError.UNKNOWN
            return False

    wait_for("the topic created", made)
    await_all_in_sync()


def metadata(bootstrap, topic=None):
    # By a new client each time: one that has heard of other brokers may ask them instead.
    return AdminClient({"bootstrap.servers": bootstrap}).list_topics(topic, timeout=30)


def partition():
    return metadata(BOOTSTRAP, TOPIC).topics[TOPIC].partitions.get(0)


def await_all_in_sync():
    def holds():
        found = partition()
        return found is not None and found.leader > 0 and len(getattr(found, IN_SYNC)) == NODES

    wait_for("all replicas in sync", holds)


def write(count, pause=0.0):
    """Writes records, in order and each once; they are known as written when they are acknowledged."""
    failures = []

    def delivered(error, message):
        if error:
            failures.append(str(error))
        else:
            written.append(message.value())

    producer = Producer({"bootstrap.servers": BOOTSTRAP, "enable.idempotence": True, "message.timeout.ms": 40000})
    for number in range(count):
        value = b"%08d " % number + b"r" * (SIZE - 9)
        producer.produce(TOPIC, partition=0, value=value, on_delivery=delivered)
        producer.poll(pause)
    check(producer.flush(40) == 0 and not failures, f"not delivered: {failures[:1]}")


def leader_and_follower():
    found = partition()
    return found.leader, next(node for node in found.replicas if node != found.leader)


def reads_from_its_rack():
    write(BATCH)
    await_all_in_sync()
    leader, follower = leader_and_follower()
    reader = Reader(f"rack-{follower}")
    # What comes before the leader has named the follower is the leader's.
    reader.poll_until("reading from its rack", lambda: reader.node() == follower)
    reader.read_everything()
    both = lambda: reader.received_from(leader) + reader.received_from(follower)
    reader.poll_until("statistics of what was read first", lambda: both() > BATCH * SIZE)
    before = {node: reader.received_from(node) for node in [leader, follower]}

    def growth(node):
        return reader.received_from(node) - before[node]

    write(BATCH)
    reader.read_everything()
    reader.poll_until("statistics of all that was read", lambda: growth(follower) > BATCH * SIZE)
    from_leader = growth(leader)
    check(from_leader < BATCH * SIZE // 10, f"{from_leader} bytes came from the leader; read from {reader.read_from}")
    reader.close()
    return f"{growth(follower)} bytes from the follower, {from_leader} from the leader"


def stays_with_the_leader():
    await_all_in_sync()
    leader, follower = leader_and_follower()
    for rack in [f"rack-{leader}", "nowhere"]:
        reader = Reader(rack)
        reader.read_everything()
        reader.poll_until("statistics of all that was read", lambda: reader.received_from(leader) > len(written) * SIZE)
        check(reader.read_from == [leader], f"a reader in {rack} read from {reader.read_from}, not from {leader}")
        reader.close()


def reads_through_the_death_of(choose):
    """One reads from the follower in its rack while a node dies: no record is missing, none comes twice."""
    await_all_in_sync()
    leader, follower = leader_and_follower()
    reader = Reader(f"rack-{follower}")
    reader.poll_until("reading from its rack", lambda: reader.node() == follower)
    before = len(written)
    pause = 0.02
    writer = threading.Thread(target=write, args=(int(WRITTEN_SECONDS / pause), pause))
    writer.start()
    end = time.monotonic() + KILLED_AFTER_SECONDS
    reader.poll_until("time", lambda: time.monotonic() > end)
    say(f"kill-node {choose(leader, follower)}")
    reader.poll_until("all written", lambda: not writer.is_alive())
    writer.join()
    check(len(written) > before, "nothing was written")
    reader.read_everything()
    reader.close()
    return f"read from {reader.read_from}, {len(written) - before} records around the kill"


def main():
    steps = Steps()
    steps.run("create-topic", create_topic)
    steps.run("reads-from-its-rack", reads_from_its_rack)
    steps.run("stays-with-the-leader", stays_with_the_leader)
    steps.run("its-replica-dies", lambda: reads_through_the_death_of(lambda leader, follower: follower))
    steps.run("its-leader-dies", lambda: reads_through_the_death_of(lambda leader, follower: leader))


main()
