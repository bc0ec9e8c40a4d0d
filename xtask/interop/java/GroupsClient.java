// The Java client in consumer groups: `java GroupsClient HOST:PORT TOPIC classic|consumer`.
// Whoever runs this kills and restarts the broker when it prints `kill-now`, and then makes the file that the variable
// BROKER_IS_BACK names; without the variable nobody kills it.

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

public final class GroupsClient {
    static final int PARTITIONS = 6;
    static final long REBALANCE_MS = 60_000;

    static String bootstrap;
    static String topic;
    static String protocol;
    static int sent;
    static Member first;
    static Member second;

    interface Step {
        String run() throws Exception;
    }

    static void step(String name, Step step) {
        System.out.println("begin " + name);
        try {
            System.out.println("ok " + name + " " + step.run());
        } catch (Throwable error) {
            error.printStackTrace();
            System.out.println("FAILED " + name + " " + error.toString().replaceAll("\\s+", " "));
        }
    }

    static void check(boolean holds, String message) {
        if (!holds) throw new AssertionError(message);
    }

    static void waitFor(java.util.function.Supplier<String> what, BooleanSupplier holds) throws Exception {
        long end = System.currentTimeMillis() + REBALANCE_MS;
        while (!holds.getAsBoolean()) {
            check(System.currentTimeMillis() < end, "not within " + REBALANCE_MS / 1000 + " s: " + what.get());
            Thread.sleep(100);
        }
    }

    interface BooleanSupplier {
        boolean getAsBoolean();
    }

    interface Wish {
        void on(KafkaConsumer<byte[], byte[]> consumer);
    }

    /** A member of a group in a thread of its own: the consumer must not be used by two. */
    static final class Member implements ConsumerRebalanceListener {
        volatile Set<Integer> assigned = Set.of();
        volatile Throwable error;
        volatile int assignments;
        final Queue<String> values = new ConcurrentLinkedQueue<>();
        private final BlockingQueue<CompletableFuture<Void>> answers = new LinkedBlockingQueue<>();
        private final Queue<Wish> wishes = new ConcurrentLinkedQueue<>();
        private final KafkaConsumer<byte[], byte[]> consumer;
        private volatile boolean closed;

        Member(String group, String instance) {
            Map<String, Object> settings = new HashMap<>();
            settings.put("bootstrap.servers", bootstrap);
            settings.put("group.id", group);
            settings.put("group.protocol", protocol);
            settings.put("enable.auto.commit", "false");
            settings.put("auto.offset.reset", "earliest");
            // Longer than its session away from a broker that is back, and a member reads again what it did not commit.
            settings.put("reconnect.backoff.max.ms", "500");
            if (instance != null) settings.put("group.instance.id", instance);
            if (protocol.equals("classic")) {
                // Nobody waits for the session of a static member to end: a busy machine must not end it.
                settings.put("session.timeout.ms", instance == null ? "6000" : "30000");
                settings.put("heartbeat.interval.ms", "500");
            }
            consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
            consumer.subscribe(List.of(topic), this);
            Thread thread = new Thread(this::run);
            thread.setDaemon(true);
            thread.start();
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            if (!partitions.isEmpty()) assignments++;
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {}

        private void run() {
            try {
                while (!closed) {
                    Wish wish = wishes.poll();
                    if (wish != null) {
                        var answer = answers.take();
                        try {
                            wish.on(consumer);
                            answer.complete(null);
                        } catch (Throwable failure) {
                            answer.completeExceptionally(failure);
                        }
                        continue;
                    }
                    for (var record : consumer.poll(Duration.ofMillis(100))) {
                        values.add(new String(record.value(), StandardCharsets.UTF_8));
                    }
                    assigned = consumer.assignment().stream().map(TopicPartition::partition).collect(Collectors.toSet());
                }
            } catch (Throwable failure) {
                failure.printStackTrace();
                error = failure;
            }
        }

        private void ask(Wish wish) throws Exception {
            var answer = new CompletableFuture<Void>();
            answers.add(answer);
            wishes.add(wish);
            answer.get(REBALANCE_MS, TimeUnit.MILLISECONDS);
        }

        void commit() throws Exception {
            ask(KafkaConsumer::commitSync);
        }

        void close() throws Exception {
            ask(consumer -> {
                closed = true;
                consumer.close();
            });
        }
    }

    static List<String> send(int count) throws Exception {
        List<String> values = new ArrayList<>();
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "delivery.timeout.ms", "30000", "request.timeout.ms", "10000", "linger.ms", "5");
        try (var producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> futures = new ArrayList<>();
            for (int n = 0; n < count; n++) {
                String value = String.format("record-%05d", sent++);
                values.add(value);
                futures.add(producer.send(new ProducerRecord<>(topic, n % PARTITIONS, null, value.getBytes(StandardCharsets.UTF_8))));
            }
            for (var future : futures) future.get(35, TimeUnit.SECONDS);
        }
        return values;
    }

    static List<String> values(Member... members) {
        return Arrays.stream(members).flatMap(member -> member.values.stream()).sorted().toList();
    }

    static void expect(List<String> wanted, Member... members) throws Exception {
        waitFor(() -> wanted.size() + " records; " + values(members).size() + " came", () -> {
            for (var member : members) check(member.error == null, "a member ended with " + member.error);
            return values(members).size() >= wanted.size();
        });
        Thread.sleep(300);
        var got = values(members);
        check(got.equals(wanted), got.size() + " records, " + wanted.size() + " produced");
        for (var member : members) member.values.clear();
    }

    static String share(Member... members) throws Exception {
        waitFor(
                () -> "the partitions shared; members have " + Arrays.stream(members).map(m -> m.assigned.toString()).toList(),
                () -> {
                    for (var member : members) check(member.error == null, "a member ended with " + member.error);
                    List<Integer> held = new ArrayList<>();
                    for (var member : members) held.addAll(member.assigned);
                    Collections.sort(held);
                    return held.equals(List.of(0, 1, 2, 3, 4, 5)) && Arrays.stream(members).noneMatch(m -> m.assigned.isEmpty());
                });
        return Arrays.stream(members).map(m -> String.valueOf(m.assigned.size())).collect(Collectors.joining(" and "));
    }

    static String createTopic() throws Exception {
        try (var admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, (short) 1))).all().get(20, TimeUnit.SECONDS);
        }
        return "";
    }

    static String oneReadsAll() throws Exception {
        var wanted = send(120);
        first = new Member("readers-" + protocol, null);
        share(first);
        expect(wanted, first);
        return "";
    }

    static String oneJoins() throws Exception {
        first.commit();
        second = new Member("readers-" + protocol, null);
        String note = share(first, second);
        expect(send(60), first, second);
        return "they have " + note + " partitions";
    }

    static String oneLeaves() throws Exception {
        first.commit();
        second.commit();
        second.close();
        share(first);
        expect(send(60), first);
        return "";
    }

    static String consumerResumes() throws Exception {
        first.commit();
        first.close();
        var wanted = send(60);
        first = new Member("readers-" + protocol, null);
        expect(wanted, first);
        return "";
    }

    static String brokerDies() throws Exception {
        first.commit();
        System.out.println("kill-now");
        String back = System.getenv("BROKER_IS_BACK");
        waitFor(() -> "the broker killed and ready again", () -> back == null || Files.exists(Path.of(back)));
        expect(send(60), first);
        first.commit();
        return "";
    }

    static String resumesAfterTheKill() throws Exception {
        first.close();
        var wanted = send(12);
        first = new Member("readers-" + protocol, null);
        expect(wanted, first);
        first.commit();
        first.close();
        return "";
    }

    static String staticMemberReturns() throws Exception {
        var one = new Member("static-" + protocol, "one");
        var two = new Member("static-" + protocol, "two");
        share(one, two);
        Thread.sleep(1_000);
        var held = one.assigned;
        int before = two.assignments;
        one.close();
        var again = new Member("static-" + protocol, "one");
        waitFor(() -> "the assignment of before", () -> again.assigned.equals(held));
        Thread.sleep(1_000);
        check(two.assignments == before, "the other member was told to rebalance");
        again.close();
        two.close();
        return "";
    }

    static String offsets() throws Exception {
        try (var admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            String group = "readers-" + protocol;
            var committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get(20, TimeUnit.SECONDS);
            long total = committed.values().stream().mapToLong(OffsetAndMetadata::offset).sum();
            check(total == sent, "the committed offsets add up to " + total + ", not " + sent);
            var found = admin.describeConsumerGroups(List.of(group)).all().get(20, TimeUnit.SECONDS).get(group);
            check(found.members().isEmpty(), "members: " + found.members());
            var listed = admin.listGroups().all().get(20, TimeUnit.SECONDS);
            check(listed.stream().anyMatch(g -> g.groupId().equals(group)), "not listed: " + group);
            return "type " + found.type();
        }
    }

    public static void main(String[] arguments) {
        bootstrap = arguments[0];
        topic = arguments[1];
        protocol = arguments[2];
        step("group-topic", GroupsClient::createTopic);
        step("group-one-reads-all", GroupsClient::oneReadsAll);
        step("group-one-joins", GroupsClient::oneJoins);
        step("group-one-leaves", GroupsClient::oneLeaves);
        step("group-consumer-resumes", GroupsClient::consumerResumes);
        step("group-broker-dies", GroupsClient::brokerDies);
        step("group-resumes-after-kill", GroupsClient::resumesAfterTheKill);
        step("group-offsets", GroupsClient::offsets);
        step("group-static-member-returns", GroupsClient::staticMemberReturns);
        System.exit(0);
    }
}
