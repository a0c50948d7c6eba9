package sidecar

import (
	"slices"

	"go.opentelemetry.io/otel/attribute"

	"github.com/ackmark/ackmark/internal/sentinel"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/txn"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
)

// metrics is what the sidecar tells who collects: nobody, without a provider. What is counted is
// counted all the same, for Status.
type metrics struct {
	part  *telemetry.Part
	kafka *telemetry.Kafka
	flows *flows.Flows
}

func newMetrics(cfg *Config) *metrics {
	provider := cfg.MeterProvider
	if cfg.MetricsPerTopic {
		provider = telemetry.WithoutPartitions(provider)
	}
	part := telemetry.New(provider, "sidecar")
	return &metrics{part, part.Kafka(), flows.New(part)}
}

// observe begins to tell; what it returns ends that.
func (s *Server) observe() (stop func()) {
	rows := []*telemetry.Metric{
		telemetry.OutstandingSize, telemetry.OutstandingLimit, telemetry.OutstandingSizeLimit, telemetry.QueueRecords, telemetry.QueueSize, telemetry.QueueFull, telemetry.QueueUsed,
		telemetry.Sessions, telemetry.WillsRunning, telemetry.Refusals, telemetry.KafkaReachable, telemetry.Reloads, telemetry.ReloadRefused,
		telemetry.CommitBeyond, telemetry.ClosedAdmitted,
	}
	rows = slices.Concat(rows, flows.Rows, telemetry.KafkaRows, txn.Rows)
	return s.metrics.part.Observe(func(r *telemetry.Reading) {
		s.metrics.flows.Tell(r)
		s.metrics.kafka.Tell(r)
		s.tellSessions(r)
		s.tellQueues(r)
		s.tellUsed(r)
		s.transactions.tell(r)
		r.Count(telemetry.WillsRunning, int64(s.wills.stats.running.Load()), attribute.NewSet())
		s.Reloads().tell(r)
		r.Count(telemetry.CommitBeyond, int64(s.sink.watch.Count(sentinel.CommitBeyond)), attribute.NewSet())
		r.Count(telemetry.ClosedAdmitted, int64(s.sink.watch.Count(sentinel.ClosedAdmitted)), attribute.NewSet())
		s.apps.Refusals.Tell(r)
		reachable := int64(0)
		if s.brokers.Reachable() {
			reachable = 1
		}
		r.Count(telemetry.KafkaReachable, reachable, attribute.NewSet())
	}, rows...)
}

func (l Reloads) tell(r *telemetry.Reading) {
	r.Count(telemetry.Reloads, int64(l.Done), attribute.NewSet(telemetry.Outcome.String("applied")))
	r.Count(telemetry.Reloads, int64(l.Failed), attribute.NewSet(telemetry.Outcome.String("refused")))
	refused := int64(0)
	if l.Err != nil {
		refused = 1
	}
	r.Count(telemetry.ReloadRefused, refused, attribute.NewSet())
}

// tellSessions tells what each app has: its sessions by state, and what is outstanding.
func (s *Server) tellSessions(r *telemetry.Reading) {
	type key struct{ app, state string }
	sessions := map[key]int64{}
	held := map[string]int64{}
	for _, a := range s.apps.All() {
		app := a.Counts.Name()
		sessions[key{app, "attached"}] += 0 // an app without any is told as 0
		bytes, _ := a.Outstanding.Held()
		held[app] += bytes
	}
	for _, sess := range s.sessions.all() {
		sessions[key{sess.app.Counts.Name(), sess.word()}]++
	}
	for k, n := range sessions {
		r.Count(telemetry.Sessions, n, attribute.NewSet(telemetry.App.String(k.app), telemetry.State.String(k.state)))
	}
	for app, bytes := range held {
		r.Count(telemetry.OutstandingSize, bytes, attribute.NewSet(telemetry.App.String(app)))
	}
	r.Count(telemetry.OutstandingSizeLimit, s.cfg.MaxBytes, attribute.NewSet())
	r.Count(telemetry.OutstandingLimit, int64(s.cfg.MaxRecords), attribute.NewSet())
}

// word is what Status calls its state.
func (s *session) word() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.word()
}

// tellQueues tells what waits for each partition.
func (s *Server) tellQueues(r *telemetry.Reading) {
	full := int64(0)
	for _, t := range s.sink.topics.All() {
		for q := range t.Queued() {
			tellQueue(r, t, q)
			if q.Over() {
				full++
			}
		}
	}
	r.Count(telemetry.QueueFull, full, attribute.NewSet())
}

func tellQueue(r *telemetry.Reading, t *topics.Topic, q *topics.Queue) {
	bytes, records := q.Held()
	at := r.Partition(t.Name, q.Partition)
	at.Count(telemetry.QueueSize, bytes)
	at.Count(telemetry.QueueRecords, records)
}

// tellUsed tells how near to its limit the fullest of each kind is.
func (s *Server) tellUsed(r *telemetry.Reading) {
	session, app, partition := 0.0, 0.0, 0.0
	var bytes, records int64
	for _, sess := range s.sessions.all() {
		session = max(session, sess.used())
	}
	for _, a := range s.apps.All() {
		app = max(app, a.Outstanding.Used())
		b, n := a.Outstanding.Held()
		bytes, records = bytes+b, records+n
	}
	for _, t := range s.sink.topics.All() {
		for q := range t.Queued() {
			partition = max(partition, q.Used())
		}
	}
	for of, used := range map[flows.Reason]float64{
		flows.ForSession: session, flows.ForApp: app, flows.ForPartition: partition,
		flows.ForAll: max(limit.Part(bytes, s.cfg.MaxBytes), limit.Part(records, int64(s.cfg.MaxRecords))),
	} {
		r.Share(telemetry.QueueUsed, used, attribute.NewSet(telemetry.Reason.String(of.String())))
	}
}

// used is how much of its credit the session has outstanding.
func (s *session) used() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.ledger.Outstanding()
	return max(limit.Part(out.Bytes, s.credit.bound().Bytes), limit.Part(out.Records, s.credit.bound().Records))
}

// attempted counts the records of a frame.
func (f *frame) attempted() {
	eachFlow(f.recs, func(flow *flows.Flow, n uint64) { flow.Attempted.Add(n) })
}

// dropped counts the last records of a frame: its session ended before they went to kgo.
func (f *frame) dropped(last int32) {
	eachFlow(f.recs[int32(len(f.recs))-last:], func(flow *flows.Flow, n uint64) { flow.Dropped.Add(n) })
}

// recordsOf are those of a unit.
func (f *frame) recordsOf(i int) []outRec {
	u := &f.units[i]
	return f.recs[u.firstR : u.firstR+u.nrecs]
}

// eachFlow calls add with how many records there are of a flow, one run of them after the other.
func eachFlow(recs []outRec, add func(*flows.Flow, uint64)) {
	for i := 0; i < len(recs); {
		of, first := recs[i].flow, i
		for i < len(recs) && recs[i].flow == of {
			i++
		}
		add(of, uint64(i-first))
	}
}

// notDelivered counts the records of a unit that failed before it went to kgo: those that there
// are, or one for what could not become records.
func (k *sink) notDelivered(f *frame, i int) {
	u := &f.units[i]
	k.recordsFailed.Add(uint64(f.Cost(i).Records))
	if u.nrecs == 0 {
		f.session.app.Counts.Refuse(u.failure.GetTopic(), u.failure.GetError())
	}
	for r := u.firstR; r < u.firstR+u.nrecs; r++ {
		f.recs[r].flow.Failed.Add(u.failure.GetError().GetCode(), 1)
	}
}

// waited tells how long a frame's last record waited for room.
func (f *frame) waited() {
	if n := len(f.recs); n > 0 {
		f.recs[n-1].flow.Queued(f.received)
	}
}
