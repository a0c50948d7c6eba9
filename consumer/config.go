package consumer

import (
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/budget"
	"github.com/ackmark/ackmark/internal/configerr"
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

// Defaults of Config.
const (
	DefaultCommitEvery       = time.Second
	DefaultDrainTimeout      = 10 * time.Second
	DefaultSessionTimeout    = 45 * time.Second
	DefaultRebalanceTimeout  = 60 * time.Second
	DefaultHeartbeatInterval = 500 * time.Millisecond
	DefaultMaxRecords        = 100_000
	DefaultHandlerTimeout    = 5 * time.Minute
	DefaultStartTimeout      = time.Minute
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
	// DrainTimeout is how long started inputs are waited for when their partition is revoked, or at
	// shutdown. Default 10 s (or half of RebalanceTimeout when that is shorter). It must be below
	// RebalanceTimeout.
	DrainTimeout time.Duration
	// SessionTimeout 45 s, RebalanceTimeout 60 s.
	SessionTimeout, RebalanceTimeout time.Duration
	// HeartbeatInterval is when a member learns at the latest that another one left: it bounds how
	// long partitions stand still then. Default 500 ms, or a quarter of a SessionTimeout below 2 s.
	// It must be below a third of the SessionTimeout.
	HeartbeatInterval time.Duration

	// MaxBytes and MaxRecords bound everything that was fetched and is not done. Defaults: a
	// quarter of the cgroup limit or GOMEMLIMIT (8 to 256 MiB; 64 MiB without a limit), and
	// 100,000. Bytes are decompressed keys, values and headers plus 256 for each record; they come
	// free when all of a batch is done, which is when its memory does.
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
	// Logger, default slog.Default().
	Logger *slog.Logger

	dial         dialFunc         // as Options say, TLS included
	decompressor kgo.Decompressor // as Options say, bounded
	excluded     []string         // expressions of topics that Regex is not for, as Options say
}

func (cfg Config) withDefaults() Config {
	def(&cfg.Start, Earliest)
	def(&cfg.OnOutOfRange, Halt)
	def(&cfg.CommitEvery, DefaultCommitEvery)
	def(&cfg.MaxRecords, DefaultMaxRecords)
	def(&cfg.HandlerTimeout, DefaultHandlerTimeout)
	def(&cfg.StartTimeout, DefaultStartTimeout)
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = budget.DefaultBytes()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
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

// validate checks the fields that do not depend on Options.
func (cfg *Config) validate() error {
	wrong := configerr.For(configName)
	wrong.If(cfg.Regex != "" && len(cfg.Topics) > 0, "Regex", cfg.Regex, "Topics is set too; set one of them")
	wrong.If(cfg.Start != Earliest && cfg.Start != Latest && cfg.Start < firstTime, "Start", cfg.Start, "use Earliest, Latest or StartAt(time)")
	wrong.If(cfg.OnOutOfRange < Halt || cfg.OnOutOfRange > ResetLatest, "OnOutOfRange", cfg.OnOutOfRange, "use Halt, ResetEarliest or ResetLatest")
	wrong.If(cfg.CommitEvery < time.Millisecond, "CommitEvery", cfg.CommitEvery, "at least 1ms; leave it 0 for 1s")
	wrong.If(cfg.CommitAfter < 0, "CommitAfter", cfg.CommitAfter, "a number of inputs, or 0 to commit by time alone")
	wrong.If(cfg.MaxBytes < 0, "MaxBytes", cfg.MaxBytes, "a number of bytes; leave it 0 for a share of the memory limit")
	wrong.If(cfg.MaxRecords < 1, "MaxRecords", cfg.MaxRecords, "at least 1; leave it 0 for 100000")
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
