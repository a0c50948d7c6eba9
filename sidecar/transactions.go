package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/txn"
	"github.com/ackmark/ackmark/sidecar/internal/brokers"
	"github.com/ackmark/ackmark/sidecar/internal/told"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// featureExactlyOnce is the ability to have an input's offset committed with its outputs.
const featureExactlyOnce = "exactly-once"

// Defaults of the transactions.
const (
	DefaultCommitEvery        = txn.DefaultEvery
	DefaultTransactionTimeout = txn.DefaultTimeout
)

// ErrTransactionalIDTaken ends a sidecar whose TransactionalID another one uses. That one goes on:
// what this one had open was aborted, and its clients say to the other what they are missing.
var ErrTransactionalIDTaken = errors.New("sidecar: another sidecar took the transactional id")

// TransactionError ends a sidecar that cannot commit: Kafka refuses its transactions for good, or
// another sidecar has its transactional id ([ErrTransactionalIDTaken]).
type TransactionError struct {
	TransactionalID string
	Err             error
}

// Error implements error.
func (e *TransactionError) Error() string {
	text := fmt.Sprintf("sidecar: no transactions under the id %q: %v", e.TransactionalID, e.Err)
	if errors.Is(e.Err, txn.ErrTaken) {
		text += "; " + takenRemedy
	}
	return text
}

const takenRemedy = "give each sidecar that runs at the same time its own (the pod's ordinal in a StatefulSet); where no other one runs, start this one again"

// Unwrap returns the reason.
func (e *TransactionError) Unwrap() []error {
	if errors.Is(e.Err, txn.ErrTaken) {
		return []error{ErrTransactionalIDTaken, e.Err}
	}
	return []error{e.Err}
}

// transactions commit, for the sessions that asked for it, the outputs of units with the offsets of
// their inputs: one transaction at a time for all of them. Nil: there are none in this sidecar.
type transactions struct {
	id      string
	lane    *txn.Lane
	log     *slog.Logger
	records atomic.Int64 // in hand
	closing atomic.Bool
}

// newTransactions does not connect. Over is told when they have ended by themselves.
func newTransactions(cfg *Config, b *brokers.Brokers, m *metrics, log *told.Log, over func(error)) (*transactions, error) {
	if cfg.TransactionalID == "" {
		return nil, nil
	}
	opts, _ := cfg.clientOptions(b)
	opts = append(opts, m.kafka.Hooks()...)
	opts = append(opts, kgo.ProducerBatchMaxBytes(int32(min(cfg.MaxRecordBytes, largestBatch))))
	t := &transactions{id: cfg.TransactionalID, log: cfg.Logger}
	var err error
	t.lane, err = txn.New(txn.Config{
		ID: cfg.TransactionalID, Lanes: 1, Shared: true, Every: cfg.CommitEvery, Timeout: cfg.TransactionTimeout, Partitioner: cfg.Partitioner,
		Records: max(1, cfg.MaxRecords/2), Bytes: max(1, cfg.MaxBytes/2), Log: cfg.Logger,
		Client: func(more ...kgo.Opt) (*kgo.Client, error) {
			all := append(slices.Clone(opts), more...)
			if m.kafka != nil {
				heard, err := outlet.Listener{Retried: m.kafka.Retried, Again: sentAgain, Closing: t.closing.Load}.Options(all)
				if err != nil {
					return nil, err
				}
				all = append(all, heard...)
			}
			return kgo.NewClient(all...)
		},
		Aborted: func(a txn.Abort) {
			log.Add(podstate.Incident{Time: time.Now(), Kind: podstate.Abort, Reason: a.String()})
		},
		Took: txn.NewTook(m.part, cfg.TransactionalID),
		Over: func(err error) { over(&TransactionError{cfg.TransactionalID, err}) },
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func sentAgain(r *kgo.Record) { recordOf(r).SentAgain() }

// start takes the transactional ids, which ends what a former sidecar has left open.
func (t *transactions) start() {
	if t != nil {
		t.lane.Start()
	}
}

// close aborts what is left. Every session has ended.
func (t *transactions) close() {
	if t != nil {
		t.closing.Store(true)
		t.lane.Close()
	}
}

// tell tells who collects; without transactions nothing.
func (t *transactions) tell(r *telemetry.Reading) {
	if t != nil {
		t.lane.Tell(r)
	}
}

// flush ends what is in hand without waiting for more.
func (t *transactions) flush() {
	if t != nil {
		t.lane.Flush()
	}
}

// has tells which features are there with them.
func (t *transactions) features() []string {
	if t == nil {
		return nil
	}
	return []string{featureExactlyOnce}
}

// await waits until the ids are ours. Until then a former sidecar could still commit for who says
// Hello now.
func (t *transactions) await(ctx context.Context) error {
	late := time.NewTimer(awaitIDs)
	defer late.Stop()
	select {
	case <-t.lane.Started():
		return nil
	case <-late.C:
	case <-ctx.Done():
	}
	return status.Errorf(codes.Unavailable, "the sidecar's transactional id %q is not taken yet, and nothing is committed without it: %s; its log says more", t.id, t.lane.Held())
}

// awaitIDs is shorter than helloTimeout by more than what else a Hello waits for: its client hears
// what it waits for.
const awaitIDs = helloTimeout - 2*time.Second

// held tells why nothing is committed. "": nothing is held up.
func (t *transactions) held() string {
	if t == nil {
		return ""
	}
	return t.lane.Held()
}

// watchTransactions keeps readiness true to them, and says in the log why it is off.
func (s *Server) watchTransactions(ctx context.Context) {
	if s.transactions == nil {
		return
	}
	look := time.NewTicker(heldEvery)
	defer look.Stop()
	started := s.transactions.lane.Started()
	for was, told := true, false; ; {
		select {
		case <-ctx.Done():
			return
		case <-started:
			started = nil
		case <-look.C:
		}
		why := s.transactions.held()
		held := why != ""
		switch {
		case held && !told:
			s.log.Warn("the sidecar is not ready: nothing is committed", "transactional_id", s.transactions.id, "reason", why)
		case !held && told:
			s.log.Info("transactions are committed: the sidecar is ready for them", "transactional_id", s.transactions.id)
		}
		if told = held; held != was {
			s.setHealth(s.ready(s.brokers.Err()))
		}
		was = held
	}
}

// heldEvery is between two looks whether transactions are held up.
const heldEvery = time.Second

// inHand is how many records were received for a transaction, and are not decided.
func (t *transactions) inHand() int64 {
	if t == nil {
		return 0
	}
	return t.records.Load()
}

// status is what Status says of them.
func (t *transactions) status() *sidecarpb.TransactionStatus {
	if t == nil {
		return nil
	}
	n := t.lane.Stats()
	return &sidecarpb.TransactionStatus{
		TransactionalId: t.id, State: t.lane.State().String(),
		Committed: uint64(n.Windows), Aborted: uint64(n.Aborted), Unknown: uint64(n.Unknown), TakenAnew: uint64(n.Reinits),
		AgeMs: n.Age.Milliseconds(),
	}
}

// halt ends a sidecar that cannot commit any more. There is no drain: what is in hand is aborted,
// and nobody was told that it is done.
func (s *Server) halt(err error) {
	s.log.Error("the sidecar stops", "err", err)
	s.life.Stop(err)
}

// stopsAtOnce tells that there is nothing to drain after this reason to stop.
func stopsAtOnce(err error) bool {
	_, noTransactions := errors.AsType[*TransactionError](err)
	return noTransactions || errors.Is(err, ErrPaused)
}

func (c *Config) validateTransactions(wrong *configerr.List) {
	s := txn.Settings{
		ID: c.TransactionalID, Every: c.CommitEvery, Timeout: c.TransactionTimeout, Options: c.Options,
		LingerRemedy: "set Config.Linger, which is for what is not in a transaction; in one, records wait for a quarter of CommitEvery",
	}
	s.Validate(wrong)
}
