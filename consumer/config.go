package consumer

import (
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/internal/budget"
	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/internal/storm"
	"github.com/ackmark/ackmark/internal/tracing"
)

// Start is where a partition begins for which the group has no committed offset. The zero Start
// means Earliest.
type Start int64

// What Start can be, beside StartAt.
const (
	// Earliest is the first input that the log has.
	Earliest Start = 1 + iota
	// Latest is the first input that is written from now on.
	Latest

	firstTime Start = 1000
)

// StartAt begins with the first input at or after t, by the broker's timestamp index.
func StartAt(t time.Time) Start { return max(firstTime, Start(t.UnixMilli())) }

func (s Start) String() string {
	switch s {
	case 0:
		return "default"
	case Earliest:
		return "earliest"
	case Latest:
		return "latest"
	}
	if s >= firstTime {
		return time.UnixMilli(int64(s)).UTC().Format(time.RFC3339Nano)
	}
	return "Start(" + strconv.FormatInt(int64(s), 10) + ")"
}

// OutOfRange is what happens when the next offset is not in the log any more. The zero OutOfRange
// means Halt.
type OutOfRange uint8

// What OutOfRange can be. All but Halt go on behind inputs that are lost; State counts them.
const (
	// Halt stops the partition with a *HaltError that names the range lost.
	Halt OutOfRange = 1 + iota
	// ResetEarliest goes on with the first input that the log has.
	ResetEarliest
	// ResetLatest goes on with the first input that is written from then on.
	ResetLatest
)

func (o OutOfRange) String() string {
	switch o {
	case 0:
		return "default"
	case Halt:
		return "halt"
	case ResetEarliest:
		return "reset to earliest"
	case ResetLatest:
		return "reset to latest"
	}
	return "OutOfRange(" + strconv.Itoa(int(o)) + ")"
}

// Protocol is how a member takes part in its group: Kafka's group.protocol.
type Protocol = groupcommit.Protocol

// What Protocol can be.
const (
	// ClassicProtocol has members join and synchronize, and one of them assign.
	ClassicProtocol = groupcommit.Classic
	// ConsumerProtocol is that of KIP-848: members heartbeat, and the brokers assign.
	ConsumerProtocol = groupcommit.Consumer
	// AutoProtocol takes the ConsumerProtocol where the brokers are of Kafka 4.3 or later and the
	// group has no members, or is one of it already; otherwise the ClassicProtocol. The log says
	// why.
	AutoProtocol = groupcommit.Auto
)

// Defaults of Config.
const (
	DefaultCommitEvery       = time.Second
	DefaultDrainTimeout      = 10 * time.Second
	DefaultSessionTimeout    = 45 * time.Second
	DefaultRebalanceTimeout  = 60 * time.Second
	DefaultHeartbeatInterval = 500 * time.Millisecond
	DefaultMaxRecords        = 50_000
	// DefaultMaxRecordsElsewhere is with CommitElsewhere: inputs are done when their transaction
	// has ended.
	DefaultMaxRecordsElsewhere = 100_000
	DefaultHandlerTimeout      = 5 * time.Minute
	DefaultStartTimeout        = time.Minute
	// fetchMaxWait is how long a broker holds an empty fetch. It also bounds how long a resumed
	// partition waits behind one.
	fetchMaxWait = 500 * time.Millisecond
)

// Config of a consumer. Zero fields mean the documented defaults.
type Config struct {
	// Brokers are the seed brokers, host:port.
	Brokers []string
	// Group is the consumer group.
	Group string
	// Topics to read, or Regex: a regular expression over topic names (Go syntax, not anchored).
	// Exactly one of them.
	Topics []string
	Regex  string
	// Options are your own client options (TLS, SASL, dialer, client id …). Those that would break
	// a promise are refused by name. SeedBrokers, ConsumerGroup, ConsumeTopics, ConsumeRegex and
	// InstanceID in them stand in for the fields above, so the options of an existing kgo.NewClient
	// can be given as they are.
	Options []kgo.Opt
	// InstanceID makes a static member: its partitions wait for its return for SessionTimeout, and
	// closing does not leave the group.
	InstanceID string
	// Protocol is how the group is joined: ClassicProtocol (default), ConsumerProtocol (KIP-848,
	// Kafka 4.3 or later) or AutoProtocol. Run returns a *GroupError if the brokers do not serve
	// the ConsumerProtocol. Members may
	// change from one to the other one by one; that was not proven under kills.
	Protocol Protocol
	// AllowEager permits balancers that are not cooperative (Options with kgo.Balancers): every
	// rebalance then drains all partitions.
	AllowEager bool

	// Start is where partitions begin for which the group has no committed offset: Earliest
	// (default), Latest, StartAt(t). The position is committed at once, so that it does not depend
	// on when the first input is done. Latest (with ReadCommitted: the last stable offset) is for
	// topics that are new to the group: partitions and topics that are added while this consumer
	// runs, and partitions that were added while nobody read to a topic that the group has
	// committed, are read from their first offset.
	Start Start
	// OnOutOfRange is what happens when the offset to read next is not in the log (retention,
	// truncation): Halt (default), ResetEarliest or ResetLatest.
	OnOutOfRange OutOfRange
	// ReadCommitted hides the records of open and aborted transactions.
	ReadCommitted bool

	// CommitEvery is the longest time that a done input stays uncommitted in normal operation.
	// Default 1 s.
	CommitEvery time.Duration
	// CommitAfter also commits after so many inputs were done. 0: off.
	CommitAfter int
	// CommitElsewhere leaves the commits to what delivers the outputs, which commits an input's
	// offset with them: [Message.Done] tells that this has happened. A package like pipeline sets
	// it, and ReadCommitted, for exactly-once. Only where to start is still committed here, for
	// partitions of which the group has no offset.
	CommitElsewhere bool
	// DrainTimeout is how long started inputs are waited for when their partition is revoked, or at
	// shutdown. Default 10 s (or half of RebalanceTimeout when that is shorter). It must be below
	// RebalanceTimeout.
	DrainTimeout time.Duration
	// SessionTimeout 45 s, RebalanceTimeout 60 s. In the ConsumerProtocol the session is the
	// brokers' to set (group.consumer.session.timeout.ms): it is asked for, again and again, and
	// SessionTimeout is what counts where they do not say (DESCRIBE_CONFIGS on the group). A member
	// whose heartbeats have no answer for so long ends its assignments by itself, as lost.
	SessionTimeout, RebalanceTimeout time.Duration
	// HeartbeatInterval is when a member learns at the latest that another one left: it bounds how
	// long partitions stand still then. Default 500 ms, or a quarter of a SessionTimeout below 2 s.
	// It must be below a third of the SessionTimeout.
	HeartbeatInterval time.Duration

	// MaxBytes and MaxRecords bound everything that was fetched and is not done. Defaults: a
	// quarter of the cgroup limit or GOMEMLIMIT (8 to 256 MiB; 64 MiB without a limit), and 50,000
	// (100,000 with CommitElsewhere). Bytes are decompressed keys, values and headers plus 256 for
	// each record; they come free when all of a batch is done, which is when its memory does.
	//
	// The exact bound: MaxBytes + what one poll returns (at most MaxRecords/8 records and 8,192,
	// fewer where records are large: about MaxBytes/8) + one record for each partition, since a
	// poll that has room for a little returns whole records. Beside it there is the client's own
	// fetch buffer: at most 16 responses of MaxBytes/32 compressed bytes (128 KiB to 8 MiB) each,
	// of which at most MaxBytes/2 and one batch for each broker are decompressed; the rest is
	// fetched again. A batch that inflates beyond the larger of MaxBytes and 64 MiB halts its
	// partition. A record larger than all that is left passes alone. Half of the budget is divided
	// among the partitions held, the other half goes to whoever needs it: a slow partition is
	// paused, the others read on. The inputs from a partition's ack mark to the newest one handed
	// out, done or not, are at most MaxRecords + one poll.
	//
	// They are also never more than the metadata of a commit can describe (4,096 characters):
	// 24,264 offsets from the ack mark on, or where many offsets are missing (compaction) about
	// 1,500 inputs within a million offsets. Records that were fetched beyond it are parked until
	// the mark moves, a poll's worth at most, and count in the budget; PartitionState.Parked shows
	// them. So whatever is done when a partition changes hands is known to the next holder.
	MaxBytes   int64
	MaxRecords int

	// StateDir is a directory for a small file of what this consumer would commit next, for when
	// the process is killed and started again: the next one with the same StateDir and Group
	// commits it in the dead member's name and leaves the group for it, before it joins. So nothing
	// of what was done is done again, and no partition waits for the SessionTimeout. It must be
	// this user's own and outlive the process; of a pod that is an emptyDir. Several processes may
	// share it. Default: none. Behind a sidecar it is not needed. Linux and macOS only.
	StateDir string

	// HandlerTimeout is how long an input may be started and not done. Then its partition's context
	// is cancelled with a *StuckError; when that is ignored for as long again (at most 30 s), the
	// consumer stops with it. Default 5 min; negative: off.
	HandlerTimeout time.Duration
	// StartTimeout is how long Run waits at its start for brokers that do not answer and topics
	// that do not exist (it warns meanwhile) before it returns a *StartError. Default 1 min;
	// negative: for ever. Later outages are always waited out.
	StartTimeout time.Duration

	// Hooks are called at the points of a rebalance.
	Hooks Hooks
	// OnHalt is called once for each partition that halts, from an unspecified goroutine; it must
	// not block.
	OnHalt func(*HaltError)
	// MeterProvider gets the metrics of docs/metrics.md. Default: none, at no cost.
	MeterProvider metric.MeterProvider
	// MetricsPerTopic tells no partitions apart in metrics: lags and gaps of a topic are added, of
	// ages and offsets the largest counts.
	MetricsPerTopic bool
	// TracerProvider makes a span of each poll that returns something and of each commit. Default:
	// none, at no cost.
	TracerProvider trace.TracerProvider
	// Logger, default slog.Default().
	Logger *slog.Logger

	tracer       *tracing.Tracer  // of TracerProvider
	state        *sessionfile.Dir // of StateDir; nil: none
	dial         dialFunc         // as Options say, TLS included
	decompressor kgo.Decompressor // as Options say, bounded
	usersPiece   bool             // Options say how much of a partition a fetch brings
	excluded     []string         // expressions of topics that Regex is not for, as Options say
}

func (cfg Config) withDefaults() Config {
	def(&cfg.Start, Earliest)
	def(&cfg.OnOutOfRange, Halt)
	def(&cfg.Protocol, ClassicProtocol)
	def(&cfg.CommitEvery, DefaultCommitEvery)
	if cfg.CommitElsewhere {
		def(&cfg.MaxRecords, DefaultMaxRecordsElsewhere)
	}
	def(&cfg.MaxRecords, DefaultMaxRecords)
	def(&cfg.HandlerTimeout, DefaultHandlerTimeout)
	def(&cfg.StartTimeout, DefaultStartTimeout)
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = budget.DefaultBytes()
	}
	cfg.Logger = storm.Counted(cfg.Logger)
	return cfg
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// configName is how errors name the type.
const configName = "consumer.Config"

// elsewhere begins what is wrong beside CommitElsewhere.
const elsewhere = "with CommitElsewhere (exactly-once) "

// validate checks the fields that do not depend on Options.
func (cfg *Config) validate() error {
	wrong := configerr.For(configName)
	wrong.If(cfg.Regex != "" && len(cfg.Topics) > 0, "Regex", cfg.Regex, "Topics is set too; set one of them")
	wrong.If(cfg.Start != Earliest && cfg.Start != Latest && cfg.Start < firstTime, "Start", cfg.Start, "use Earliest, Latest or StartAt(time)")
	wrong.If(cfg.OnOutOfRange < Halt || cfg.OnOutOfRange > ResetLatest, "OnOutOfRange", cfg.OnOutOfRange, "use Halt, ResetEarliest or ResetLatest")
	wrong.If(cfg.Protocol > AutoProtocol, "Protocol", cfg.Protocol, "use ClassicProtocol, ConsumerProtocol or AutoProtocol")
	wrong.If(cfg.CommitEvery < time.Millisecond, "CommitEvery", cfg.CommitEvery, "at least 1ms; leave it 0 for 1s")
	wrong.If(cfg.CommitAfter < 0, "CommitAfter", cfg.CommitAfter, "a number of inputs, or 0 to commit by time alone")
	wrong.If(cfg.MaxBytes < 0, "MaxBytes", cfg.MaxBytes, "a number of bytes; leave it 0 for a share of the memory limit")
	wrong.If(cfg.CommitElsewhere && cfg.AllowEager, "AllowEager", true, elsewhere+"the partitions of an eager member would all wait for its transactions at every rebalance; leave it false")
	wrong.If(cfg.CommitElsewhere && cfg.StateDir != "", "StateDir", cfg.StateDir, elsewhere+"nothing that this process commits could be left to a successor; leave it empty")
	wrong.If(cfg.CommitElsewhere && cfg.CommitAfter > 0, "CommitAfter", cfg.CommitAfter, elsewhere+"set the interval of the transactions instead")
	cfg.openState(wrong)
	wrong.If(cfg.MaxRecords < 1, "MaxRecords", cfg.MaxRecords, "at least 1; leave it 0 for 50,000, with CommitElsewhere 100,000")
	for _, d := range []struct {
		field string
		value time.Duration
	}{
		{"DrainTimeout", cfg.DrainTimeout}, {"SessionTimeout", cfg.SessionTimeout},
		{"RebalanceTimeout", cfg.RebalanceTimeout}, {"HeartbeatInterval", cfg.HeartbeatInterval},
	} {
		wrong.If(d.value < 0, d.field, d.value, "a positive duration; leave it 0 for the default")
	}
	return wrong.Err()
}

func (cfg *Config) reads(topic string) bool {
	if cfg.Regex == "" {
		return slices.Contains(cfg.Topics, topic)
	}
	matches := func(expr string) bool {
		re, err := regexp.Compile(expr)
		return err == nil && re.MatchString(topic)
	}
	return matches(cfg.Regex) && !slices.ContainsFunc(cfg.excluded, matches)
}
