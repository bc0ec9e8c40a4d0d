// The Java client, unmodified, while the leader it writes to is killed: `java ClusterClient HOST:PORT,... TOPIC`.
// Prints `kill-leader ID` when that node is to be killed.

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

public final class ClusterClient {
    static final int NODES = 3;
    static final int PARTITIONS = 3;
    static final int RECORDS = 6000;

    static String bootstrap;
    static String topic;
    static Admin admin;

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

    static <T> T get(org.apache.kafka.common.KafkaFuture<T> future) throws Exception {
        return future.get(60, TimeUnit.SECONDS);
    }

    static List<TopicPartitionInfo> partitions() throws Exception {
        return get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions();
    }

    /** The leader of the first partition, which may have none for a moment. */
    static int leader() throws Exception {
        long end = System.nanoTime() + 30_000_000_000L;
        while (true) {
            var leader = partitions().get(0).leader();
            if (leader != null) return leader.id();
            check(System.nanoTime() < end, "not within 30 s: a leader of the first partition");
            Thread.sleep(100);
        }
    }

    /** Asks again while the quorum elects a leader: the one of before may have made the topic or not. */
    static void askForTopic() throws Exception {
        var wanted = new NewTopic(topic, PARTITIONS, (short) NODES).configs(Map.of("min.insync.replicas", "2"));
        long end = System.nanoTime() + 60_000_000_000L;
        boolean mayBeMade = false;
        while (true) {
            try {
                get(admin.createTopics(List.of(wanted)).all());
                return;
            } catch (ExecutionException refused) {
                var cause = refused.getCause();
                if (cause instanceof TopicExistsException && mayBeMade) return;
                mayBeMade |= cause instanceof UnknownServerException;
                if (!(cause instanceof UnknownServerException || cause instanceof NotControllerException)) throw refused;
                check(System.nanoTime() < end, "not within 60 s: the topic created; " + cause);
            }
            Thread.sleep(100);
        }
    }

    static void createTopic() throws Exception {
        askForTopic();
        long end = System.nanoTime() + 60_000_000_000L;
        while (true) {
            try {
                boolean inSync = partitions().stream().allMatch(p -> p.leader() != null && p.isr().size() == NODES);
                if (inSync && get(admin.describeCluster().nodes()).size() == NODES) break;
            } catch (ExecutionException unknown) {
                // Not every broker knows the topic at once.
            }
            check(System.nanoTime() < end, "not within 60 s: all nodes known and all replicas in sync");
            Thread.sleep(100);
        }
    }

    static byte[] value(int number) {
        return ("record " + number + " " + "z".repeat(number % 100)).getBytes(StandardCharsets.UTF_8);
    }

    static void produce(List<RecordMetadata> acknowledged) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "enable.idempotence", "true", "acks", "all");
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (int n = 0; n < RECORDS; n++) {
                sent.add(producer.send(new ProducerRecord<>(topic, n % PARTITIONS, null, value(n))));
                if (n == RECORDS / 3) {
                    sent.get(n).get(60, TimeUnit.SECONDS);
                    System.out.println("kill-leader " + leader());
                }
                if (n % 10 == 0) Thread.sleep(1);
            }
            for (var future : sent) acknowledged.add(future.get(60, TimeUnit.SECONDS));
        }
    }

    static void readAll(List<RecordMetadata> acknowledged) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "enable.auto.commit", "false", "auto.offset.reset", "none");
        var all = IntStream.range(0, PARTITIONS).mapToObj(p -> new TopicPartition(topic, p)).toList();
        Map<TopicPartition, List<byte[]>> found = new HashMap<>();
        try (var reader = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            reader.assign(all);
            all.forEach(tp -> reader.seek(tp, 0));
            long end = System.nanoTime() + 60_000_000_000L;
            int read = 0;
            while (read < acknowledged.size()) {
                check(System.nanoTime() < end, "only " + read + " of " + acknowledged.size() + " records in 60 s");
                for (var record : reader.poll(Duration.ofMillis(500))) {
                    var records = found.computeIfAbsent(new TopicPartition(topic, record.partition()), p -> new ArrayList<>());
                    check(record.offset() == records.size(), "offset " + record.offset() + " where " + records.size() + " was to come");
                    records.add(record.value());
                    read++;
                }
            }
            var ends = reader.endOffsets(all);
            for (var tp : all) check(ends.get(tp) == RECORDS / PARTITIONS, tp + " ends at " + ends.get(tp));
        }
        for (int n = 0; n < RECORDS; n++) {
            var place = acknowledged.get(n);
            var records = found.get(new TopicPartition(topic, place.partition()));
            check(Arrays.equals(records.get((int) place.offset()), value(n)), "record " + n + " is not at " + place);
        }
    }

    public static void main(String[] arguments) {
        bootstrap = arguments[0];
        topic = arguments[1];
        admin = Admin.create(Map.of("bootstrap.servers", bootstrap));
        List<RecordMetadata> acknowledged = new ArrayList<>();
        step("create-replicated-topic", ClusterClient::createTopic);
        step("produce-through-a-death", () -> produce(acknowledged));
        step("read-all", () -> readAll(acknowledged));
        admin.close(Duration.ofSeconds(5));
    }
}
