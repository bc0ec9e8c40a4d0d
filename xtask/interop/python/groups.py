"""What every Python client does in a consumer group, told apart only by how its member is made.

A member is driven by a thread of its own, because not every client may be used by two. The broker
is killed and started again by whoever runs this, when the line `kill-now` is printed; it is ready
again when the file is there that the variable BROKER_IS_BACK names. Without the variable nobody
kills it.
"""

import os
import queue
import threading

from common import *

GROUP_PARTITIONS = 6

# A rebalance may have to wait for the session of a member that is gone.
REBALANCE_SECONDS = 60.0

# The most between two tries to reach a broker that is away: a member that waits longer than its
# session takes is given up, and reads again what it did not commit.
RECONNECT_MAX_MS = 500


class Member(threading.Thread):
    """A member of a group. Clients say how in `open`, `poll`, `commit_all` and `leave`."""

    def __init__(self, topic, group, instance=None):
        super().__init__(daemon=True)
        self.topic = topic
        self.group = group
        self.instance = instance
        # Nobody waits for the session of a static member to end: a busy machine must not end it.
        self.session_ms = 6000 if instance is None else 30000
        self.assigned = set()
        self.assignments = 0
        self.records = []
        self.error = None
        self.wishes = queue.Queue()
        self.start()

    def on_assigned(self, partitions):
        """For clients that tell the whole assignment."""
        if partitions != self.assigned:
            self.assignments += 1
        self.assigned = set(partitions)

    def run(self):
        try:
            self.open()
            while True:
                try:
                    wish, done = self.wishes.get_nowait()
                except queue.Empty:
                    self.records += self.poll()
                    continue
                try:
                    wish()
                    done.put(None)
                except Exception as error:
                    done.put(error)
                if wish == self.leave:
                    return
        except Exception as error:
            traceback.print_exc()
            self.error = error

    def ask(self, wish):
        done = queue.Queue()
        self.wishes.put((wish, done))
        try:
            error = done.get(timeout=REBALANCE_SECONDS)
        except queue.Empty:
            error = AssertionError(f"the member did not answer ({self.error})")
        if error is not None:
            raise error

    def commit(self):
        self.ask(self.commit_all)

    def close(self):
        self.ask(self.leave)
        self.join(20)


def values(*members):
    return sorted(value.decode() for member in members for _, _, value in member.records)


def expect(wanted, *members):
    """The members get exactly these values, and then nothing more for a moment."""

    def arrived():
        for member in members:
            check(member.error is None, f"{member.error}")
        return len(values(*members)) >= len(wanted)

    try:
        wait_for(f"{len(wanted)} records", arrived, REBALANCE_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}; {len(values(*members))} came") from None
    time.sleep(0.3)
    got = values(*members)
    check(got == sorted(wanted), f"{len(got)} records, {len(wanted)} produced: {first_difference(got, sorted(wanted))}")
    for member in members:
        member.records.clear()


def first_difference(got, wanted):
    odd = sorted(set(got) ^ set(wanted))
    return f"odd are {odd[:3]}" if odd else "some came twice"


def share(*members):
    """Every partition is one member's, and every member has one."""

    def shared():
        for member in members:
            check(member.error is None, f"{member.error}")
        held = [p for member in members for p in member.assigned]
        return sorted(held) == list(range(GROUP_PARTITIONS)) and all(member.assigned for member in members)

    try:
        wait_for("the partitions shared", shared, REBALANCE_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}; members have {[sorted(member.assigned) for member in members]}") from None
    return " and ".join(str(len(member.assigned)) for member in members)


class Groups:
    """The steps. `produce(values)` writes one record for each, the n-th to partition n modulo six."""

    def __init__(self, topic, make_member, produce):
        self.topic = topic
        self.make_member = make_member
        self.produce = produce
        self.members = []
        self.sent = 0

    def member(self, group, instance=None):
        member = self.make_member(self.topic, group, instance)
        self.members.append(member)
        return member

    def send(self, count):
        wanted = [f"record-{self.sent + n:05}" for n in range(count)]
        self.sent += count
        self.produce(wanted)
        return wanted

    def one_reads_all(self):
        wanted = self.send(120)
        self.first = self.member("readers")
        share(self.first)
        expect(wanted, self.first)

    def one_joins(self):
        self.first.commit()
        self.second = self.member("readers")
        note = share(self.first, self.second)
        expect(self.send(60), self.first, self.second)
        return f"they have {note} partitions"

    def one_leaves(self):
        self.first.commit()
        self.second.commit()
        self.second.close()
        share(self.first)
        expect(self.send(60), self.first)

    def consumer_resumes(self):
        self.first.commit()
        self.first.close()
        wanted = self.send(60)
        self.first = self.member("readers")
        expect(wanted, self.first)

    def broker_dies(self):
        self.first.commit()
        say("kill-now")
        back = os.environ.get("BROKER_IS_BACK")
        wait_for("the broker killed and ready again", lambda: back is None or os.path.exists(back))
        expect(self.send(60), self.first)
        self.first.commit()

    def resumes_after_the_kill(self):
        self.first.close()
        wanted = self.send(12)
        self.first = self.member("readers")
        expect(wanted, self.first)
        self.first.close()

    def static_member_returns(self):
        # The programs run one after the other, and members of the last one may still be in its group.
        group = f"static-{self.topic}"
        one, two = self.member(group, "one"), self.member(group, "two")
        share(one, two)
        # A member that was told twice while the group came together must not be told again.
        time.sleep(1.0)
        held, before = set(one.assigned), two.assignments
        one.close()
        again = self.member(group, "one")
        wait_for("the assignment of before", lambda: again.assigned == held, REBALANCE_SECONDS)
        time.sleep(1.0)
        check(two.assignments == before, "the other member was told to rebalance")
        again.close()
        two.close()

    def run(self, create_topic, static=True):
        steps = Steps()
        steps.run("group-topic", create_topic)
        steps.run("group-one-reads-all", self.one_reads_all)
        steps.run("group-one-joins", self.one_joins)
        steps.run("group-one-leaves", self.one_leaves)
        steps.run("group-consumer-resumes", self.consumer_resumes)
        steps.run("group-broker-dies", self.broker_dies)
        steps.run("group-resumes-after-kill", self.resumes_after_the_kill)
        if static:
            steps.run("group-static-member-returns", self.static_member_returns)
        else:
            steps.skipped("group-static-member-returns", "the client has no static membership")
