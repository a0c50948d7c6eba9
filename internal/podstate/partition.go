package podstate

import (
	"slices"
	"time"
)

// PartitionState is what a partition does.
type PartitionState string

// States of a partition.
const (
	// Reading: it is read.
	Reading PartitionState = "reading"
	// Paused: what is fetched and not done of it has used up the memory bound.
	Paused PartitionState = "paused"
	// Halted: it stands still at an input that cannot be done, see Reason.
	Halted PartitionState = "halted"
	// Waiting: the group assigned it and it cannot be read yet, see Reason.
	Waiting PartitionState = "waiting"
	// Leaving: its process is gone, and the will finishes what it left.
	Leaving PartitionState = "leaving"
	// Untold: its process tells nothing of it; what is known is what the sidecar sees.
	Untold PartitionState = "untold"
)

// PartitionStates are all of them.
var PartitionStates = []PartitionState{Reading, Paused, Halted, Waiting, Leaving, Untold}

// Partition is where an input partition stands in its present assignment.
type Partition struct {
	// Session that holds it, and its App.
	Session   string `json:"session"`
	App       string `json:"app"`
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	// Epoch is the number of the assignment in its process.
	Epoch uint64         `json:"epoch"`
	State PartitionState `json:"state"`
	// Reason is why it is halted, waiting or paused, or why nothing comes of it while it is read.
	Reason string `json:"reason,omitempty"`

	Offsets Offsets `json:"offsets"`
	Counts  Counts  `json:"counts"`
	// Done are runs of inputs that are done above the ack mark, increasing; what lies between them
	// is not. At most MaxRuns; DoneMore: there are further ones.
	Done     []Run `json:"done"`
	DoneMore bool  `json:"done_more,omitempty"`
	// Oldest is the input that holds the ack mark; null: none.
	Oldest *Oldest `json:"oldest"`
}

// Offsets in the order in which they should stand. The five lags are differences of neighbours.
type Offsets struct {
	// Start is where the assignment began.
	Start int64 `json:"start"`
	// Committed is what the group has. AckMark is the first offset that is not done.
	Committed int64 `json:"committed"`
	AckMark   int64 `json:"ack_mark"`
	// Handled is the first offset whose handler has not finished. Fetched is the first one that was
	// not given to the handlers' queues. LogEnd is the partition's end when it was last
	// fetched, or looked up because nothing came.
	Handled int64 `json:"handled"`
	Fetched int64 `json:"fetched"`
	LogEnd  int64 `json:"log_end"`
}

// Counts of inputs.
type Counts struct {
	// Read inputs in this assignment: handed out, or Inherited, which is done before it began.
	Read      int64 `json:"read"`
	Inherited int64 `json:"inherited"`
	// Done in this assignment; DoneAbove of them lie above the ack mark.
	Done      int64 `json:"done"`
	DoneAbove int64 `json:"done_above"`
	// Pending: handed out and not done.
	Pending      int64 `json:"pending"`
	PendingBytes int64 `json:"pending_bytes"`
	// Parked: fetched and held back. Lost: offsets that were skipped because the configuration says
	// so.
	Parked int64 `json:"parked"`
	Lost   int64 `json:"lost"`
}

// Run is the offsets First to Last.
type Run struct {
	First int64 `json:"first"`
	Last  int64 `json:"last"`
}

// Stage is where an input is.
type Stage string

// Stages of an input, in the order of its way.
const (
	// Queued: it waits for a handler, behind others of its lane.
	Queued Stage = "queued"
	// Handling: its handler runs.
	Handling Stage = "handling"
	// Retrying: its handler failed, and is called again at NextAt.
	Retrying Stage = "retrying"
	// Finished: its handler is done; its outputs wait in the lane until they are delivered.
	Finished Stage = "finished"
	// Redelivering: its outputs could not be written, and are delivered again.
	Redelivering Stage = "redelivering"
	// Deciding: its outputs were refused, and it becomes a dead letter or halts its partition.
	Deciding Stage = "deciding"
	// Delivered: its outputs are given to the producer, and not acknowledged.
	Delivered Stage = "delivered"
	// Stopped: its partition stands still here.
	Stopped Stage = "stopped"
	// Held: nobody tells more than that it is not done.
	Held Stage = "held"
)

// Stages are all of them.
var Stages = []Stage{Queued, Handling, Retrying, Finished, Redelivering, Deciding, Delivered, Stopped, Held}

// Oldest is the oldest input that is not done, and why.
type Oldest struct {
	Offset int64 `json:"offset"`
	// Since is when it was handed out.
	Since time.Time `json:"since,omitzero"`
	// KeyHash is the first eight bytes of its key's SHA-256, in hex: printf KEY | sha256sum. Empty:
	// it has no key.
	KeyHash string `json:"key_hash,omitempty"`
	// Key itself, only where somebody on the spot asked for keys.
	Key string `json:"key,omitempty"`

	Stage Stage `json:"stage"`
	// Lane that it is in, from 0; -1: none, or not known.
	Lane int `json:"lane"`
	// Attempt is how often its handler was called; 0: not yet, or not known.
	Attempt int `json:"attempt"`
	// Behind is the offset that its lane works on, if it waits behind it in the same partition.
	Behind int64 `json:"behind"`
	// Error is the last one.
	Error string `json:"error,omitempty"`
	// Next is what happens next, in words; NextAt when, if that is known.
	Next   string    `json:"next"`
	NextAt time.Time `json:"next_at,omitzero"`
}

// Lag is how many offsets lie between the ack mark and the end of the log; -1: not known.
func (p *Partition) Lag() int64 {
	if p.Offsets.LogEnd < 0 || p.Offsets.AckMark < 0 {
		return -1
	}
	return max(0, p.Offsets.LogEnd-p.Offsets.AckMark)
}

// Age is how long the oldest input has been waiting at a time; 0: there is none.
func (p *Partition) Age(now time.Time) time.Duration {
	if p.Oldest == nil || p.Oldest.Since.IsZero() {
		return 0
	}
	return max(0, now.Sub(p.Oldest.Since))
}

// Equal tells whether both say the same.
func (p *Partition) Equal(q *Partition) bool {
	if (p.Oldest == nil) != (q.Oldest == nil) || p.Oldest != nil && !p.Oldest.equal(q.Oldest) || !slices.Equal(p.Done, q.Done) {
		return false
	}
	return p.Session == q.Session && p.App == q.App && p.Group == q.Group && p.Topic == q.Topic && p.Partition == q.Partition && p.Epoch == q.Epoch &&
		p.State == q.State && p.Reason == q.Reason && p.Offsets == q.Offsets && p.Counts == q.Counts && p.DoneMore == q.DoneMore
}

func (o *Oldest) equal(q *Oldest) bool {
	if !o.Since.Equal(q.Since) || !o.NextAt.Equal(q.NextAt) {
		return false
	}
	a, b := *o, *q
	a.Since, a.NextAt, b.Since, b.NextAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return a == b
}
