"""The steps, the records and the comparison that the Python clients share.

A program prints one line when a step begins and one when it ends; `cargo xtask interop` reads them:

    begin STEP
    ok STEP [NOTE]
    FAILED STEP REASON
    skipped STEP REASON
"""

import sys
import time
import traceback
from collections import namedtuple

PARTITIONS = 3
RECORDS = 300
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]

# An hour ago: no retention touches it, and it is far enough from the append time to tell the two apart.
BASE_TIMESTAMP = int(time.time() * 1000) - 3_600_000

Expected = namedtuple("Expected", "partition key value headers timestamp")


def records(round_number, label):
    """The records of one round: null, empty and large values, some without a key."""
    out = []
    for i in range(RECORDS):
        if i % 50 == 7:
            value = None
        elif i % 50 == 8:
            value = b""
        elif i == 150:
            value = bytes((j * 31 + j // 251) & 0xFF for j in range(60_000))
        else:
            value = f"{label} record {i} ".encode() * (1 + i % 7) + bytes([i & 0xFF, 0, 0xFF])
        key = None if i % 10 == 9 else f"key-{i}".encode()
        headers = [("round", label.encode()), ("n", bytes([i & 0xFF, 0, 0xFF]))]
        timestamp = BASE_TIMESTAMP + round_number * 100_000 + i * 100
        out.append(Expected(i % PARTITIONS, key, value, headers, timestamp))
    return out


def per_partition(expected):
    return {p: [r for r in expected if r.partition == p] for p in range(PARTITIONS)}


def compare(expected, got_by_partition, start_offsets):
    """Compares what was read, as (offset, key, value, headers, timestamp), with what was produced."""
    for partition, wanted in per_partition(expected).items():
        got = got_by_partition.get(partition, [])
        check(len(got) == len(wanted), f"partition {partition}: {len(got)} records read, {len(wanted)} produced")
        for n, (have, want) in enumerate(zip(got, wanted)):
            offset, key, value, headers, timestamp = have
            where = f"partition {partition} offset {offset}"
            check(offset == start_offsets[partition] + n, f"{where}: expected offset {start_offsets[partition] + n}")
            check(key == want.key, f"{where}: key {key!r}, produced {want.key!r}")
            check(value == want.value, f"{where}: value {short(value)}, produced {short(want.value)}")
            check(headers == want.headers, f"{where}: headers {headers!r}, produced {want.headers!r}")
            check(timestamp == want.timestamp, f"{where}: timestamp {timestamp}, produced {want.timestamp}")


def short(value):
    return repr(value if value is None or len(value) < 60 else value[:60] + b"...")


def check(holds, message):
    if not holds:
        raise AssertionError(message)


def wait_for(what, holds, seconds=60.0):
    end = time.monotonic() + seconds
    while not holds():
        check(time.monotonic() < end, f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def say(line):
    print(" ".join(line.split()), flush=True)


class Steps:
    """Runs each step and prints how it ended; a failed step does not stop the others."""

    def run(self, name, step):
        say(f"begin {name}")
        try:
            note = step()
            say(f"ok {name} {note or ''}")
        except Exception as error:
            self.failed(name, error)

    async def run_async(self, name, step):
        say(f"begin {name}")
        try:
            note = await step()
            say(f"ok {name} {note or ''}")
        except Exception as error:
            self.failed(name, error)

    def failed(self, name, error):
        traceback.print_exc()
        say(f"FAILED {name} {type(error).__name__}: {str(error)[:500]}")

    def skipped(self, name, reason):
        say(f"skipped {name} {reason}")


def arguments():
    """HOST:PORT of the broker and the topic to use."""
    return sys.argv[1], sys.argv[2]
