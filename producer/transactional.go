package producer

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/outlet"
	"github.com/ackmark/ackmark/internal/podstate"
	"github.com/ackmark/ackmark/internal/storm"
	"github.com/ackmark/ackmark/internal/telemetry"
	"github.com/ackmark/ackmark/internal/txn"
	"github.com/ackmark/ackmark/producer/internal/tally"
)

// maxTracked is how far above the ack mark of its partition an input may be.
const maxTracked = 1 << 20

func (c DirectConfig) validateTransactions(wrong *configerr.List) {
	s := txn.Settings{
		ID: c.TransactionalID, Every: c.CommitEvery, Timeout: c.TransactionTimeout, Options: c.Options,
		LingerRemedy: "leave it out: with TransactionalID records wait for a quarter of CommitEvery",
	}
	s.Validate(wrong)
}

// transactional is the producer over one lane of transactions. It has the direct producer's books
// (budget, tally, calls, reports), and hands its units to the lane instead of an outlet.
type transactional struct {
	*direct

	telling atomic.Pointer[txn.Lane] // the lane
	events  podstate.Events
	closing atomic.Bool // the lane is being closed

	// Under direct.mu:
	lane       *txn.Lane
	started    bool
	committing bool // CommitUnits was called
	claims     *txn.Claims
	onFenced   fences
	onRefused  []func(*Error)
	refusal    *Error // it can never deliver any more
}

func newTransactional(cfg DirectConfig) *transactional {
	if cfg.CommitEvery == 0 {
		cfg.CommitEvery = txn.DefaultEvery
	}
	if cfg.TransactionTimeout == 0 {
		cfg.TransactionTimeout = txn.DefaultTimeout
	}
	t := new(transactional)
	t.claims = txn.NewClaims(t.gone)
	t.direct = newDirectTelling(cfg, t.tell, txn.Rows...)
	return t
}

// tell tells who collects how the transactions go. The producer may just be being made.
func (t *transactional) tell(r *telemetry.Reading) {
	if lane := t.telling.Load(); lane != nil {
		lane.Tell(r)
	}
}

// make makes the lane once. It does not connect. Under mu.
func (t *transactional) make() error {
	d := t.direct
	switch {
	case t.refusal != nil:
		return t.refusal
	case d.broken != nil:
		return d.broken
	case t.lane != nil:
		return nil
	case d.closed:
		return errClosed()
	}
	opts, err := t.options()
	if err == nil {
		t.lane, err = txn.New(txn.Config{
			ID: d.cfg.TransactionalID, Lanes: 1, Every: d.cfg.CommitEvery, Timeout: d.cfg.TransactionTimeout,
			Records: max(1, d.cfg.MaxBufferedRecords/2), Bytes: max(1, d.cfg.MaxBufferedBytes/2), Log: d.cfg.Logger,
			Client: func(more ...kgo.Opt) (*kgo.Client, error) {
				all := append(slices.Clone(opts), more...)
				if d.cfg.kafka != nil {
					heard, err := outlet.Listener{Retried: d.cfg.kafka.Retried, Closing: t.closing.Load}.Options(all)
					if err != nil {
						return nil, err
					}
					all = append(all, heard...)
				}
				return kgo.NewClient(all...)
			},
			Aborted: func(a txn.Abort) { t.events.Add(podstate.Abort, "", 0, a.String()) },
			Over:    t.over, Took: t.took(),
		})
	}
	if err != nil {
		d.broken = invalidConfig(err)
		return d.broken
	}
	t.telling.Store(t.lane)
	return nil
}

func (t *transactional) took() *txn.Took {
	if t.counts == nil {
		return nil
	}
	return txn.NewTook(t.counts.part, t.cfg.TransactionalID)
}

// options are those of the lane's clients.
func (t *transactional) options() ([]kgo.Opt, error) {
	cfg := &t.direct.cfg
	if err := checkOptions(cfg.Options); err != nil {
		return nil, err
	}
	opts, err := cfg.clientOptions()
	if err != nil {
		return nil, err
	}
	probe, err := kgo.NewClient(opts...)
	wrong := configerr.For(directConfig)
	if err != nil {
		wrong.Failed("Options", configerr.Words("refused by the Kafka client"), err, "correct it")
		return nil, wrong.Err()
	}
	defer probe.Close()
	if len(cfg.Brokers) == 0 && isDefaultSeed(probe) {
		wrong.Missing("Brokers", "name at least one host:port, or use kgo.SeedBrokers in Options")
		return nil, wrong.Err()
	}
	if cfg.kafka != nil {
		opts = append(opts, cfg.kafka.Hooks()...)
	}
	return opts, nil
}

// begin starts the lane once.
func (t *transactional) begin() (*txn.Lane, error) {
	d := t.direct
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := t.make(); err != nil {
		return nil, err
	}
	if d.closed {
		return nil, errClosed()
	}
	if !t.started {
		t.started = true
		d.loop.Go(d.reportLoop)
		t.lane.Start()
	}
	return t.lane, nil
}

// Validate implements Validator.
func (t *transactional) Validate() error {
	t.direct.mu.Lock()
	defer t.direct.mu.Unlock()
	if e, ok := errors.AsType[*Error](t.make()); ok && e.Code == CodeInvalidConfig {
		return e
	}
	return nil
}

// CommitUnits implements Committer.
func (t *transactional) CommitUnits() error {
	t.direct.mu.Lock()
	t.committing = true
	t.direct.mu.Unlock()
	_, err := t.begin()
	return err
}

// Committing implements Committer.
func (t *transactional) Committing() bool {
	t.direct.mu.Lock()
	defer t.direct.mu.Unlock()
	return t.committing
}

// Crossed implements Committer.
func (t *transactional) Crossed(epoch uint64, offset int64) {
	lane, err := t.begin()
	if err != nil {
		return
	}
	if run, due := t.claims.Crossed(epoch, offset); due {
		lane.Push(run)
	}
}

// Assign implements Producer.
func (t *transactional) Assign(_ context.Context, m Membership, added []Assignment) error {
	if err := t.mayHaveInputs(); err != nil {
		return err
	}
	if err := checkTopicIDs(added); err != nil {
		return err
	}
	lane, err := t.begin()
	if err != nil {
		return err
	}
	list := make([]txn.Added, 0, len(added))
	for i := range added {
		list = append(list, claimOf(&added[i]))
	}
	protocol := m.Protocol
	if protocol == 0 {
		protocol = ClassicProtocol
	}
	t.claims.Assign(txn.Holder{Group: m.Group, Consumer: m.Consumer},
		groupcommit.Member{Group: m.Group, MemberID: m.MemberID, InstanceID: m.InstanceID, Generation: m.Generation, Protocol: protocol}, list)
	lane.Wake()
	return nil
}

// mayHaveInputs refuses what comes from a consumer that commits, before the transactional id is
// taken: where another process commits under it, that one would end.
func (t *transactional) mayHaveInputs() error {
	if t.Committing() {
		return nil
	}
	return invalidConfig(&ConfigError{Config: directConfig, Field: "TransactionalID", Value: t.direct.cfg.TransactionalID,
		Remedy: "this producer commits offsets, and so does the consumer: set pipeline.Config.Mode to pipeline.ExactlyOnce, or leave TransactionalID empty"})
}

func claimOf(a *Assignment) txn.Added {
	core := assignment.New(assignment.Spec{TopicID: a.TopicID, Start: a.Start, Committed: -1, Limit: maxTracked})
	if runs, err := donemeta.ParseAt(a.DoneSet, a.TopicID, a.Start, nil); err == nil {
		core.Inherit(runs, a.DoneSet, -1)
	}
	return txn.Added{Epoch: a.Epoch, Topic: a.Topic, TopicID: a.TopicID, Partition: a.Partition, Core: core}
}

// Release implements Producer. When the context ends, or has ended, what is not committed is given
// up: its inputs are read again by the next owner.
func (t *transactional) Release(ctx context.Context, list []uint64) error {
	t.direct.mu.Lock()
	lane := t.lane
	t.direct.mu.Unlock()
	leaving, gone := t.claims.Release(list)
	if lane == nil || len(gone) == 0 {
		return nil
	}
	lane.Flush()
	select {
	case <-leaving.Done():
		return nil
	case <-ctx.Done():
	}
	t.claims.Abandon(gone)
	lane.Wake()
	return context.Cause(ctx)
}

// Flush implements Producer.
func (t *transactional) Flush(ctx context.Context) error {
	t.direct.mu.Lock()
	open, lane := t.direct.tally.Seal(), t.lane
	t.direct.mu.Unlock()
	if len(open) == 0 {
		return nil
	}
	lane.Flush()
	return tally.Await(ctx, open)
}

// OnFenced implements Fencer.
func (t *transactional) OnFenced(fn func(*Error)) (forget func()) { return t.onFenced.add(fn) }

// gone is told that a group does not know a member any more.
func (t *transactional) gone(of txn.Holder, err error) {
	why, cause := fateOf(err), &MemberFencedError{Group: of.Group, Consumer: of.Consumer}
	if m, is := errors.AsType[*txn.MemberError](err); is {
		cause.MemberID = m.MemberID
	}
	why.Err = errors.Join(cause, err)
	for _, fn := range t.onFenced.all() {
		(*fn)(why)
	}
}

// OnRefused implements Refuser.
func (t *transactional) OnRefused(fn func(*Error)) {
	d := t.direct
	d.mu.Lock()
	defer d.mu.Unlock()
	switch refusal := t.refusal; {
	case d.closed:
	case refusal != nil:
		d.loop.Go(func() { fn(refusal) })
	default:
		t.onRefused = append(t.onRefused, fn)
	}
}

// over is told that the lane has ended by itself.
func (t *transactional) over(err error) {
	d := t.direct
	d.mu.Lock()
	t.refusal = fateOf(err)
	t.refusal.Retryable = false
	list, refusal := t.onRefused, t.refusal
	t.onRefused = nil
	d.mu.Unlock()
	d.cfg.Logger.Error("the producer has ended", "transactional_id", d.cfg.TransactionalID, "err", err)
	for _, fn := range list {
		fn(refusal)
	}
}

// Close implements Producer.
func (t *transactional) Close() error {
	d := t.direct
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	if d.active == 0 {
		close(d.left)
	}
	lane, started := t.lane, t.started
	d.mu.Unlock()
	defer storm.End(d.cfg.Logger)
	defer d.counts.end()
	d.close(ErrClosed)
	<-d.left
	if lane == nil {
		return nil
	}
	if started {
		ctx, cancel := context.WithTimeout(context.Background(), d.cfg.CloseTimeout)
		defer cancel()
		_ = t.Flush(ctx) // what is left over is counted below
	}
	t.closing.Store(true)
	lane.Close() // aborts and fails the rest
	if !started {
		return nil
	}
	_ = t.Flush(context.Background())
	d.notify()
	d.loop.Wait()
	return d.leftOver()
}
