package audit

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Defaults and bounds of Options.
const (
	DefaultMemory = 256 << 20
	MinMemory     = 1 << 20

	// ClockSkew is how much true clocks may differ, of brokers or of those who write inputs and
	// outputs.
	ClockSkew = 10 * time.Minute
)

// Order says which outputs must stand in the order of their inputs.
type Order string

const (
	// OrderKey compares outputs of one key. Those without a key have no order. The default.
	OrderKey Order = "key"
	// OrderPartition compares all outputs in an output partition.
	OrderPartition Order = "partition"
	// OrderNone compares none.
	OrderNone Order = "none"
)

// Orders are all of them.
var Orders = []Order{OrderKey, OrderPartition, OrderNone}

// Options of an audit.
type Options struct {
	// Client reaches the cluster. It needs no options but brokers and security.
	Client *kgo.Client
	// Group is the consumer group whose commits say what is done.
	Group string
	// AlsoGroups are groups whose outputs count as this one's: it took over their work, perhaps
	// under a new name. Not for groups that do the same work beside it: their outputs would hide
	// what this one loses.
	AlsoGroups []string
	// Inputs are the topics that the group reads. Default: all that it has committed offsets for.
	Inputs []string
	// Outputs are all topics that it writes, the dead-letter topic too: an output in a topic that
	// is not named counts as lost.
	Outputs []string
	// Expect is how many outputs an input has. Default: one or more.
	Expect *Expect
	// From and Until choose inputs by their timestamps: from the first one at or after From, to
	// before the first one at or after Until. Zero: all.
	From, Until time.Time
	// TrustClocks says that records carry the true time at which they were written, up to
	// ClockSkew. Then that decides which inputs may have had outputs that retention deleted, and
	// outputs are read from ClockSkew before From on. Without it only times that brokers set are
	// believed, and outputs are read from their start.
	TrustClocks bool
	// Order that outputs must have. Default OrderKey.
	Order Order
	// ReadUncommitted also reads records of transactions that are open or were aborted. For groups
	// that consume so from transactional topics.
	ReadUncommitted bool
	// ExactlyOnce also counts the outputs of aborted transactions, by reading the outputs once
	// more. They are no outputs otherwise: a reader of committed records does not see them.
	ExactlyOnce bool
	// Memory bounds what is kept in memory for sorting. Default DefaultMemory. Beside it there are,
	// for each broker, one fetch response and what one batch inflates to.
	Memory int64
	// TempDir is where the sorted files go. Default: the system's.
	TempDir string
	// Findings gets every finding as a line of JSON. Default: nobody.
	Findings io.Writer
	// Progress is written while the audit runs.
	Progress *Progress
}

// OptionError names an option that is wrong, by its name on the command line.
type OptionError struct {
	Option, Problem string
	// Topic is the topic that does not exist, and Known are those that do.
	Topic string
	Known []string
}

func (e *OptionError) Error() string { return e.Option + " " + e.Problem }

func (o Options) withDefaults() (Options, error) {
	if o.Group == "" {
		return o, &OptionError{Option: "--group", Problem: "is missing; name the consumer group whose commits say what is done"}
	}
	if len(o.Outputs) == 0 {
		return o, &OptionError{Option: "--output", Problem: "is missing; name every topic that the group's apps write, the dead-letter topic too"}
	}
	if o.Expect == nil {
		o.Expect = &Expect{Min: 1, Max: math.MaxInt32}
	}
	if o.Order == "" {
		o.Order = OrderKey
	}
	if !slices.Contains(Orders, o.Order) {
		return o, &OptionError{Option: "--order", Problem: fmt.Sprintf("is %q; write key, partition or none", o.Order)}
	}
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Memory < MinMemory {
		return o, &OptionError{Option: "--memory", Problem: fmt.Sprintf("is %d bytes; it must be at least 1MiB", o.Memory)}
	}
	for option, at := range map[string]time.Time{"--from": o.From, "--until": o.Until} {
		if !at.IsZero() && at.UnixMilli() < 0 { // Kafka takes those for other questions
			return o, &OptionError{Option: option, Problem: fmt.Sprintf("is %s; write a time from 1970 on, or leave it out for all", at.Format(time.RFC3339))}
		}
	}
	if !o.From.IsZero() && !o.Until.IsZero() && !o.From.Before(o.Until) {
		return o, &OptionError{Option: "--until", Problem: fmt.Sprintf("is %s, which is not after --from %s", o.Until.Format(time.RFC3339), o.From.Format(time.RFC3339))}
	}
	for _, name := range o.AlsoGroups {
		if name == "" || name == o.Group {
			return o, &OptionError{Option: "--also-group", Problem: fmt.Sprintf("is %q; name groups that %s took over from", name, o.Group)}
		}
	}
	if o.ExactlyOnce && o.ReadUncommitted {
		return o, &OptionError{Option: "--isolation", Problem: "is read_uncommitted: such a reader sees outputs again that were aborted; leave it out with --exactly-once"}
	}
	for _, topic := range o.Outputs {
		if slices.Contains(o.Inputs, topic) {
			return o, &OptionError{Option: "--output", Problem: fmt.Sprintf("has %q, which is an --input too; an audit compares two sides", topic)}
		}
	}
	if o.Progress == nil {
		o.Progress = new(Progress)
	}
	o.Inputs = slices.Compact(slices.Sorted(slices.Values(o.Inputs)))
	o.Outputs = slices.Compact(slices.Sorted(slices.Values(o.Outputs)))
	return o, nil
}

// Expect is how many outputs an input has, dead letters not counted.
type Expect struct{ Min, Max int32 }

var errExpect = errors.New("write a number of outputs for each input, or a range: 1, 1.., 0..2 (0: an input may have none, because it was filtered)")

// ParseExpect reads 2, 1.. or 0..3.
func ParseExpect(text string) (Expect, error) {
	low, high, isRange := strings.Cut(text, "..")
	lowest, err := strconv.ParseUint(low, 10, 31)
	if err != nil {
		return Expect{}, errExpect
	}
	e := Expect{Min: int32(lowest), Max: int32(lowest)}
	if isRange {
		e.Max = math.MaxInt32
		if high != "" {
			highest, err := strconv.ParseUint(high, 10, 31)
			if err != nil || highest < lowest {
				return Expect{}, errExpect
			}
			e.Max = int32(highest)
		}
	}
	if e.Max == 0 {
		return Expect{}, errExpect
	}
	return e, nil
}

func (e Expect) String() string {
	switch e.Max {
	case e.Min:
		return strconv.Itoa(int(e.Min))
	case math.MaxInt32:
		return fmt.Sprintf("%d..", e.Min)
	}
	return fmt.Sprintf("%d..%d", e.Min, e.Max)
}
