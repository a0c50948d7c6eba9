package pipeline

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark"
	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/storm"
	"github.com/ackmark/ackmark/producer"
)

// Order says which inputs are handled one after the other.
type Order uint8

const (
	// PerKey keeps the order of each key; inputs without a key have none. Inputs of one key in
	// different topics or partitions share a lane, too.
	PerKey Order = iota
	// PerPartition keeps the order of each partition.
	PerPartition
	// Unordered hands each input to whichever lane is free.
	Unordered
)

func (o Order) String() string {
	switch o {
	case PerKey:
		return "per key"
	case PerPartition:
		return "per partition"
	case Unordered:
		return "unordered"
	}
	return fmt.Sprintf("Order(%d)", uint8(o))
}

// Defaults of Config.
const (
	DefaultMaxAttempts    = 5
	DefaultMaxBatch       = 100
	DefaultHandlerTimeout = 5 * time.Minute
	DefaultHandlerGrace   = 5 * time.Second

	maxConcurrency = 100_000
	maxMaxBatch    = 100_000
)

// Backoff is the wait between the attempts of one input: Initial, then Multiplier times longer each
// time, at most Max, each shortened or lengthened by up to the share Jitter.
type Backoff struct {
	// Initial is the wait after the first failure. Default 100 ms.
	Initial time.Duration
	// Max bounds the wait. Default 10 s.
	Max time.Duration
	// Multiplier, at least 1. Default 2.
	Multiplier float64
	// Jitter is between 0 and 1. Default 0.2; negative: none.
	Jitter float64
}

func (b Backoff) start() backoff.BackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(b.Initial), backoff.WithMaxInterval(b.Max), backoff.WithMultiplier(b.Multiplier),
		backoff.WithRandomizationFactor(max(b.Jitter, 0)), backoff.WithMaxElapsedTime(0))
}

// DeadLetter says where rejected inputs go.
type DeadLetter struct {
	// Topic is the dead-letter topic. It must exist (the log and Check say so from the start on if
	// it does not), the sidecar must let this app write to it (or the pipeline stops at its start),
	// and it must not be one that the pipeline reads, by name or by Consumer.Regex. Empty: a
	// rejected input halts its partition.
	Topic string
	// Spring writes also the headers that Spring's DeadLetterPublishingRecoverer writes
	// (kafka_dlt-original-topic …, see HeaderSpringTopic), by which UIs show letters and Spring's
	// own tools read them. Letters that have to be small go without.
	Spring bool
}

// Config of a pipeline. Zero fields mean the documented defaults.
type Config struct {
	// Consumer says what to read. Its Hooks and OnHalt are yours: the pipeline chains its own. Its
	// HandlerTimeout is not used: the pipeline's own watches handlers only, not the delivery of
	// their outputs.
	Consumer consumer.Config
	// Producer delivers the outputs. The pipeline owns it from a successful New on (from the call
	// on in Run) and closes it when it ends, unless KeepProducer is set. Nil: a sink, whose handler
	// returns no outputs, ever; the first one stops the pipeline. A dead-letter topic needs a
	// Producer.
	Producer producer.Producer
	// Mode is AtLeastOnce (default) or ExactlyOnce.
	Mode Mode
	// KeepProducer leaves the producer open when the pipeline ends: for a producer that several
	// pipelines share.
	KeepProducer bool

	// Outputs names the topics that the handler writes to, as far as they are known beforehand.
	// They are looked at from the start on, as the dead-letter topic is: one that does not exist is
	// named by the log and by Check, one that the sidecar does not let this app write to stops the
	// pipeline. Outputs to other topics are none the less written.
	Outputs []string

	// Handler or BatchHandler makes the outputs. Exactly one of them.
	Handler      Handler
	BatchHandler BatchHandler
	// MaxBatch is how many inputs a BatchHandler gets at most. Default 100. It gets that many of a
	// partition while so many wait.
	MaxBatch int
	// BatchWait is how long an input may wait in its lane for its batch to fill. Default 0: a
	// BatchHandler gets what is there. What waits counts in the consumer's budget, so a batch that
	// the budget has no room for waits for the whole time.
	BatchWait time.Duration
	// Order is PerKey (default), PerPartition or Unordered.
	Order Order
	// Concurrency is the number of lanes, which is how many handlers run at once. Default
	// GOMAXPROCS; more for handlers that wait (for a database, a network).
	Concurrency int

	// SourceHeaders adds to each output (and dead letter) which input it was made from: see
	// [HeaderSource]. `ackmark audit` proves with it that nothing was lost or repeated. The
	// outputs' Headers are written then: a handler must not return records that it shares. About 65
	// bytes and the group's name a record before compression.
	SourceHeaders bool

	// MaxAttempts is how often an input is tried in all when its handler returns plain errors.
	// Default 5.
	MaxAttempts int
	// Backoff is the wait between those attempts.
	Backoff Backoff
	// DeadLetter is where rejected inputs go.
	DeadLetter DeadLetter
	// StopOnHalt stops the pipeline when a partition halts, and Run returns why: for services that
	// somebody starts again, and looks at. Default: the other partitions go on. See State, Check
	// and Resume.
	StopOnHalt bool
	// Loops says what becomes of an output into a topic that the pipeline reads. Default
	// LoopsByName.
	Loops Loops
	// HandlerTimeout bounds one attempt: then the handler's context ends with ErrHandlerTimeout,
	// and whatever it returns counts as a plain error. It is noticed up to a tenth of it (at most a
	// second) late. Default 5 min; negative: off.
	HandlerTimeout time.Duration
	// HandlerGrace is how long a handler may go on after its context ended by HandlerTimeout, or by
	// the end of the shutdown's drain. Then the pipeline stops with a *StuckError and leaves the
	// goroutine behind. Default 5 s.
	HandlerGrace time.Duration

	// Middleware wraps the handler.
	Middleware Middleware
	// TracerProvider makes spans of inputs that have a sampled trace context, and of their batches,
	// polls and commits; it is the Consumer's too, where that has none. Default: none, at no cost.
	// The producer has its own. See "Traces" in docs/operations.md.
	TracerProvider trace.TracerProvider
	// JoinTraces makes the span of an input a child in the trace that the input came with. Default:
	// a trace of its own that links to it, as OpenTelemetry's messaging conventions have it. A
	// BatchHandler's call links always.
	JoinTraces bool
	// MeterProvider gets the metrics of docs/metrics.md; it is the Consumer's too, where that has
	// none. Default: none, at no cost. The producer has its own.
	MeterProvider metric.MeterProvider
	// Logger, default that of Consumer, default slog.Default().
	Logger *slog.Logger
}

// ConfigError names a field of a configuration that is wrong, and says what to do. Where several
// are wrong, they are joined. Those of Config.Consumer are among them, as Consumer.Topics for
// example.
type ConfigError = ackmark.ConfigError

// configName is how errors name the type.
const configName = "pipeline.Config"

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (cfg Config) withDefaults() Config {
	def(&cfg.Concurrency, runtime.GOMAXPROCS(0))
	def(&cfg.MaxAttempts, DefaultMaxAttempts)
	def(&cfg.MaxBatch, DefaultMaxBatch)
	def(&cfg.HandlerTimeout, DefaultHandlerTimeout)
	def(&cfg.HandlerGrace, DefaultHandlerGrace)
	def(&cfg.Backoff.Initial, 100*time.Millisecond)
	def(&cfg.Backoff.Max, max(10*time.Second, cfg.Backoff.Initial))
	def(&cfg.Backoff.Multiplier, 2)
	def(&cfg.Backoff.Jitter, 0.2)
	def(&cfg.Logger, cfg.Consumer.Logger)
	cfg.Logger = storm.Counted(cfg.Logger)
	def(&cfg.Consumer.Logger, cfg.Logger)
	if cfg.Consumer.TracerProvider == nil {
		cfg.Consumer.TracerProvider = cfg.TracerProvider
	}
	if cfg.Consumer.MeterProvider == nil {
		cfg.Consumer.MeterProvider = cfg.MeterProvider
	}
	return cfg
}

func (cfg Config) validate() error {
	wrong := configerr.For(configName)
	if cfg.Producer == nil && cfg.DeadLetter.Topic != "" {
		wrong.Missing("Producer", "a dead-letter topic needs one: set it, for example to "+
			`producer.Dial("unix:///run/ackmark/sidecar.sock") or producer.Direct(…)`)
	}
	if v, ok := cfg.Producer.(producer.Validator); ok {
		if err := v.Validate(); err != nil {
			wrong.Add(&ConfigError{Config: configName, Field: "Producer", Value: "invalid", Remedy: err.Error(), Err: err})
		}
	}
	if cfg.Handler == nil && cfg.BatchHandler == nil {
		wrong.Missing("Handler", "set Handler or BatchHandler")
	}
	wrong.If(cfg.Handler != nil && cfg.BatchHandler != nil, "BatchHandler", configerr.Words("set, and so is Handler"), "set one of them")
	wrong.If(cfg.BatchHandler != nil && len(cfg.Middleware.AroundInput)+len(cfg.Middleware.AroundAttempt) > 0,
		"Middleware", configerr.Words("AroundInput or AroundAttempt beside a BatchHandler"), "use AroundBatch")
	wrong.If(cfg.Handler != nil && len(cfg.Middleware.AroundBatch) > 0,
		"Middleware", configerr.Words("AroundBatch beside a Handler"), "use AroundInput or AroundAttempt")
	wrong.If(cfg.Order > Unordered, "Order", cfg.Order, "use PerKey, PerPartition or Unordered")
	wrong.If(cfg.Concurrency < 1 || cfg.Concurrency > maxConcurrency, "Concurrency", cfg.Concurrency,
		fmt.Sprintf("1 to %d lanes; leave it 0 for GOMAXPROCS", maxConcurrency))
	wrong.If(cfg.MaxBatch < 1 || cfg.MaxBatch > maxMaxBatch, "MaxBatch", cfg.MaxBatch,
		fmt.Sprintf("1 to %d inputs; leave it 0 for %d", maxMaxBatch, DefaultMaxBatch))
	wrong.If(cfg.BatchWait < 0, "BatchWait", cfg.BatchWait, "a positive duration; leave it 0 to take what is there")
	wrong.If(cfg.BatchWait > 0 && cfg.BatchHandler == nil, "BatchWait", cfg.BatchWait, "it is for a BatchHandler; set one, or leave it 0")
	wrong.If(cfg.Loops > LoopsRefused, "Loops", cfg.Loops, "use LoopsByName, LoopsAllowed or LoopsRefused")
	wrong.If(cfg.MaxAttempts < 1, "MaxAttempts", cfg.MaxAttempts, "at least 1 (no retry); leave it 0 for 5")
	wrong.If(cfg.HandlerTimeout > 0 && cfg.HandlerTimeout < time.Millisecond, "HandlerTimeout", cfg.HandlerTimeout,
		"at least 1ms; leave it 0 for 5m, or negative to switch it off")
	wrong.If(cfg.HandlerGrace < 0, "HandlerGrace", cfg.HandlerGrace, "a positive duration; leave it 0 for 5s")
	wrong.If(len(cfg.DeadLetter.Topic) > 249, "DeadLetter.Topic",
		configerr.Words(fmt.Sprintf("%d characters long", len(cfg.DeadLetter.Topic))), "Kafka's topic names have at most 249")
	cfg.Backoff.validate(wrong)
	cfg.validateMode(wrong)
	return wrong.Err()
}

// checkDeadLetter looks at what the consumer makes of Topics, Regex and Options.
func (cfg Config) checkDeadLetter(c *consumer.Consumer) error {
	topic := cfg.DeadLetter.Topic
	if topic == "" || !c.Reads(topic) {
		return nil
	}
	remedy := "it is an input topic too: dead letters would come back as inputs; use a topic of its own"
	if _, regex := c.Subscription(); regex != "" {
		remedy = fmt.Sprintf("Consumer.Regex %q matches it too: dead letters would come back as inputs; anchor the expression (^…$), "+
			"or use another topic", regex)
	}
	wrong := configerr.For(configName)
	wrong.Wrong("DeadLetter.Topic", topic, remedy)
	return wrong.Err()
}

func (b Backoff) validate(wrong *configerr.List) {
	wrong.If(b.Initial < 0, "Backoff.Initial", b.Initial, "a positive duration; leave it 0 for 100ms")
	wrong.If(b.Initial >= 0 && b.Max < b.Initial, "Backoff.Max", b.Max, fmt.Sprintf("at least Backoff.Initial (%s)", b.Initial))
	wrong.If(!(b.Multiplier >= 1), "Backoff.Multiplier", b.Multiplier, "at least 1; leave it 0 for 2")
	wrong.If(b.Jitter > 1, "Backoff.Jitter", b.Jitter, "at most 1; leave it 0 for 0.2, negative for none")
}
