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
 * The job by Confluent's Parallel Consumer: pollAndProduce, in order by key.
 *
 * <p>Source: README of parallel-consumer: "Common Preparation" (ordering KEY, maxConcurrency 1000),
 * "Process and Produce a Response Message" (pollAndProduce), "Commit Mode" (asynchronous, the
 * default). Acks of all replicas and idempotence are the producer's defaults.
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
            .maxConcurrency(1000)
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
        processor.pollAndProduce(context -> {
            var in = context.getSingleRecord().getConsumerRecord();
            return new ProducerRecord<>(env("OUTPUT"), in.key(), transform(in.value()));
        });
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
