package settings

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
	"github.com/ackmark/ackmark/internal/tlsfiles"
)

// Client is what Kafka client properties come to.
type Client struct {
	// Options for franz-go.
	Options []kgo.Opt
	// Linger, if set by linger.ms.
	Linger *time.Duration
	// RecordBytes, if set by message.max.bytes or max.request.size.
	RecordBytes int64
	// TLS are the files of ssl.*, read again for each connection; nil: no TLS.
	TLS *tlsfiles.Renewed

	logs []func(*slog.Logger)
}

// LogTo replaces the log of what is read or fetched again: TLS files, secrets, tokens.
func (c *Client) LogTo(log *slog.Logger) {
	for _, to := range c.logs {
		to(log)
	}
}

// KafkaOptions are [ParseKafka]'s options alone, for a client that is no sidecar: its properties
// are given by --kafka.
func KafkaOptions(props map[string]string) ([]kgo.Opt, error) {
	c, wrong := ParseKafka(props, func(name string) FieldError { return FieldError{Field: "--kafka " + name} })
	return c.Options, wrong.orNil()
}

// ParseKafka reads Kafka client properties by the names that the Java client and librdkafka use.
// What would break a promise is refused with the reason; what is not known is refused with the
// nearest known name. bootstrap.servers is not in the result: see [Bootstrap]. written tells how
// the user named a property; the errors are all that there are.
func ParseKafka(props map[string]string, written func(name string) FieldError) (*Client, Errors) {
	b := builder{written: written, dialTimeout: defaultDialTimeout, sasl: defaultSASL}
	for _, name := range slices.Sorted(maps.Keys(props)) {
		value := strings.TrimSpace(props[name])
		apply, ok := properties[name]
		if !ok {
			b.fail(name, unknown("Kafka property", name, knownProperties()))
		} else if err := apply(&b, value); err != nil {
			b.fail(name, err.Error())
		}
	}
	if len(b.wrong) == 0 { // else what they decide together would only repeat it
		b.finish()
	}
	return &b.Client, b.wrong
}

// Bootstrap returns the brokers of the property bootstrap.servers.
func Bootstrap(props map[string]string) []string {
	brokers := props["bootstrap.servers"]
	if brokers == "" {
		brokers = props["metadata.broker.list"]
	}
	return splitList(brokers)
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
}

// builder collects what several properties decide together.
type builder struct {
	Client
	protocol    string
	sasl        saslProps
	jaasModule  string // of sasl.jaas.config
	tls         tlsFiles
	dialTimeout time.Duration

	written func(name string) FieldError
	wrong   Errors
}

func (b *builder) fail(name, problem string) {
	e := b.written(name)
	e.Problem = problem
	b.wrong = append(b.wrong, &e)
}

type property func(b *builder, value string) error

// properties are all that are known. A refused one is known too: its error says why.
var properties map[string]property

func init() {
	properties = map[string]property{
		"bootstrap.servers":    func(*builder, string) error { return nil },
		"metadata.broker.list": func(*builder, string) error { return nil },

		"client.id":              text(func(v string) kgo.Opt { return kgo.ClientID(v) }),
		"linger.ms":              linger,
		"queue.buffering.max.ms": linger,
		"message.max.bytes":      recordBytes,
		"max.request.size":       recordBytes,
		"batch.size": refuse("is not used: batches grow for linger.ms, up to limits.record_bytes, which also bounds single records: " +
			"a batch.size would refuse the records that are larger"),
		"compression.type":                   compression,
		"compression.codec":                  compression,
		"request.timeout.ms":                 millis(func(d time.Duration) kgo.Opt { return kgo.ProduceRequestTimeout(d) }),
		"metadata.max.age.ms":                millis(func(d time.Duration) kgo.Opt { return kgo.MetadataMaxAge(d) }),
		"connections.max.idle.ms":            millis(func(d time.Duration) kgo.Opt { return kgo.ConnIdleTimeout(d) }),
		"socket.connection.setup.timeout.ms": setupTimeout,

		"security.protocol":                     protocol,
		"ssl.ca.location":                       func(b *builder, v string) error { b.tls.ca = v; return nil },
		"ssl.certificate.location":              func(b *builder, v string) error { b.tls.certificate = v; return nil },
		"ssl.key.location":                      func(b *builder, v string) error { b.tls.key = v; return nil },
		propKeyPassword:                         func(b *builder, v string) error { b.tls.password = secret.Parse(v); return nil },
		"ssl.endpoint.identification.algorithm": identification,
		"ssl.truststore.location":               refuse("is a Java key store; write the authority's certificates as PEM and name them in ssl.ca.location"),
		"ssl.keystore.location":                 refuse("is a Java key store; write PEM files and name them in ssl.certificate.location and ssl.key.location"),

		"acks":                  acksAll,
		"request.required.acks": acksAll,
		"enable.idempotence":    mustBe("true", "a record that is sent again after a lost answer would be written twice"),
		"enable.auto.commit":    mustBe("false", "an offset is committed only when every output made from the input is acknowledged: this is what Ackmark is for"),
		"partitioner":           oneOf("the sidecar and a direct producer must choose the same partition for a key (murmur2)", "murmur2", "murmur2_random"),
		"retries":               refuse("cannot be set: a record is retried, with the same sequence, until it is written; a limit would lose it"),
		"message.send.max.retries": refuse(
			"cannot be set: a record is retried, with the same sequence, until it is written; a limit would lose it"),
		"delivery.timeout.ms":                   refuse("cannot be set: a record is retried, with the same sequence, until it is written; a time limit would lose it"),
		"message.timeout.ms":                    refuse("cannot be set: a record is retried, with the same sequence, until it is written; a time limit would lose it"),
		"transactional.id":                      refuse("cannot be set; for exactly-once set transactional_id, outside of kafka"),
		"max.in.flight.requests.per.connection": refuse("cannot be set: the idempotent producer keeps the order with as many as the broker allows"),
		"max.in.flight":                         refuse("cannot be set: the idempotent producer keeps the order with as many as the broker allows"),
		"buffer.memory":                         refuse("is the sidecar's: set limits.bytes"),
		"queue.buffering.max.kbytes":            refuse("is the sidecar's: set limits.bytes"),
		"queue.buffering.max.messages":          refuse("is the sidecar's: set limits.records"),
	}
	for _, name := range []string{
		"group.id", "group.instance.id", "session.timeout.ms", "heartbeat.interval.ms", "max.poll.interval.ms", "auto.offset.reset", "isolation.level",
		"fetch.min.bytes", "fetch.max.bytes", "max.partition.fetch.bytes", "fetch.max.wait.ms", "max.poll.records", "auto.commit.interval.ms",
	} {
		properties[name] = refuse("belongs to a consumer, and the sidecar only produces; set it in the app's consumer.Config")
	}
	moreSASL()
	maps.Copy(properties, saslProperties)
}

func knownProperties() []string { return slices.Collect(maps.Keys(properties)) }

func text(opt func(string) kgo.Opt) property {
	return func(b *builder, v string) error {
		b.Options = append(b.Options, opt(v))
		return nil
	}
}

func recordBytes(b *builder, v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 512 || n > 64<<20 {
		return fmt.Errorf("is %q; it must be a number of bytes from 512 to %d", v, 64<<20)
	}
	b.RecordBytes = int64(n)
	return nil
}

func linger(b *builder, v string) error {
	return milliseconds(v, func(d time.Duration) { b.Linger = &d })
}

func millis(opt func(time.Duration) kgo.Opt) property {
	return func(b *builder, v string) error {
		return milliseconds(v, func(d time.Duration) { b.Options = append(b.Options, opt(d)) })
	}
}

func setupTimeout(b *builder, v string) error {
	return milliseconds(v, func(d time.Duration) {
		b.dialTimeout = d
		b.Options = append(b.Options, kgo.DialTimeout(d))
	})
}

func milliseconds(v string, use func(time.Duration)) error {
	n, err := strconv.ParseFloat(v, 64) // librdkafka allows linger.ms=0.5
	if err != nil || !(n >= 0 && n <= float64(24*time.Hour/time.Millisecond)) {
		return fmt.Errorf("is %q; it must be milliseconds, a number from 0 to %d", v, 24*time.Hour/time.Millisecond)
	}
	use(time.Duration(n * float64(time.Millisecond)))
	return nil
}

func refuse(why string) property {
	return func(*builder, string) error { return fmt.Errorf("%s", why) }
}

func mustBe(want, why string) property {
	return func(_ *builder, v string) error {
		if strings.EqualFold(v, want) {
			return nil
		}
		return fmt.Errorf("is %q; it must be %s, or be left out: %s", v, want, why)
	}
}

func oneOf(why string, allowed ...string) property {
	return func(_ *builder, v string) error {
		if slices.Contains(allowed, v) {
			return nil
		}
		return fmt.Errorf("is %q; it must be %s: %s", v, strings.Join(allowed, " or "), why)
	}
}

func acksAll(_ *builder, v string) error {
	if v == "all" || v == "-1" {
		return nil
	}
	return fmt.Errorf("is %q; it must be all, or be left out: an acknowledgement by fewer replicas may be lost with them", v)
}

func compression(b *builder, v string) error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	codec, ok := codecs[strings.ToLower(v)]
	if !ok {
		return fmt.Errorf("is %q; it must be none, gzip, snappy, lz4 or zstd", v)
	}
	b.Options = append(b.Options, kgo.ProducerBatchCompression(codec))
	return nil
}
