package sidecar

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/kgoopt"
	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/internal/sentinel"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/tracing"
	"github.com/ackmark/ackmark/sidecar/internal/brokers"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
	"github.com/ackmark/ackmark/sidecar/internal/gate"
	"github.com/ackmark/ackmark/sidecar/internal/limit"
	"github.com/ackmark/ackmark/sidecar/internal/linger"
	"github.com/ackmark/ackmark/sidecar/internal/topics"
)

// sink hands records to Kafka, and tells their units and emits how they ended.
type sink struct {
	outlet  *outlet.Outlet
	tracer  *tracing.Tracer // nil: nothing is traced
	topics  *topics.Topics
	gate    *gate.Gate
	pace    *linger.Pacer
	promise func(*kgo.Record, error) // the promised method, made once: a method value is an allocation
	pinned  *limit.Meter             // received buffers that records still need, of living and dead sessions
	watch   *sentinel.Watch
	flows   *flows.Flows

	recordsFailed atomic.Uint64
}

func newSink(cfg *Config, out *outlet.Outlet, pace *linger.Pacer, g *gate.Gate, m *metrics) *sink {
	k := &sink{
		outlet: out, pace: pace, flows: m.flows, gate: g, tracer: tracing.New(cfg.TracerProvider), watch: sentinel.NewWatch(cfg.Logger), pinned: limit.NewMeter(2*cfg.MaxBytes, 2*cfg.MaxRecords),
		topics: topics.New(topics.Config{Outlet: out, Bytes: cfg.PartitionBytes, Records: cfg.PartitionRecords, RecordBytes: cfg.MaxRecordBytes, Log: cfg.Logger}),
	}
	k.promise = k.promised
	return k
}

// newOutlet makes the Kafka clients with the gate in front of their dialers, TLS included, and the
// pacer of the usual one.
func newOutlet(cfg *Config, b *brokers.Brokers, k *telemetry.Kafka, g *gate.Gate) (out *outlet.Outlet, pace *linger.Pacer, err error) {
	pace = linger.New(cfg.linger(), cfg.MaxLinger, func() { out.SendNow() })
	all, usual := cfg.clientOptions(b)
	if pace != nil {
		usual = append(usual, kgo.WithHooks(pace))
	}
	all = append(all, k.Hooks()...)
	probe, err := kgoopt.Probe(all)
	if err != nil {
		return nil, nil, err
	}
	defer probe.Close()
	if log, ok := probe.OptValue(kgo.WithLogger).(kgo.Logger); ok && pace != nil {
		usual = append(usual, kgo.WithLogger(withoutFlushes{log}))
	}
	if dial, ok := probe.OptValue(kgo.Dialer).(func(context.Context, string, string) (net.Conn, error)); ok {
		all = append(all, kgo.DialTLSConfig(nil), kgo.Dialer(g.Dialer(dial)))
	}
	of := outlet.Config{
		Options: all, Usual: usual, Partitioner: cfg.Partitioner, MaxRecordBytes: int32(cfg.MaxRecordBytes), Resend: resend, Log: cfg.Logger,
		Placed: func(r *outlet.Rec, partition int32) { enqueue(recordOf(&r.Record), partition) },
	}
	if k != nil {
		of.Retried, of.Again = k.Retried, true
	}
	out, err = outlet.New(of)
	return out, pace, err
}

// withoutFlushes is the user's logger without the two lines that each flush is for kgo: here one
// ends each wait for others.
type withoutFlushes struct{ kgo.Logger }

func (l withoutFlushes) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if msg != "flushing" && msg != "flushed" {
		l.Logger.Log(level, msg, keyvals...)
	}
}

// clientOptions are the user's options, and then those that hold the promises; usual are those of
// the client that most records go through.
func (c *Config) clientOptions(hooks kgo.Hook) (all, usual []kgo.Opt) {
	defaults := []kgo.Opt{kgo.ClientID("ackmark-sidecar"), kgo.MetadataMinAge(400 * time.Millisecond)}
	all = append(append(defaults, c.Options...),
		kgo.SeedBrokers(c.Brokers...),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.BrokerMaxWriteBytes(int32(max(100<<20, c.MaxRecordBytes+(1<<20)))),
		kgo.UnknownTopicRetries(2),
		kgo.WithHooks(hooks),
	)
	return all, []kgo.Opt{
		kgo.ProducerLinger(max(c.linger(), c.MaxLinger)),
		kgo.ProducerBatchMaxBytes(int32(min(c.MaxRecordBytes, largestBatch))), // and the topic's own limit
		kgo.WithHooks(queueing{}),
	}
}

// queueing follows records of the usual client; those that are sent again are counted already.
type queueing struct{}

var _ kgo.HookProduceRecordPartitioned = queueing{}

// OnProduceRecordPartitioned counts the record in its partition's queue. kgo holds that partition's
// lock, so the promise, which subtracts, comes later.
func (queueing) OnProduceRecordPartitioned(kr *kgo.Record, _ int32) {
	enqueue(recordOf(kr), kr.Partition)
}

// enqueue counts a record in its partition's queue.
func enqueue(r *outRec, partition int32) {
	q := r.topic.Queue(partition)
	r.queue = q
	if q.Add(r.size, 1) && r.frame != nil {
		r.frame.session.intake.full.Store(q)
	}
	if !r.topic.Ready() {
		r.topic.Known()
	}
}

// sendFirst sends a topic's first record as soon as Kafka has told of the topic: its sender has
// waited.
func (k *sink) sendFirst(first <-chan struct{}) {
	<-first
	k.pace.Now()
}

// send never passes a context that can end: cancelling a record whose batch was sent could fail it
// although Kafka has it.
func (k *sink) send(r *outRec) { k.outlet.Produce(&r.Rec) }

// pin counts a frame's memory from the moment it is received, unpin when its buffer was freed.
func (k *sink) pin(f *frame) {
	f.pinned = int64(f.buf.Len())
	n := int64(len(f.recs)) + 1
	f.session.intake.pinned.Add(f.pinned, n)
	f.session.app.Pinned.Add(f.pinned, n)
	k.pinned.Add(f.pinned, n)
}

func (k *sink) unpin(f *frame) {
	n := int64(len(f.recs)) + 1
	f.session.intake.pinned.Sub(f.pinned, n)
	f.session.app.Pinned.Sub(f.pinned, n)
	k.pinned.Sub(f.pinned, n)
}

// room waits until the memory that a session, its app, and all sessions hold is below its limits.
func (k *sink) room(s *session) error {
	for _, w := range [...]struct {
		*limit.Meter
		of flows.Reason
	}{{s.intake.pinned, flows.ForSession}, {s.app.Outstanding, flows.ForApp}, {s.app.Pinned, flows.ForApp}, {k.pinned, flows.ForAll}} {
		if !w.Over() {
			continue
		}
		begun := time.Now()
		err := w.Wait(s.ctx)
		s.app.Counts.Waited(w.of, begun)
		if err != nil {
			return err
		}
	}
	return nil
}

// stillOpen is the sentinel of units that are entered, or go to kgo: once for a message, and for
// each record that is sent again.
func (k *sink) stillOpen(s *session, units int) {
	if !s.gone.Load() || !sentinel.IsClosed(1, 0) {
		return
	}
	k.watch.Found(sentinel.ClosedAdmitted, "app", s.app.Name, "session", s.id, "units", units)
}
