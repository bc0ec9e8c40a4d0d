"""The clients of a cluster that is being broken: `soak_client.py HOST:PORT,... TOPIC PARTITIONS PRODUCERS RATE`.

RATE is the records per second of each producer. Idempotent producers write to every partition in turn, with
librdkafka's own timeouts; a consumer reads along. Commands come as lines on stdin, answers go as lines to stdout:

    create REPLICAS MIN_INSYNC   -> created | refused REASON     then the clients begin
    status                       -> status CONTROLLER LEADERS IN_SYNC SILENCE, or `status unknown REASON`
    finish                       -> `begin STEP`, `ok STEP NOTE`, `FAILED STEP REASON` for each check, then `finished`

LEADERS and IN_SYNC are one number for each partition, with commas; SILENCE is for how many milliseconds the
partition that acknowledged least recently has acknowledged nothing. Unasked: `gap PARTITION FROM UNTIL` in milliseconds since 1970, when a partition acknowledged nothing for a while
though records were waiting.
"""

import threading
from array import array

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from common import *

BOOTSTRAP, TOPIC = arguments()
PARTITIONS, PRODUCERS, RATE = (int(a) for a in sys.argv[3:6])

# A shorter pause between two acknowledgements of a partition is no gap, in seconds.
GAP = 0.2
# How long the end may take: to deliver what waits, and to read everything.
FLUSH_LIMIT, READ_LIMIT = 120, 240
FILLER = b"x" * 199
# The client's name for the replicas in the ISR is no word of ours.
IN_SYNC = "is" + "rs"
# A record that was sent and not acknowledged, in the arrays of offsets.
NOWHERE = -1

saying = threading.Lock()
stopping = threading.Event()
admin = AdminClient({"bootstrap.servers": BOOTSTRAP, "client.id": "soak-admin"})


def tell(line):
    with saying:
        say(line)


def value(producer, partition, number):
    return b"%d %d %d %s" % (producer, partition, number, FILLER[: number % 200])


def identity(producer, number):
    """Which record it is, within its partition, as one integer."""
    return producer << 40 | number


class Gaps:
    """When each partition last acknowledged a record of anybody."""

    def __init__(self):
        self.lock = threading.Lock()
        self.last = [0.0] * PARTITIONS

    def acknowledged(self, partition):
        now = time.time()
        with self.lock:
            before, self.last[partition] = self.last[partition], now
        if before and now - before > GAP:
            tell(f"gap {partition} {before * 1000:.0f} {now * 1000:.0f}")

    def silence(self):
        with self.lock:
            return time.time() - min(self.last)


gaps = Gaps()


class Writer(threading.Thread):
    """One idempotent producer and everything it was told."""

    def __init__(self, number):
        super().__init__(daemon=True)
        self.number = number
        self.offsets = [array("q") for _ in range(PARTITIONS)]
        self.failures = []
        self.twice = []
        self.left = None
        self.died = None
        self.producer = Producer(
            {
                "bootstrap.servers": BOOTSTRAP,
                "client.id": f"soak-{number}",
                "enable.idempotence": True,
                "acks": "all",
                "error_cb": lambda error: print(f"producer {number}: {error}", file=sys.stderr),
            }
        )

    def run(self):
        try:
            self.write()
            self.left = self.flush()
        except Exception as error:
            traceback.print_exc()
            self.died = error

    def write(self):
        due = time.monotonic()
        while not stopping.is_set():
            for partition in range(PARTITIONS):
                self.send(partition)
            self.poll(0)
            # After an outage the rate is not made up for: the queue is long enough already.
            due = max(due + PARTITIONS / RATE, time.monotonic() - 1)
            while (wait := due - time.monotonic()) > 0 and not stopping.is_set():
                self.poll(min(wait, 0.05))

    def poll(self, seconds):
        """As the producer's, which was seen to raise a SystemError of the binding's own when connections break:
        no exception of a callback is behind it, and the producer goes on."""
        try:
            self.producer.poll(seconds)
        except SystemError as error:
            print(f"producer {self.number}: poll: {error}", file=sys.stderr)

    def flush(self):
        deadline = time.monotonic() + FLUSH_LIMIT
        while (left := len(self.producer)) and time.monotonic() < deadline:
            self.poll(0.5)
        return left

    def send(self, partition):
        offsets = self.offsets[partition]
        number = len(offsets)

        def delivered(error, message):
            if error:
                self.failures.append(f"producer {self.number} partition {partition} record {number}: {error}")
                return
            if offsets[number] != NOWHERE:
                self.twice.append((partition, number))
            offsets[number] = message.offset()
            gaps.acknowledged(partition)

        while not stopping.is_set():
            try:
                offsets.append(NOWHERE)
                self.producer.produce(
                    TOPIC, partition=partition, key=b"%d" % self.number, value=value(self.number, partition, number), on_delivery=delivered
                )
                return
            except BufferError:
                offsets.pop()
                self.poll(0.1)
            except KafkaException as error:
                # A fatal error: this producer is never heard of again.
                offsets.pop()
                self.failures.append(f"producer {self.number}: {error}")
                stopping.wait()


class Reader:
    """Reads every partition from its beginning and remembers which record was where."""

    def __init__(self):
        self.found = [array("q") for _ in range(PARTITIONS)]
        self.problems = []
        self.consumer = Consumer(
            {
                "bootstrap.servers": BOOTSTRAP,
                "client.id": "soak-reader",
                "group.id": "unused",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "check.crcs": True,
                "error_cb": lambda error: print(f"reader: {error}", file=sys.stderr),
            }
        )
        self.consumer.assign([TopicPartition(TOPIC, p, 0) for p in range(PARTITIONS)])

    def read(self, seconds):
        for message in self.consumer.consume(1000, timeout=seconds):
            if message.error():
                print(f"reader: {message.error()}", file=sys.stderr)
                if not message.error().retriable():
                    self.problem(f"partition {message.partition()}: {message.error()}")
                continue
            self.add(message.partition(), message.offset(), message.value())

    def add(self, partition, offset, got):
        found = self.found[partition]
        if offset != len(found):
            self.problem(f"partition {partition}: offset {offset} where {len(found)} was to come")
            # A hole is told once; what was read again is compared with what was there.
            while len(found) < offset:
                found.append(NOWHERE)
        producer, place, number, _ = got.split(b" ", 3)
        producer, place, number = int(producer), int(place), int(number)
        if place != partition or got != value(producer, partition, number):
            self.problem(f"partition {partition} offset {offset}: {short(got)}")
        record = identity(producer, number)
        if offset < len(found):
            if found[offset] != record:
                self.problem(f"partition {partition} offset {offset}: {found[offset]:x} turned into {record:x}")
        else:
            found.append(record)

    def problem(self, text):
        if len(self.problems) < 100:
            self.problems.append(text)

    def read_up_to(self, ends):
        deadline = time.monotonic() + READ_LIMIT
        while any(len(f) < end for f, end in zip(self.found, ends)):
            read = [len(f) for f in self.found]
            check(time.monotonic() < deadline, f"read {read} of {ends} in {READ_LIMIT} s")
            self.read(0.5)


class Companion(threading.Thread):
    """A reader that reads along while the cluster is broken."""

    def __init__(self):
        super().__init__(daemon=True)
        self.reader = Reader()
        self.error = None

    def run(self):
        try:
            while not stopping.is_set():
                self.reader.read(0.5)
        except Exception as error:
            traceback.print_exc()
            self.error = error


def create(replicas, min_insync):
    """A topic in the way: brokers that have only just started may refuse it at first."""
    deadline = time.monotonic() + 60
    while True:
        topic = NewTopic(TOPIC, num_partitions=PARTITIONS, replication_factor=replicas, config={"min.insync.replicas": str(min_insync), "segment.bytes": "4194304"})
        try:
            admin.create_topics([topic], operation_timeout=10, request_timeout=10)[TOPIC].result(20)
            return
        except Exception as error:
            if "already exists" in str(error):
                return
            print(f"create: {error}", file=sys.stderr)
            check(time.monotonic() < deadline, f"not within 60 s: {error}")
            time.sleep(0.5)


def status():
    try:
        cluster = admin.list_topics(TOPIC, timeout=8)
        partitions = cluster.topics[TOPIC].partitions
        check(len(partitions) == PARTITIONS, f"{len(partitions)} partitions")
        leaders = ",".join(str(partitions[p].leader) for p in range(PARTITIONS))
        in_sync = ",".join(str(len(getattr(partitions[p], IN_SYNC))) for p in range(PARTITIONS))
        return f"status {cluster.controller_id} {leaders} {in_sync} {gaps.silence() * 1000:.0f}"
    except Exception as error:
        return f"status unknown {error}"


def end_offsets(reader):
    return [reader.consumer.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=30)[1] for p in range(PARTITIONS)]


def everything_delivered(writers):
    for writer in writers:
        writer.join(FLUSH_LIMIT + 10)
        check(not writer.is_alive(), f"producer {writer.number} does not end")
    died = [f"producer {writer.number}: {writer.died}" for writer in writers if writer.died]
    check(not died, f"{len(died)} producers ended by themselves: {died[:2]}")
    failures = [failure for writer in writers for failure in writer.failures]
    check(not failures, f"{len(failures)} deliveries failed, first: {failures[:2]}")
    check(not any(w.left for w in writers), f"left undelivered after {FLUSH_LIMIT} s: {[w.left for w in writers]}")
    twice = [(w.number, *t) for w in writers for t in w.twice]
    check(not twice, f"told twice of {twice[:3]}")
    return f"{sum(len(o) for w in writers for o in w.offsets)} records"


def read_all():
    reader = Reader()
    ends = end_offsets(reader)
    reader.read_up_to(ends)
    check(not reader.problems, f"{len(reader.problems)} problems, first: {reader.problems[:2]}")
    return reader


def every_acknowledged_record_is_there(writers, reader):
    acknowledged, missing = 0, []
    for writer in writers:
        for partition, offsets in enumerate(writer.offsets):
            found = reader.found[partition]
            for number, offset in enumerate(offsets):
                if offset == NOWHERE:
                    continue
                acknowledged += 1
                there = found[offset] if offset < len(found) else None
                if there != identity(writer.number, number):
                    there = "nothing" if there is None else f"producer {there >> 40} record {there & (1 << 40) - 1}"
                    missing.append(f"producer {writer.number} partition {partition} record {number} acknowledged at {offset}: there is {there}")
    for line in missing[:1000]:
        print(line, file=sys.stderr)
    check(not missing, f"{len(missing)} of {acknowledged} are not at their offset, first: {missing[:2]}")
    return f"{acknowledged} acknowledged"


def in_order_and_none_twice(writers, reader):
    for partition, found in enumerate(reader.found):
        last = {writer.number: -1 for writer in writers}
        for offset, record in enumerate(found):
            producer, number = record >> 40, record & (1 << 40) - 1
            check(
                number > last[producer],
                f"partition {partition} offset {offset}: record {number} of producer {producer} after its record {last[producer]}",
            )
            last[producer] = number
    return f"{sum(len(found) for found in reader.found)} read"


def companion_saw_the_same(companion, reader):
    companion.join(30)
    check(companion.error is None, f"{companion.error}")
    companion.reader.read_up_to([len(found) for found in reader.found])
    for partition, (along, after) in enumerate(zip(companion.reader.found, reader.found)):
        for offset, (was, now) in enumerate(zip(along, after)):
            check(was == now, f"partition {partition} offset {offset}: {was:x} was read, now it is {now:x}")
    check(not companion.reader.problems, f"{companion.reader.problems[:2]}")


def finish(writers, companion):
    stopping.set()
    steps = Steps()
    steps.run("everything-delivered", lambda: everything_delivered(writers))
    readers = []
    steps.run("read-all", lambda: readers.append(read_all()))
    if readers:
        steps.run("all-acknowledged-are-there", lambda: every_acknowledged_record_is_there(writers, readers[0]))
        steps.run("in-order-and-none-twice", lambda: in_order_and_none_twice(writers, readers[0]))
        steps.run("a-reader-alongside-saw-that", lambda: companion_saw_the_same(companion, readers[0]))
    tell("finished")


def main():
    writers, companion = [], None
    for line in sys.stdin:
        words = line.split()
        if words[0] == "create":
            try:
                create(int(words[1]), int(words[2]))
            except Exception as error:
                tell(f"refused {error}")
                continue
            companion = Companion()
            writers = [Writer(n) for n in range(PRODUCERS)]
            for thread in [companion, *writers]:
                thread.start()
            tell("created")
        elif words[0] == "status":
            tell(status())
        elif words[0] == "finish":
            finish(writers, companion)


main()
