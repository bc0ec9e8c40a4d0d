// kafkajs, unmodified: `kafkajs_client.js HOST:PORT TOPIC`.
// The codecs that kafkajs leaves to others come ready: nothing is compiled to install them.
//
// kafkajs has no consumer without a group, so what was produced is read with its own protocol
// implementation over the connection of its own broker pool: Fetch requests as its consumer sends them.

const kafkajs = require("kafkajs");
const Cluster = require("kafkajs/src/cluster");
const createSocketFactory = require("kafkajs/src/network/socketFactory");
const consoleLogger = require("kafkajs/src/loggers/console");
const { createLogger } = require("kafkajs/src/loggers");

const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = kafkajs;
const [bootstrap, topic] = process.argv.slice(2);

const PARTITIONS = 3;
const RECORDS = 300;
const CODECS = ["none", "gzip", "snappy", "lz4", "zstd"];
const TYPES = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};
const BASE_TIMESTAMP = Date.now() - 3_600_000;

const kafka = new Kafka({
  clientId: "interop",
  brokers: [bootstrap],
  logLevel: logLevel.ERROR,
  requestTimeout: 15_000,
  retry: { retries: 5 },
});
const admin = kafka.admin();

function check(holds, message) {
  if (!holds) throw new Error(message);
}

const oneLine = (text) => String(text).replace(/\s+/g, " ").slice(0, 500);

async function step(name, work) {
  console.log(`begin ${name}`);
  try {
    await work();
    console.log(`ok ${name}`);
  } catch (error) {
    console.error(error);
    console.log(`FAILED ${name} ${oneLine(error)}`);
  }
}

async function registerCodecs() {
  CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");
  const lz4 = require("lz4-napi");
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: (encoder) => lz4.compressFrame(encoder.buffer),
    decompress: (buffer) => lz4.decompressFrame(buffer),
  });
  const { ZstdCodec } = require("zstd-codec");
  const zstd = await new Promise((resolve) => ZstdCodec.run((codec) => resolve(new codec.Simple())));
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
  });
}

function records(round, label) {
  return Array.from({ length: RECORDS }, (_, i) => {
    const tail = Buffer.from([i & 0xff, 0, 0xff]);
    let value = Buffer.concat([Buffer.from(`${label} record ${i} `.repeat(1 + (i % 7))), tail]);
    if (i % 50 === 7) value = null;
    if (i % 50 === 8) value = Buffer.alloc(0);
    if (i === 150) value = Buffer.from(Array.from({ length: 60_000 }, (_, j) => (j * 31 + Math.floor(j / 251)) & 0xff));
    return {
      partition: i % PARTITIONS,
      key: i % 10 === 9 ? null : Buffer.from(`key-${i}`),
      value,
      headers: { round: Buffer.from(label), n: tail },
      timestamp: String(BASE_TIMESTAMP + round * 100_000 + i * 100),
    };
  });
}

const same = (a, b) => (a === null || b === null ? a === b : Buffer.compare(a, b) === 0);

async function offsets() {
  const found = {};
  for (const o of await admin.fetchTopicOffsets(topic)) found[o.partition] = o;
  return found;
}

async function fetchAll(partition, from, count) {
  const cluster = new Cluster({
    logger: createLogger({ level: logLevel.ERROR, logCreator: consoleLogger }),
    socketFactory: createSocketFactory(),
    brokers: [bootstrap],
    connectionTimeout: 5_000,
    authenticationTimeout: 5_000,
    requestTimeout: 15_000,
    metadataMaxAge: 60_000,
    retry: { retries: 5 },
  });
  await cluster.connect();
  try {
    await cluster.addTargetTopic(topic);
    const leader = cluster.findTopicPartitionMetadata(topic).find((p) => p.partitionId === partition).leader;
    const broker = await cluster.findBroker({ nodeId: String(leader) });
    const got = [];
    let next = BigInt(from);
    const end = Date.now() + 25_000;
    while (got.length < count) {
      check(Date.now() < end, `partition ${partition}: only ${got.length} of ${count} records in 25 s`);
      const { responses } = await broker.fetch({
        replicaId: -1,
        isolationLevel: 0,
        maxWaitTime: 500,
        minBytes: 1,
        maxBytes: 1_048_576,
        rackId: "",
        topics: [{ topic, partitions: [{ partition, fetchOffset: next.toString(), maxBytes: 1_048_576 }] }],
      });
      for (const response of responses)
        for (const p of response.partitions)
          for (const m of p.messages)
            if (BigInt(m.offset) >= next) {
              got.push(m);
              next = BigInt(m.offset) + 1n;
            }
    }
    return got;
  } finally {
    await cluster.disconnect();
  }
}

async function compare(expected, starts) {
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const wanted = expected.filter((r) => r.partition === partition);
    const got = await fetchAll(partition, starts[partition], wanted.length);
    check(got.length === wanted.length, `partition ${partition}: ${got.length} records read, ${wanted.length} produced`);
    wanted.forEach((want, n) => {
      const have = got[n];
      const where = `partition ${partition} offset ${have.offset}`;
      check(BigInt(have.offset) === BigInt(starts[partition]) + BigInt(n), `${where}: not the expected offset`);
      check(same(have.key, want.key), `${where}: key differs`);
      check(same(have.value, want.value), `${where}: value differs`);
      check(String(have.timestamp) === want.timestamp, `${where}: timestamp ${have.timestamp}, produced ${want.timestamp}`);
      for (const name of Object.keys(want.headers))
        check(same(have.headers[name], want.headers[name]), `${where}: header ${name} differs`);
    });
  }
}

async function roundTrip(round, label, options, acks) {
  const messages = records(round, label);
  const starts = {};
  await step(`produce-${label}`, async () => {
    for (const [p, o] of Object.entries(await offsets())) starts[p] = o.high;
    const producer = kafka.producer({ allowAutoTopicCreation: false, ...options });
    await producer.connect();
    try {
      await producer.send({ topic, acks, compression: TYPES[label] ?? TYPES.none, messages });
    } finally {
      await producer.disconnect();
    }
  });
  await step(`read-${label}`, () => compare(messages, starts));
}

async function waitListed(expected) {
  const end = Date.now() + 10_000;
  while ((await admin.listTopics()).includes(topic) !== expected) {
    check(Date.now() < end, `after 10 s the topic is ${expected ? "not" : "still"} in the metadata`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function offsetsByTime() {
  const wanted = records(0, "none").filter((r) => r.partition === 1);
  for (const n of [0, 1, 50, 99]) {
    const found = await admin.fetchTopicOffsetsByTimestamp(topic, Number(wanted[n].timestamp) - 1);
    const offset = found.find((o) => o.partition === 1).offset;
    check(offset === String(n), `timestamp ${Number(wanted[n].timestamp) - 1}: offset ${offset}, expected ${n}`);
  }
  const { low, high } = (await offsets())[1];
  check(low === "0", `earliest is ${low}`);
  check(Number(high) >= RECORDS / PARTITIONS, `latest is ${high}`);
}

async function deleteRecords() {
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "42" }] });
  const { low } = (await offsets())[0];
  check(low === "42", `earliest offset ${low}, expected 42`);
  const [first] = await fetchAll(0, "42", 1);
  check(first.offset === "42", `first record after the deletion is at ${first.offset}`);
}

async function main() {
  await registerCodecs();
  await admin.connect();
  await step("create-topic", async () => {
    const made = await admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: 1 }], timeout: 15_000 });
    check(made, "the topic was there already");
    await waitListed(true);
  });
  for (const [round, codec] of CODECS.entries()) await roundTrip(round, codec, { idempotent: true }, -1);
  await roundTrip(5, "acks-1", {}, 1);
  await step("offsets-by-time", offsetsByTime);
  await step("delete-records", deleteRecords);
  await step("delete-topic", async () => {
    await admin.deleteTopics({ topics: [topic], timeout: 15_000 });
    await waitListed(false);
  });
  await admin.disconnect();
}

main().catch((error) => {
  console.error(error);
  console.log(`FAILED connect ${oneLine(error)}`);
  process.exit(1);
});
