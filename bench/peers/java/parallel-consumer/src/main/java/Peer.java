import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The job by Confluent's Parallel Consumer: pollAndProduceMany by batches, in order by key.
 *
 * <p>Source: README of parallel-consumer: "Common Preparation" (ordering KEY), "Batching", "Commit
 * Mode" (asynchronous, the default). Acks of all replicas and idempotence are the producer's
 * defaults. Of what README shows this was the fastest for a handler that does not wait: 16 workers
 * (the default) with batches of 500; one record for each of 1000 workers takes three times the
 * processor time.
 */
public final class Peer {
    public static void main(String[] args) throws InterruptedException {
        Properties consume = new Properties();
        consume.put("bootstrap.servers", env("KAFKA_BROKERS"));
        consume.put("group.id", env("GROUP"));
        consume.put("auto.offset.reset", "earliest");
        consume.put("enable.auto.commit", "false");
        if (!env("INSTANCE_ID").isEmpty()) {
            consume.put("group.instance.id", env("INSTANCE_ID"));
        }
        Properties produce = new Properties();
        produce.put("bootstrap.servers", env("KAFKA_BROKERS"));
        produce.put("compression.type", "snappy");

        var options = ParallelConsumerOptions.<byte[], byte[]>builder()
            .ordering(ProcessingOrder.KEY)
            .batchSize(500)
            .commitInterval(Duration.ofMillis(Long.parseLong(env("COMMIT_MS"))))
            .consumer(new KafkaConsumer<>(consume, new ByteArrayDeserializer(), new ByteArrayDeserializer()))
            .producer(new KafkaProducer<>(produce, new ByteArraySerializer(), new ByteArraySerializer()))
            .build();
        ParallelStreamProcessor<byte[], byte[]> processor = ParallelStreamProcessor.createEosStreamProcessor(options);
        CountDownLatch ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            processor.closeDrainFirst();
            ended.countDown();
        }));
        processor.subscribe(List.of(env("INPUT")));
        processor.pollAndProduceMany(context -> context.stream()
            .map(in -> new ProducerRecord<>(env("OUTPUT"), in.key(), transform(in.value())))
            .toList());
        ended.await();
    }

    /** The work of the job: ASCII letters in upper case. */
    static byte[] transform(byte[] value) {
        byte[] upper = value.clone();
        for (int i = 0; i < upper.length; i++) {
            if (upper[i] >= 'a' && upper[i] <= 'z') {
                upper[i] -= 'a' - 'A';
            }
        }
        return upper;
    }

    private static String env(String name) {
        return System.getenv(name);
    }
}
