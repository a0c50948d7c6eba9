import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;

/**
 * The job by Kafka Streams: stream, mapValues, to.
 *
 * <p>Source: the WordCount demo of Kafka's documentation ("Write a Kafka Streams application": the
 * configuration, the shutdown hook with a latch), and "Configuring a Streams application":
 * processing.guarantee, commit.interval.ms, num.stream.threads (one for each processor here; the
 * default is 1). Acks of all replicas and idempotence are the producer's defaults.
 */
public final class Peer {
    public static void main(String[] args) throws InterruptedException {
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, env("GROUP"));
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, env("KAFKA_BROKERS"));
        p.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArray().getClass());
        p.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArray().getClass());
        p.put(StreamsConfig.STATE_DIR_CONFIG, env("STATE_DIR"));
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Runtime.getRuntime().availableProcessors());
        p.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "snappy");
        if (!env("MODE").isEmpty()) {
            p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, env("MODE"));
        }
        if (!env("COMMIT_MS").equals("0")) {
            p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, env("COMMIT_MS"));
        }
        if (!env("INSTANCE_ID").isEmpty()) {
            p.put(StreamsConfig.consumerPrefix("group.instance.id"), env("INSTANCE_ID"));
        }
        StreamsBuilder builder = new StreamsBuilder();
        builder.<byte[], byte[]>stream(env("INPUT")).mapValues(Peer::transform).to(env("OUTPUT"));
        KafkaStreams streams = new KafkaStreams(builder.build(), p);
        CountDownLatch ended = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close();
            ended.countDown();
        }));
        streams.start();
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
