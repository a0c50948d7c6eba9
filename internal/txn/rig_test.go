package txn_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/txn"
)

const limit = 30 * time.Second

// rig is a broker, a member of a group that holds topic "in", and a lane.
type rig struct {
	t       *testing.T
	cluster *kfake.Cluster
	net     *kfake.VirtualNetwork // nil: the machine's
	admin   *kadm.Client
	member  groupcommit.Member
	lane    *txn.Lane
	claims  *txn.Claims
	topicID [16]byte
	gone    chan error
	over    chan error
	cut     atomic.Bool // the next EndTxn of a lane is done, and not answered
	hold    atomic.Pointer[func(*kmsg.InitProducerIDRequest)]
	ended   atomic.Int32  // by takenInTwoSteps: the epoch whose transaction is aborted
	cutInit atomic.Int32  // so many InitProducerIDs that name an epoch are done, and not answered
	pause   time.Duration // for a successor
	keep    time.Duration // how often a lane's unused ids are taken again; 0: as they are
	base    int64         // the offset of the inputs' index 0
	read    []string      // what outputs read last, in the log's order
}

func newRig(t *testing.T) *rig { return newRigWith(t, 10*time.Millisecond) }

// newRigWith is a rig whose lanes give a successor so much time.
func newRigWith(t *testing.T, pause time.Duration, more ...kfake.Opt) *rig {
	t.Helper()
	return newRigOn(nil, t, pause, more...)
}

// inVirtualTime runs a test with a rig whose network is in memory: when nobody can go on, time
// jumps.
func inVirtualTime(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := new(kfake.VirtualNetwork)
		f(t, newRigOn(n, t, 10*time.Millisecond, kfake.ListenFn(n.Listen)))
	})
}

func newRigOn(n *kfake.VirtualNetwork, t *testing.T, pause time.Duration, more ...kfake.Opt) *rig {
	t.Helper()
	c, err := kfake.NewCluster(append(more, kfake.NumBrokers(1), kfake.SeedTopics(2, "in", "out"))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := &rig{t: t, cluster: c, net: n, pause: pause, gone: make(chan error, 9), over: make(chan error, 1)}
	r.claims = r.newClaims()
	c.ControlKey(int16(kmsg.InitProducerID), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if hold := r.hold.Load(); hold != nil {
			c.SleepControl(func() { (*hold)(kreq.(*kmsg.InitProducerIDRequest)) })
		}
		return nil, nil, false
	})
	devbroker.ValidateTransactions(c, kgo.Dialer(r.plainDial))
	cl := r.client()
	r.admin = kadm.NewClient(cl)
	topics, err := r.admin.ListTopics(t.Context(), "in")
	if err != nil {
		t.Fatal(err)
	}
	r.topicID = topics["in"].ID
	joined := make(chan struct{}, 1)
	m := r.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("in"), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { joined <- struct{}{} }))
	<-joined
	id, generation := m.GroupMetadata()
	r.member = groupcommit.Member{Group: "g", MemberID: id, Generation: generation}
	r.lane = r.newLane()
	t.Cleanup(r.lane.Close)
	r.assign(1, 0)
	r.assign(2, 1)
	return r
}

func (r *rig) newClaims() *txn.Claims {
	return txn.NewClaims(func(_ txn.Holder, err error) { r.gone <- err })
}

func (r *rig) client(opts ...kgo.Opt) *kgo.Client {
	r.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(r.cluster.ListenAddrs()...), kgo.Dialer(r.plainDial)}, opts...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(cl.Close)
	return cl
}

// olderTimeout is that of a rig's first lane: requests tell by it whose they are.
const olderTimeout = 10 * time.Second

func (r *rig) newLane(change ...func(*txn.Config)) *txn.Lane {
	r.t.Helper()
	cfg := txn.Config{
		ID: "id", Lanes: 1, Every: 20 * time.Millisecond, Timeout: olderTimeout, Records: 1000, Bytes: 1 << 20, Log: slog.New(slog.DiscardHandler),
		Client: func(extra ...kgo.Opt) (*kgo.Client, error) {
			return kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(r.cluster.ListenAddrs()...), kgo.Dialer(r.dial)}, extra...)...)
		},
		Over: func(err error) { r.over <- err },
	}
	for _, fn := range change {
		fn(&cfg)
	}
	l, err := txn.New(cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	l.PauseForSuccessor(r.pause)
	l.GraceOfClose(100 * time.Millisecond)
	if r.keep > 0 {
		l.KeepEvery(r.keep)
		l.BareWait(100 * time.Millisecond)
	}
	l.Start()
	<-l.Started()
	return l
}

func (r *rig) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := r.plainDial(ctx, network, addr)
	return &cutting{Conn: conn, r: r}, err
}

func (r *rig) plainDial(ctx context.Context, network, addr string) (net.Conn, error) {
	if r.net != nil {
		return r.net.DialContext(ctx, network, addr)
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// assign announces a partition whose epoch this is.
func (r *rig) assign(epoch uint64, partition int32) { r.assignAt(epoch, partition, 0) }

// assignAt is assign, of a partition that is read from an offset on.
func (r *rig) assignAt(epoch uint64, partition int32, at int64) {
	core := assignment.New(assignment.Spec{TopicID: r.topicID, Start: at, Committed: at, Limit: 1 << 12})
	if at == 0 {
		core = assignment.New(assignment.Spec{TopicID: r.topicID, Committed: -1, Limit: 1 << 12})
	}
	r.base = at
	r.claims.Assign(txn.Holder{Group: "g"}, r.member, []txn.Added{{Epoch: epoch, Topic: "in", TopicID: r.topicID, Partition: partition, Core: core}})
}

// units is a batch: unit i was made from the input at offset from+i, and has so many outputs.
type units struct {
	r      *rig
	claim  *txn.Claim
	from   int
	value  func(i, j int) []byte // nil: no such output
	onFate func()                // of a unit; nil: nothing
	topic  string                // of the outputs; "": out
	key    []byte                // of all outputs; nil: one for each input

	mu    sync.Mutex
	fates []error // of each unit, nil while it has none
	left  int
	done  chan struct{}
}

var (
	errCommitted = errors.New("committed")
	errDropped   = errors.New("dropped")
)

func (r *rig) enter(epoch uint64, from, n int, value func(i, j int) []byte) *units {
	r.t.Helper()
	u := &units{r: r, from: from, value: value, fates: make([]error, n), left: n, done: make(chan struct{})}
	for i := range n {
		st, e := r.claims.Enter(epoch, uint64(from+i), r.base+int64(from+i), 1)
		if e != txn.Entered {
			r.t.Fatalf("unit %d: %v", i, e)
		}
		u.claim = st
	}
	return u
}

func (r *rig) push(epoch uint64, from, n int, value func(i, j int) []byte) *units {
	r.t.Helper()
	u := r.enter(epoch, from, n, value)
	r.lane.Push(txn.Run{Batch: u, From: 0, To: n})
	return u
}

func (u *units) Unit(i int) txn.Unit { return txn.Unit{Claim: u.claim, Index: uint64(u.from + i)} }

func (u *units) Produce(i int, emit func(*kgo.Record)) {
	for j := 0; ; j++ {
		v := u.value(i, j)
		if v == nil {
			return
		}
		rec := &kgo.Record{Topic: cmp.Or(u.topic, "out"), Key: u.key, Value: v, Partition: -1}
		if rec.Key == nil {
			rec.Key = fmt.Append(nil, u.from+i)
		}
		emit(rec)
	}
}

func (u *units) Committed(from, to int) {
	for i := from; i < to; i++ {
		u.Failed(i, errCommitted)
	}
}

func (u *units) Dropped(from, to int) {
	for i := from; i < to; i++ {
		u.Failed(i, errDropped)
	}
}

func (u *units) Failed(i int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fates[i] != nil {
		u.r.t.Errorf("unit %d has two fates: %v and %v", i, u.fates[i], err)
		return
	}
	u.fates[i] = err
	if u.onFate != nil {
		u.onFate()
	}
	if u.left--; u.left == 0 {
		close(u.done)
	}
}

// fate is what became of a unit up to now.
func (u *units) fate(i int) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.fates[i]
}

// await waits until every unit has its fate.
func (u *units) await() []error {
	u.r.t.Helper()
	select {
	case <-u.done:
	case <-time.After(limit):
		u.r.t.Fatalf("%d units have no fate; the lane is %v with %+v", u.left, u.r.lane.State(), u.r.lane.Stats())
	}
	return u.fates
}

func (u *units) allCommitted() {
	u.r.t.Helper()
	for i, err := range u.await() {
		if !errors.Is(err, errCommitted) {
			u.r.t.Fatalf("unit %d: %v", i, err)
		}
	}
}

func one(i, j int) []byte {
	if j > 0 {
		return nil
	}
	return fmt.Appendf(nil, "out of %d", i)
}

func none(int, int) []byte { return nil }

// outputs are the values that a reader of committed records sees, sorted.
func (r *rig) outputs() []string {
	r.t.Helper()
	ends, err := r.admin.ListCommittedOffsets(r.t.Context(), "out")
	if err != nil {
		r.t.Fatal(err)
	}
	reader := r.client(kgo.ConsumeTopics("out"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	defer reader.Close()
	at := map[int32]int64{}
	var values []string
	done := func() bool {
		for p, o := range ends["out"] {
			if at[p] < o.Offset {
				return false
			}
		}
		return true
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), limit)
	defer cancel()
	for !done() {
		f := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			r.t.Fatalf("outputs up to %v of %v", at, ends)
		}
		f.EachRecord(func(rec *kgo.Record) {
			at[rec.Partition] = rec.Offset + 1
			if !rec.Attrs.IsControl() {
				values = append(values, string(rec.Value))
			}
		})
	}
	r.read = slices.Clone(values)
	slices.Sort(values)
	return values
}

// committed are the group's offsets of "in".
func (r *rig) committed() map[int32]int64 {
	r.t.Helper()
	got, err := r.admin.FetchOffsets(r.t.Context(), "g")
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[int32]int64{}
	got.Each(func(o kadm.OffsetResponse) { all[o.Partition] = o.At })
	return all
}

func (r *rig) check(outputs int, offsets map[int32]int64) {
	r.t.Helper()
	if got := r.outputs(); len(got) != outputs || len(slices.Compact(slices.Clone(got))) != outputs {
		r.t.Errorf("a reader sees %d outputs, want %d once each: %q", len(got), outputs, got)
	}
	if got := r.committed(); fmt.Sprint(got) != fmt.Sprint(offsets) {
		r.t.Errorf("the group has %v, want %v", got, offsets)
	}
}

func value(epoch int) func(int, int) []byte {
	return func(i, j int) []byte {
		if j > 1 {
			return nil
		}
		return fmt.Appendf(nil, "%d/%d/%d", epoch, i, j)
	}
}

// until polls for something that the lane's goroutine does.
func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for end := time.After(limit); !is(); {
		select {
		case <-poll.C:
		case <-end:
			r.t.Fatalf("never: %s; the lane is %v with %+v", what, r.lane.State(), r.lane.Stats())
		}
	}
}

// await waits until a channel is closed by what a test waits for.
func (r *rig) await(what string, closed <-chan struct{}) {
	r.t.Helper()
	select {
	case <-closed:
	case <-time.After(limit):
		r.t.Fatalf("never: %s; the lane is %v with %+v", what, r.lane.State(), r.lane.Stats())
	}
}

// awaitTaken waits until a lane has ended because another one took its ids.
func (r *rig) awaitTaken() {
	r.t.Helper()
	select {
	case err := <-r.over:
		if !errors.Is(err, txn.ErrTaken) {
			r.t.Errorf("it ended with %v", err)
		}
	case <-time.After(limit):
		r.t.Fatal("the lane whose ids were taken goes on")
	}
}

// skipsUnderRace is for tests whose controls of the broker sleep.
func (r *rig) skipsUnderRace() {
	if underRace {
		r.t.Helper()
		r.t.Skip("kfake's controls race with each other when two of them sleep (cluster.go, bsleep)")
	}
}
