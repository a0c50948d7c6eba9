package audit

import "time"

// Verdict is the answer in one word.
type Verdict string

const (
	// VerdictClean: nothing is lost.
	VerdictClean Verdict = "clean"
	// VerdictLost: something is lost.
	VerdictLost Verdict = "lost"
	// VerdictUndecided: nothing is known to be lost, but something may be.
	VerdictUndecided Verdict = "undecided"
)

// Report is what an audit found.
type Report struct {
	Verdict Verdict `json:"verdict"`
	Group   string  `json:"group"`
	// AlsoGroups are those that it took over from; Also is how many outputs of theirs count.
	AlsoGroups []string `json:"also_groups,omitempty"`
	Also       int64    `json:"also,omitempty"`
	Expect     string   `json:"expect"`
	Order      Order    `json:"order"`
	Counts     Counts   `json:"counts"`
	Unknown    Unknown  `json:"unknown"`
	// Nameless are outputs whose headers name neither their group nor how many there are of their
	// input (first version, or written by hand): another group's look like this one's, and a
	// missing last one is not noticed.
	Nameless int64 `json:"nameless"`
	// ExactlyOnce is set where that was asked for: whether each output is there once.
	ExactlyOnce *bool    `json:"exactly_once,omitempty"`
	Bursts      []Burst  `json:"bursts"`
	Notes       []string `json:"notes"`

	Inputs  []*TopicReport  `json:"inputs"`
	Outputs []*OutputReport `json:"outputs"`

	// First are the first findings of each kind, MaxFirst at most. Options.Findings gets all.
	First map[Kind][]Finding `json:"-"`

	// From is set where inputs are undecided because older outputs were deleted, and true clocks
	// say when: from then on everything can be decided.
	From *time.Time `json:"decided_from,omitempty"`
	Runs int        `json:"sorted_files"`
	Took float64    `json:"seconds"`
}

// Counts are numbers of inputs, except Duplicated, Reordered and Surplus, which are numbers of
// outputs.
type Counts struct {
	Inputs       int64 `json:"inputs"`
	Done         int64 `json:"done"`
	Lost         int64 `json:"lost"`
	Undecided    int64 `json:"undecided"`
	Duplicated   int64 `json:"duplicated"`
	Reordered    int64 `json:"reordered"`
	InFlight     int64 `json:"in_flight"`
	Filtered     int64 `json:"filtered"`      // done, no output, and that is allowed
	DeadLettered int64 `json:"dead_lettered"` // done by a dead letter
	Surplus      int64 `json:"surplus"`       // outputs beyond what is expected
}

func (c *Counts) add(o Counts) {
	c.Inputs += o.Inputs
	c.Done += o.Done
	c.Lost += o.Lost
	c.Undecided += o.Undecided
	c.Duplicated += o.Duplicated
	c.Reordered += o.Reordered
	c.InFlight += o.InFlight
	c.Filtered += o.Filtered
	c.DeadLettered += o.DeadLettered
	c.Surplus += o.Surplus
}

// TopicReport is an input topic.
type TopicReport struct {
	Topic      string             `json:"topic"`
	TopicID    string             `json:"topic_id"`
	Partitions []*PartitionReport `json:"partitions"`
}

// Counts adds up the partitions.
func (t *TopicReport) Counts() (sum Counts) {
	for _, p := range t.Partitions {
		sum.add(p.Counts)
	}
	return sum
}

// PartitionReport is an input partition.
type PartitionReport struct {
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"` // nil: none
	DoneSet   int64  `json:"done_set"`  // offsets above Committed that are done
	Counts
}

// OutputReport is an output topic.
type OutputReport struct {
	Topic   string `json:"topic"`
	Records int64  `json:"records"`
	// Nameless of its records do not name their group.
	Nameless int64 `json:"nameless"`
	// Also of them are of groups that this one took over from.
	Also int64 `json:"also,omitempty"`
	// Aborted are records of aborted transactions, which are no outputs. Only with
	// Options.ExactlyOnce.
	Aborted int64 `json:"aborted,omitempty"`
	Unknown
}

// Unknown are outputs whose input is not looked at, by the reason.
type Unknown struct {
	NoHeaders    int64 `json:"no_headers"`     // no source headers
	Malformed    int64 `json:"malformed"`      // source headers that cannot be read
	OtherTopic   int64 `json:"other_topic"`    // made from a topic that is not audited
	OtherTopicID int64 `json:"other_topic_id"` // made from a topic of this name that was deleted and created anew since
	OtherGroup   int64 `json:"other_group"`    // made by another group
	Outside      int64 `json:"outside"`        // made from inputs before --from or after --until
	Gone         int64 `json:"gone"`           // made from inputs that are not in the topic any more
	Newer        int64 `json:"newer"`          // made from inputs that were written while the audit ran
}

// Strange are those that cannot be attributed to an input.
func (u Unknown) Strange() int64 { return u.NoHeaders + u.Malformed + u.OtherTopic + u.OtherTopicID }

func (u *Unknown) add(o Unknown) {
	u.NoHeaders += o.NoHeaders
	u.Malformed += o.Malformed
	u.OtherTopic += o.OtherTopic
	u.OtherTopicID += o.OtherTopicID
	u.OtherGroup += o.OtherGroup
	u.Outside += o.Outside
	u.Gone += o.Gone
	u.Newer += o.Newer
}

// Burst is repeats that belong together: by the incident that was recorded with them, or by their
// time.
type Burst struct {
	Incident string    `json:"incident,omitempty"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Repeats  int64     `json:"repeats"`
}

// Kind of a finding.
type Kind string

// Kinds of findings.
const (
	Lost       Kind = "lost"
	Undecided  Kind = "undecided"
	Duplicated Kind = "duplicated"
	Reordered  Kind = "reordered"
	Surplus    Kind = "surplus"
	InFlight   Kind = "in_flight"
)

// Kinds in the order in which they matter.
var Kinds = []Kind{Lost, Undecided, Duplicated, Reordered, Surplus, InFlight}

// MaxFirst is how many findings of each kind a Report holds.
const MaxFirst = 20

// Finding is about one input, or in flight about several that follow each other.
type Finding struct {
	Kind      Kind   `json:"kind"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Last      int64  `json:"last,omitempty"`   // in flight: the last of them
	Inputs    int64  `json:"inputs,omitempty"` // in flight: how many
	// Outputs is how many different outputs were found; lost, undecided and surplus.
	Outputs *int32 `json:"outputs,omitempty"`
	// Missing is the first number that is missing, where those that were found tell.
	Missing *int32 `json:"missing,omitempty"`
	// Of is how many outputs the found ones say that the input has.
	Of *int32 `json:"of,omitempty"`
	// Output is the number of the output, or dl; duplicated and reordered. At is where it is, First
	// where it was before.
	Output   string `json:"output,omitempty"`
	At       *Place `json:"at,omitempty"`
	First    *Place `json:"first,omitempty"`
	Incident string `json:"incident,omitempty"`
	// Behind is the offset of the later input whose output stands before At; reordered.
	Behind *int64    `json:"behind,omitempty"`
	Time   time.Time `json:"time,omitzero"` // of the input; lost and undecided
}

// Place is a record in an output topic.
type Place struct {
	Topic     string    `json:"topic"`
	Partition int32     `json:"partition"`
	Offset    int64     `json:"offset"`
	Time      time.Time `json:"time,omitzero"`
}
