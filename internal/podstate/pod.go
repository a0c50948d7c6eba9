package podstate

import (
	"math"
	"time"

	"github.com/ackmark/ackmark/internal/recent"
)

// Pod is all that is known at one moment.
type Pod struct {
	// Time is when it was made: ages are differences to it.
	Time time.Time `json:"time"`
	// Sidecar is null for a process that has none.
	Sidecar *Sidecar `json:"sidecar"`
	// Sessions are the app processes, by app and id.
	Sessions []Session `json:"sessions"`
	// Partitions are the input partitions that they hold, by topic, number, group and session.
	Partitions []Partition `json:"partitions"`
	// Queues are the output partitions with records that wait for Kafka, by topic and number.
	Queues []Queue `json:"queues"`
	// Routes are what the sidecar says of the way that topics go, by app and topic; left out:
	// nothing.
	Routes []Route `json:"routes,omitempty"`
	// Wills are what was done for processes that died.
	Wills Wills `json:"wills"`
	// Incidents are the last ones, the newest first.
	Incidents []Incident `json:"incidents"`
	// Sentinels must stay 0; null where nobody counts them.
	Sentinels *Sentinels `json:"sentinels"`
	// Latency is from when a record was received to its acknowledgement by Kafka; without a sidecar
	// that of the process. Null: not told.
	Latency *Latency `json:"latency"`
	// Counters of the sidecar; without one those of the process.
	Counters Counters `json:"counters"`
}

// Sidecar is the sidecar itself.
type Sidecar struct {
	// ID is another one whenever the process is another one.
	ID      string `json:"id"`
	Version string `json:"version"`
	PID     int    `json:"pid"`
	// Since is when it started.
	Since time.Time `json:"since"`
	// State is starting, serving or draining.
	State string `json:"state"`
	// KafkaError is why Kafka is not reachable, if so.
	KafkaError string `json:"kafka_error,omitempty"`
	// Connections are those to brokers that are open now.
	Connections int `json:"broker_connections"`
	// ConnectionsWithout are those that there would be if each process with a session held as many
	// of its own: what the sidecar holds, times the processes. Consumers' are in neither.
	ConnectionsWithout int `json:"broker_connections_without"`
	// Queue is all that waits for Kafka.
	Queue Amount `json:"queue"`
	// QueueLimit is what may be outstanding in all.
	QueueLimit Amount `json:"queue_limit"`
	// Transactions are those of exactly-once apps; null: it has no transactional id.
	Transactions *Transactions `json:"transactions"`
}

// Transactions are how the transactions of a sidecar go, or of a process without one.
type Transactions struct {
	ID string `json:"id"`
	// State is what is done with the id: starting (it is not taken yet), idle, open,
	// closing, committed, aborting, uncertain, reinit, resolving (how the last one ended is being
	// found out), fenced (another process has it) or ended.
	State string `json:"state"`
	// Counts since the process started. Unknown: nobody said at first how they ended; then the
	// offsets did, and each is Committed or Aborted, too. Renewals is how often the id was taken
	// anew.
	Committed int64 `json:"committed"`
	Aborted   int64 `json:"aborted"`
	Unknown   int64 `json:"unknown"`
	Renewals  int64 `json:"taken_anew"`
	// UncommittedSince is when the last one was committed, or when there was something to commit,
	// if that is later. Zero (left out): there is nothing to commit.
	UncommittedSince time.Time `json:"uncommitted_since,omitzero"`
}

// Transactions are those that commit for the processes of the pod: the sidecar's, or those of the
// one process that has none. Nil: there are none.
func (p *Pod) Transactions() *Transactions {
	if p.Sidecar != nil {
		return p.Sidecar.Transactions
	}
	if len(p.Sessions) == 1 && p.Sessions[0].Process != nil {
		return p.Sessions[0].Process.Transactions
	}
	return nil
}

// Amount is records with their bytes.
type Amount struct {
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"`
}

// Session is one app process, as its sidecar sees it and as far as it tells.
type Session struct {
	// ID names it within this Pod and is no credential: what the sidecar knows it by is not shown.
	ID  string `json:"id"`
	App string `json:"app"`
	// PID is 0 where the system does not tell it.
	PID int `json:"pid"`
	// State is attached, broken (its stream is gone and may come back), will (its process is gone,
	// and its will is executed), closed, or own: the process that made the Pod.
	State string `json:"state"`
	// Groups that it is a member of.
	Groups []string `json:"groups"`
	// Credit is what it may have outstanding, Outstanding what it has: received, and not reported.
	// Outstanding.Records counts units.
	Credit      Amount `json:"credit"`
	Outstanding Amount `json:"outstanding"`
	// NoWill is why there will be no will if it dies. Empty: there will be one.
	NoWill string `json:"no_will,omitempty"`
	// FollowsRoutes: it goes by the sidecar's routes.
	FollowsRoutes bool `json:"follows_routes,omitempty"`
	// ExactlyOnce: its outputs and offsets are committed in the sidecar's transactions.
	ExactlyOnce bool `json:"exactly_once,omitempty"`
	// Partitions is how many it holds.
	Partitions int `json:"partitions"`
	// Told is when it last told its state. Zero (left out): it never did, so that its partitions
	// are known as far as the sidecar sees them.
	Told time.Time `json:"told,omitzero"`
	// Process is what it told of itself; null before it did.
	Process *Process `json:"process"`
}

// Process is what an app process tells of itself.
type Process struct {
	// Lanes is how many handlers may run at a time, Busy how many do. Queued inputs wait for a
	// handler, Finished ones for their delivery.
	Lanes    int `json:"lanes"`
	Busy     int `json:"busy"`
	Queued   int `json:"queued"`
	Finished int `json:"finished"`
	// Direct: it delivers past the sidecar (fallback), or has none.
	Direct bool `json:"direct"`
	// Problem is why it stops, or why its last commit failed.
	Problem string `json:"problem,omitempty"`
	// Latency is from the attempt to deliver a unit to its acknowledgement; null: not told.
	Latency *Latency `json:"latency"`
	// Transactions are its own, of a producer without a sidecar; null: it has none.
	Transactions *Transactions `json:"transactions,omitempty"`
	// Counters since it started.
	Counters Counters `json:"counters"`
	// Sentinels since it started: they must stay 0.
	Sentinels Sentinels `json:"sentinels"`
}

// Latency is how long the deliveries of the last half minute took, of some of which it is measured.
type Latency struct {
	// Count is how many were measured; without any the others are 0.
	Count int64 `json:"count"`
	// Microseconds below which so many of a hundred lay; of P999 99.9.
	P50  int64 `json:"p50_us"`
	P95  int64 `json:"p95_us"`
	P99  int64 `json:"p99_us"`
	P999 int64 `json:"p999_us"`
}

// LatencyOf is what a window says now.
func LatencyOf(w *recent.Window, now time.Time) *Latency {
	q, n := w.Quantiles(now, .5, .95, .99, .999)
	return &Latency{int64(min(n, math.MaxInt64)), q[0].Microseconds(), q[1].Microseconds(), q[2].Microseconds(), q[3].Microseconds()}
}

// Counters only grow, in the life of their process: the difference of two readings is a rate. What
// nobody counts at that place is 0.
type Counters struct {
	// Done inputs: their outputs or dead letter are acknowledged, or they have none.
	Done int64 `json:"done"`
	// DeadLetters of them.
	DeadLetters int64 `json:"dead_letters"`
	// Retries are repeated handler calls, Timeouts handlers that ran longer than they may, Rejected
	// inputs that no retry helps, Redelivered rounds of units that were delivered again.
	Retries     int64 `json:"retries"`
	Timeouts    int64 `json:"timeouts"`
	Rejected    int64 `json:"rejected"`
	Redelivered int64 `json:"redelivered"`
	// Acked and Failed are records, ProduceRequests requests to brokers: of a sidecar.
	Acked           int64 `json:"records_acked"`
	Failed          int64 `json:"records_failed"`
	ProduceRequests int64 `json:"produce_requests"`
}

// Queue is an output partition with records that wait for Kafka.
type Queue struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Amount
	// Full: its writers wait.
	Full bool `json:"full"`
}

// Route is which way the records of an app's topic go to Kafka. App and Topic may be "*", which is
// all that are not named.
type Route struct {
	App   string `json:"app"`
	Topic string `json:"topic"`
	// By is the way, as `ackmark set route` and the sidecar's file write it: direct, sidecar:10.
	By string `json:"by"`
	// From is set (while the sidecar runs) or file.
	From string `json:"from"`
}

// Wills counts the wills of processes that died, since the sidecar started.
type Wills struct {
	Running  int   `json:"running"`
	Executed int64 `json:"executed"`
	// Complete: all that there was to commit is committed. Superseded: the group had gone on
	// without the member. Refused: the member is of another Kafka cluster.
	Complete   int64 `json:"complete"`
	Superseded int64 `json:"superseded"`
	Refused    int64 `json:"refused"`
	// Partitions committed, and Units finished, after their process was gone.
	Partitions int64 `json:"partitions"`
	Units      int64 `json:"units"`
	// Fenced: streams refused because a will had closed their session. Resumed: sessions that went
	// on with another stream.
	Fenced  int64 `json:"fenced"`
	Resumed int64 `json:"resumed"`
}

// Sentinels count broken promises.
type Sentinels struct {
	// CommitBeyond: commits above the first input not done. OrderInverted: inputs of a key out of
	// order. InputSkipped: inputs passed over. ClosedAdmitted: units taken for a session that was
	// closed.
	CommitBeyond   int64 `json:"commit_beyond"`
	OrderInverted  int64 `json:"order_inverted"`
	InputSkipped   int64 `json:"input_skipped"`
	ClosedAdmitted int64 `json:"closed_admitted"`
}

// Plus is the sum of both.
func (c Counters) Plus(d Counters) Counters {
	return Counters{
		Done: c.Done + d.Done, DeadLetters: c.DeadLetters + d.DeadLetters, Retries: c.Retries + d.Retries, Timeouts: c.Timeouts + d.Timeouts,
		Rejected: c.Rejected + d.Rejected, Redelivered: c.Redelivered + d.Redelivered,
		Acked: c.Acked + d.Acked, Failed: c.Failed + d.Failed, ProduceRequests: c.ProduceRequests + d.ProduceRequests,
	}
}

// Add adds what another part counts: as much as a number holds, since a peer can claim anything.
func (s *Sentinels) Add(other Sentinels) {
	for _, x := range []struct {
		to   *int64
		more int64
	}{{&s.CommitBeyond, other.CommitBeyond}, {&s.OrderInverted, other.OrderInverted}, {&s.InputSkipped, other.InputSkipped}, {&s.ClosedAdmitted, other.ClosedAdmitted}} {
		*x.to += min(x.more, math.MaxInt64-*x.to)
	}
}
