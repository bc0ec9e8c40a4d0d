// The Java client (org.apache.kafka:kafka-clients), unmodified: `java JavaClient HOST:PORT TOPIC`.

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.*;

public final class JavaClient {
    static final int PARTITIONS = 3;
    static final int RECORDS = 300;
    static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    static final long BASE_TIMESTAMP = System.currentTimeMillis() - 3_600_000;

    static String bootstrap;
    static String topic;
    static Admin admin;

    record Expected(int partition, byte[] key, byte[] value, byte[] round, byte[] n, long timestamp) {}

    interface Step {
        void run() throws Exception;
    }

    static void step(String name, Step step) {
        System.out.println("begin " + name);
        try {
            step.run();
            System.out.println("ok " + name);
        } catch (Throwable error) {
            error.printStackTrace();
            System.out.println("FAILED " + name + " " + error.toString().replaceAll("\\s+", " "));
        }
    }

    static void check(boolean holds, String message) {
        if (!holds) throw new AssertionError(message);
    }

    static List<Expected> records(int round, String label) {
        List<Expected> out = new ArrayList<>();
        for (int i = 0; i < RECORDS; i++) {
            byte[] tail = {(byte) i, 0, (byte) 0xFF};
            byte[] text = (label + " record " + i + " ").repeat(1 + i % 7).getBytes(StandardCharsets.UTF_8);
            byte[] value = Arrays.copyOf(text, text.length + 3);
            System.arraycopy(tail, 0, value, text.length, 3);
            if (i % 50 == 7) value = null;
            if (i % 50 == 8) value = new byte[0];
            if (i == 150) {
                value = new byte[60_000];
                for (int j = 0; j < value.length; j++) value[j] = (byte) (j * 31 + j / 251);
            }
            byte[] key = i % 10 == 9 ? null : ("key-" + i).getBytes(StandardCharsets.UTF_8);
            long timestamp = BASE_TIMESTAMP + round * 100_000L + i * 100L;
            out.add(new Expected(i % PARTITIONS, key, value, label.getBytes(StandardCharsets.UTF_8), tail, timestamp));
        }
        return out;
    }

    static List<Expected> partition(List<Expected> all, int partition) {
        return all.stream().filter(r -> r.partition() == partition).toList();
    }

    static KafkaConsumer<byte[], byte[]> consumer() {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("enable.auto.commit", "false");
        settings.put("auto.offset.reset", "none");
        settings.put("default.api.timeout.ms", "20000");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static List<TopicPartition> partitions() {
        List<TopicPartition> all = new ArrayList<>();
        for (int p = 0; p < PARTITIONS; p++) all.add(new TopicPartition(topic, p));
        return all;
    }

    static Map<TopicPartition, Long> endOffsets() {
        try (var reader = consumer()) {
            return new HashMap<>(reader.endOffsets(partitions()));
        }
    }

    static void produce(List<Expected> expected, Map<String, Object> more) throws Exception {
        Map<String, Object> settings = new HashMap<>(more);
        settings.put("bootstrap.servers", bootstrap);
        settings.put("linger.ms", "20");
        settings.put("request.timeout.ms", "10000");
        settings.put("delivery.timeout.ms", "20000");
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (Expected r : expected) {
                var record = new ProducerRecord<>(topic, r.partition(), r.timestamp(), r.key(), r.value());
                record.headers().add("round", r.round()).add("n", r.n());
                sent.add(producer.send(record));
            }
            for (var future : sent) future.get(25, TimeUnit.SECONDS);
        }
    }

    static Map<Integer, List<ConsumerRecord<byte[], byte[]>>> read(Map<TopicPartition, Long> from, int count) {
        Map<Integer, List<ConsumerRecord<byte[], byte[]>>> got = new HashMap<>();
        try (var reader = consumer()) {
            reader.assign(from.keySet());
            from.forEach(reader::seek);
            long end = System.nanoTime() + 25_000_000_000L;
            int read = 0;
            while (read < count) {
                check(System.nanoTime() < end, "only " + read + " of " + count + " records in 25 s");
                for (var record : reader.poll(Duration.ofSeconds(1))) {
                    got.computeIfAbsent(record.partition(), p -> new ArrayList<>()).add(record);
                    read++;
                }
            }
        }
        return got;
    }

    static void compare(List<Expected> expected, Map<TopicPartition, Long> starts) {
        var all = read(starts, expected.size());
        for (int p = 0; p < PARTITIONS; p++) {
            var wanted = partition(expected, p);
            var got = all.getOrDefault(p, List.of());
            check(got.size() == wanted.size(), "partition " + p + ": " + got.size() + " records read, " + wanted.size() + " produced");
            long start = starts.get(new TopicPartition(topic, p));
            for (int n = 0; n < wanted.size(); n++) {
                var have = got.get(n);
                var want = wanted.get(n);
                String where = "partition " + p + " offset " + have.offset();
                check(have.offset() == start + n, where + ": expected offset " + (start + n));
                check(Arrays.equals(have.key(), want.key()), where + ": key differs");
                check(Arrays.equals(have.value(), want.value()), where + ": value differs");
                check(have.timestamp() == want.timestamp(), where + ": timestamp " + have.timestamp() + ", produced " + want.timestamp());
                Header[] headers = have.headers().toArray();
                check(headers.length == 2, where + ": " + headers.length + " headers");
                check(headers[0].key().equals("round") && Arrays.equals(headers[0].value(), want.round()), where + ": first header differs");
                check(headers[1].key().equals("n") && Arrays.equals(headers[1].value(), want.n()), where + ": second header differs");
            }
        }
    }

    static void roundTrip(int number, String label, Map<String, Object> settings) {
        var expected = records(number, label);
        Map<TopicPartition, Long> starts = new HashMap<>();
        step("produce-" + label, () -> {
            starts.putAll(endOffsets());
            produce(expected, settings);
        });
        step("read-" + label, () -> compare(expected, starts));
    }

    static <T> T get(org.apache.kafka.common.KafkaFuture<T> future) throws Exception {
        return future.get(20, TimeUnit.SECONDS);
    }

    static void waitListed(boolean expected) throws Exception {
        long end = System.nanoTime() + 10_000_000_000L;
        while (get(admin.listTopics().names()).contains(topic) != expected) {
            check(System.nanoTime() < end, "after 10 s the topic is " + (expected ? "not" : "still") + " in the metadata");
            Thread.sleep(100);
        }
    }

    static void createTopic() throws Exception {
        var wanted = new NewTopic(topic, PARTITIONS, (short) 1).configs(Map.of("retention.ms", "86400000"));
        var made = admin.createTopics(List.of(wanted));
        check(get(made.numPartitions(topic)) == PARTITIONS, "the answer tells another number of partitions");
        get(made.topicId(topic));
        waitListed(true);
    }

    static void configs() throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        var change = new AlterConfigOp(new ConfigEntry("segment.bytes", "2097152"), AlterConfigOp.OpType.SET);
        get(admin.incrementalAlterConfigs(Map.of(resource, List.of(change))).all());
        var found = get(admin.describeConfigs(List.of(resource)).all()).get(resource);
        check(found.get("segment.bytes").value().equals("2097152"), "segment.bytes is " + found.get("segment.bytes").value());
        check(found.get("retention.ms").value().equals("86400000"), "retention.ms is " + found.get("retention.ms").value());
    }

    static void offsetsByTime() throws Exception {
        var wanted = partition(records(0, "none"), 1);
        var tp = new TopicPartition(topic, 1);
        try (var reader = consumer()) {
            for (int n : new int[] {0, 1, 50, 99}) {
                long at = wanted.get(n).timestamp() - 1;
                var found = reader.offsetsForTimes(Map.of(tp, at)).get(tp);
                check(found != null && found.offset() == n, "timestamp " + at + ": " + found + ", expected offset " + n);
            }
            var late = reader.offsetsForTimes(Map.of(tp, BASE_TIMESTAMP + 9_000_000)).get(tp);
            check(late == null, "a timestamp after the last record gave " + late);
        }
    }

    static long offset(OffsetSpec spec) throws Exception {
        var tp = new TopicPartition(topic, 0);
        return get(admin.listOffsets(Map.of(tp, spec)).partitionResult(tp)).offset();
    }

    static void offsetsBySpec() throws Exception {
        long end = endOffsets().get(new TopicPartition(topic, 0));
        check(offset(OffsetSpec.earliest()) == 0, "earliest is " + offset(OffsetSpec.earliest()));
        check(offset(OffsetSpec.latest()) == end, "latest is " + offset(OffsetSpec.latest()) + ", not " + end);
        check(offset(OffsetSpec.maxTimestamp()) == end - 1, "max timestamp at " + offset(OffsetSpec.maxTimestamp()) + ", not " + (end - 1));
    }

    static void describe() throws Exception {
        var found = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
        check(found.partitions().size() == PARTITIONS, found.partitions().size() + " partitions");
        var nodes = get(admin.describeCluster().nodes());
        check(nodes.size() == 1, nodes.size() + " nodes");
        int node = nodes.iterator().next().id();
        var directories = get(admin.describeLogDirs(List.of(node)).allDescriptions()).get(node);
        var replicas = directories.values().iterator().next().replicaInfos();
        check(replicas.containsKey(new TopicPartition(topic, 0)), "no log of the topic in the log directories");
        var tp = new TopicPartition(topic, 0);
        var producers = get(admin.describeProducers(List.of(tp)).partitionResult(tp)).activeProducers();
        check(!producers.isEmpty(), "no active producer told");
    }

    static void deleteRecords() throws Exception {
        var tp = new TopicPartition(topic, 0);
        var deleted = admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(42)));
        long low = get(deleted.lowWatermarks().get(tp)).lowWatermark();
        check(low == 42, "low watermark " + low + ", expected 42");
        check(offset(OffsetSpec.earliest()) == 42, "earliest offset " + offset(OffsetSpec.earliest()) + ", expected 42");
        var first = read(Map.of(tp, 42L), 1).get(0).get(0);
        check(first.offset() == 42, "first record after the deletion is at " + first.offset());
    }

    static void createPartitions() throws Exception {
        get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(PARTITIONS + 2))).all());
        long end = System.nanoTime() + 10_000_000_000L;
        while (get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size() != PARTITIONS + 2) {
            check(System.nanoTime() < end, "no five partitions in the metadata after 10 s");
            Thread.sleep(100);
        }
    }

    public static void main(String[] arguments) {
        bootstrap = arguments[0];
        topic = arguments[1];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "request.timeout.ms", "10000", "default.api.timeout.ms", "20000"));
        step("create-topic", JavaClient::createTopic);
        step("configs", JavaClient::configs);
        for (int i = 0; i < CODECS.length; i++) {
            roundTrip(i, CODECS[i], Map.of("compression.type", CODECS[i], "enable.idempotence", "true", "acks", "all"));
        }
        roundTrip(5, "acks-1", Map.of("acks", "1", "enable.idempotence", "false"));
        step("offsets-by-time", JavaClient::offsetsByTime);
        step("offsets-by-spec", JavaClient::offsetsBySpec);
        step("describe", JavaClient::describe);
        step("delete-records", JavaClient::deleteRecords);
        step("create-partitions", JavaClient::createPartitions);
        step("delete-topic", () -> {
            get(admin.deleteTopics(List.of(topic)).all());
            waitListed(false);
        });
        admin.close(Duration.ofSeconds(5));
    }
}
