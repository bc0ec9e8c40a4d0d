// kafkajs in consumer groups: `kafkajs_groups.js HOST:PORT TOPIC`.
// The client has no static membership. Whoever runs this kills and restarts the broker when it
// prints `kill-now`, and then makes the file that the variable BROKER_IS_BACK names; without the
// variable nobody kills it.

const fs = require("node:fs");
const { Kafka, logLevel } = require("kafkajs");
const [bootstrap, topic] = process.argv.slice(2);

const PARTITIONS = 6;
const REBALANCE_MS = 60_000;

const kafka = new Kafka({
  clientId: "interop",
  brokers: [bootstrap],
  logLevel: logLevel.NOTHING,
  requestTimeout: 15_000,
  // Often enough that no session ends before a broker that is back is found, and for longer than it may be away.
  retry: { retries: 150, initialRetryTime: 100, maxRetryTime: 500 },
});

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const oneLine = (text) => String(text).replace(/\s+/g, " ").slice(0, 500);

function check(holds, message) {
  if (!holds) throw new Error(message);
}

async function waitFor(what, holds) {
  const end = Date.now() + REBALANCE_MS;
  while (!holds()) {
    check(Date.now() < end, `not within ${REBALANCE_MS / 1000} s: ${what()}`);
    await sleep(100);
  }
}

async function step(name, work) {
  console.log(`begin ${name}`);
  try {
    console.log(`ok ${name} ${(await work()) ?? ""}`);
  } catch (error) {
    console.error(error);
    console.log(`FAILED ${name} ${oneLine(error)}`);
  }
}

class Member {
  constructor() {
    this.assigned = [];
    this.values = [];
    this.next = {};
  }

  async start() {
    this.consumer = kafka.consumer({
      groupId: "readers-kafkajs",
      sessionTimeout: 6_000,
      heartbeatInterval: 500,
      rebalanceTimeout: 10_000,
      maxWaitTimeInMs: 200,
      // Of its own accord it begins anew after five, while the broker may still be away.
      retry: { retries: 20 },
    });
    this.consumer.on(this.consumer.events.GROUP_JOIN, ({ payload }) => {
      this.assigned = payload.memberAssignment[topic] ?? [];
      this.next = {};
    });
    await this.consumer.connect();
    await this.consumer.subscribe({ topic, fromBeginning: true });
    await this.consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        this.values.push(message.value.toString());
        this.next[partition] = String(BigInt(message.offset) + 1n);
      },
    });
    return this;
  }

  async commit() {
    const held = Object.entries(this.next).filter(([partition]) => this.assigned.includes(Number(partition)));
    await this.consumer.commitOffsets(held.map(([partition, offset]) => ({ topic, partition: Number(partition), offset })));
  }

  async close() {
    await this.consumer.disconnect();
  }
}

let sent = 0;
async function send(count) {
  const values = Array.from({ length: count }, () => `record-${String(sent++).padStart(5, "0")}`);
  // Idempotent, or a retry may write the records twice.
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  try {
    await producer.send({ topic, messages: values.map((value, n) => ({ value, partition: n % PARTITIONS })) });
  } finally {
    await producer.disconnect();
  }
  return values;
}

async function expect(wanted, ...members) {
  const got = () => members.flatMap((member) => member.values).sort();
  await waitFor(() => `${wanted.length} records; ${got().length} came`, () => got().length >= wanted.length);
  await sleep(300);
  const odd = got().filter((value) => !wanted.includes(value));
  check(got().join() === wanted.slice().sort().join(), `${got().length} records for ${wanted.length}; odd are ${odd.slice(0, 3)}`);
  for (const member of members) member.values = [];
}

async function share(...members) {
  const held = () => members.flatMap((member) => member.assigned).sort();
  const shared = () => held().join() === "0,1,2,3,4,5" && members.every((member) => member.assigned.length > 0);
  await waitFor(() => `the partitions shared; members have ${members.map((m) => `[${m.assigned}]`)}`, shared);
  return members.map((member) => member.assigned.length).join(" and ");
}

async function main() {
  let first, second;
  await step("group-topic", async () => {
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1 }] });
    await admin.disconnect();
  });
  await step("group-one-reads-all", async () => {
    const wanted = await send(120);
    first = await new Member().start();
    await share(first);
    await expect(wanted, first);
  });
  await step("group-one-joins", async () => {
    await first.commit();
    second = await new Member().start();
    const note = await share(first, second);
    await expect(await send(60), first, second);
    return `they have ${note} partitions`;
  });
  await step("group-one-leaves", async () => {
    await first.commit();
    await second.commit();
    await second.close();
    await share(first);
    await expect(await send(60), first);
  });
  await step("group-consumer-resumes", async () => {
    await first.commit();
    await first.close();
    const wanted = await send(60);
    first = await new Member().start();
    await expect(wanted, first);
  });
  await step("group-broker-dies", async () => {
    await first.commit();
    console.log("kill-now");
    const back = process.env.BROKER_IS_BACK;
    await waitFor(() => "the broker killed and ready again", () => !back || fs.existsSync(back));
    await expect(await send(60), first);
    await first.commit();
  });
  await step("group-resumes-after-kill", async () => {
    await first.close();
    const wanted = await send(12);
    first = await new Member().start();
    await expect(wanted, first);
    await first.commit();
    await first.close();
  });
  await step("group-offsets", async () => {
    const admin = kafka.admin();
    await admin.connect();
    const [{ partitions }] = await admin.fetchOffsets({ groupId: "readers-kafkajs", topics: [topic] });
    const total = partitions.reduce((sum, { offset }) => sum + Number(offset), 0);
    check(total === sent, `the committed offsets add up to ${total}, not ${sent}`);
    const { groups } = await admin.describeGroups(["readers-kafkajs"]);
    check(groups[0].state === "Empty", `the group is ${groups[0].state}`);
    await admin.deleteGroups(["readers-kafkajs"]);
    await admin.disconnect();
  });
  console.log("skipped group-static-member-returns the client has no static membership");
  process.exit(0);
}

main();
