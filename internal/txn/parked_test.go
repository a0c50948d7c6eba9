package txn_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/txn"
)

// another is a group beside the rig's, whose member holds partition 1.
type another struct {
	claims  *txn.Claims
	of      txn.Holder
	asked   atomic.Int32 // offsets
	sent    atomic.Int32 // offsets to commit
	away    atomic.Pointer[kerr.Error]
	answers atomic.Bool // offsets are told while it is away
	member  groupcommit.Member
}

// withAnother has a lane that is shared, and a second group whose coordinator can be away.
func (r *rig) withAnother() *another {
	r.t.Helper()
	r.lane.Close()
	r.lane = r.newLane(func(cfg *txn.Config) { cfg.Shared = true })
	r.t.Cleanup(r.lane.Close)
	o := &another{claims: r.newClaims(), of: txn.Holder{Group: "other"}}
	joined := make(chan struct{}, 1)
	m := r.client(kgo.ConsumerGroup("other"), kgo.ConsumeTopics("in"), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { joined <- struct{}{} }))
	<-joined
	id, generation := m.GroupMetadata()
	o.member = groupcommit.Member{Group: "other", MemberID: id, Generation: generation}
	o.claims.Assign(o.of, o.member, []txn.Added{r.added(3, 1)})
	for _, key := range []kmsg.Key{kmsg.TxnOffsetCommit, kmsg.OffsetFetch} {
		r.cluster.ControlKey(int16(key), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			r.cluster.KeepControl()
			return o.control(r, kreq)
		})
	}
	return o
}

func (o *another) control(r *rig, kreq kmsg.Request) (kmsg.Response, error, bool) {
	why := o.away.Load()
	switch req := kreq.(type) {
	case *kmsg.TxnOffsetCommitRequest:
		if req.Group != "other" {
			return nil, nil, false
		}
		o.sent.Add(1)
		if why == nil {
			return nil, nil, false
		}
		return refusedAs(req, why), nil, true
	case *kmsg.OffsetFetchRequest:
		if len(req.Groups) != 1 || req.Groups[0].Group != "other" {
			return nil, nil, false
		}
		o.asked.Add(1)
		if why == nil || o.answers.Load() {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		rg := kmsg.NewOffsetFetchResponseGroup()
		rg.Group, rg.ErrorCode = "other", kerr.CoordinatorNotAvailable.Code
		resp.Groups = append(resp.Groups, rg)
		return resp, nil, true
	}
	return nil, nil, false
}

// push pushes units of the other group.
func (o *another) push(r *rig, from, n int, value func(i, j int) []byte) *units {
	r.t.Helper()
	u := o.enter(r, from, n, value)
	r.lane.Push(txn.Run{Batch: u, From: 0, To: n})
	return u
}

func (o *another) enter(r *rig, from, n int, value func(i, j int) []byte) *units {
	r.t.Helper()
	mine := r.claims
	r.claims = o.claims
	defer func() { r.claims = mine }()
	u := r.enter(3, from, n, value)
	u.key = []byte("one")
	return u
}

// A group whose coordinator is away, or refuses its offsets, holds up nobody else: its units are
// parked, and committed in order when it answers.
func TestGroupIsAway(t *testing.T) {
	for name, why := range map[string]*kerr.Error{
		"no coordinator": kerr.CoordinatorNotAvailable, "refused": kerr.UnknownServerError, "loading": kerr.CoordinatorLoadInProgress,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			o := r.withAnother()
			o.away.Store(why)
			begun := time.Now()
			var waiting []*units
			for i := range 3 {
				waiting = append(waiting, o.push(r, i, 1, value(20+i)))
				r.push(1, i, 1, value(10+i)).allCommitted()
			}
			if d := time.Since(begun); d > olderTimeout/2 {
				t.Errorf("others waited %v", d)
			}
			for i, u := range waiting {
				if err := u.fate(0); err != nil {
					t.Errorf("unit %d: %v", i, err)
				}
			}
			if n := r.lane.Stats().Aborted; n != 1 {
				t.Errorf("%d windows were aborted for one group that is away", n)
			}
			if r.check(6, map[int32]int64{0: 3}); o.sent.Load() == 0 {
				t.Error("the group's offsets were never sent: nothing was tested")
			}
			r.until("its coordinator is asked", func() bool { return o.asked.Load() > 0 })
			if age := r.lane.Stats().Age; age == 0 {
				t.Error("units wait for their group, and nothing is said to wait")
			}
			o.away.Store(nil)
			for _, u := range waiting {
				u.allCommitted()
			}
			o.push(r, 3, 1, value(23)).allCommitted()
			if got := r.outputs(); len(got) != 14 {
				t.Errorf("a reader sees %q", got)
			}
			others := slices.DeleteFunc(r.read, func(v string) bool { return !strings.HasPrefix(v, "2") })
			if !slices.IsSorted(others) {
				t.Errorf("in the log's order: %q", others)
			}
		})
	}
}

// A group that is away when a transaction's end is not told keeps nobody from finding out: what one
// group has tells for all. What is given up while it waits is dropped at once.
func TestGivenUpWhileItsGroupIsAway(t *testing.T) {
	r := newRig(t)
	o := r.withAnother()
	o.away.Store(kerr.UnknownServerError)
	kept, lost := o.push(r, 0, 1, value(20)), r.entered(o, 4, 0)
	r.lane.Push(txn.Run{Batch: lost, From: 0, To: 1})
	r.push(1, 0, 1, value(10)).allCommitted()
	o.claims.Abandon([]uint64{4})
	r.lane.Wake()
	if err := lost.await()[0]; !errors.Is(err, errDropped) {
		t.Errorf("%v", err)
	}
	if err := kept.fate(0); err != nil {
		t.Errorf("its neighbour: %v", err)
	}
	leaving, _ := o.claims.Release([]uint64{3}) // its unit is committed before it goes
	o.away.Store(nil)
	<-leaving.Done()
	kept.allCommitted()
}

// How a transaction ended is found out from the groups that answer: what one of them has tells for
// all of it.
func TestOutcomeWhileAGroupIsAway(t *testing.T) {
	r := newRig(t)
	o := r.withAnother()
	r.push(1, 0, 1, value(9)).allCommitted()
	said := 0
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if said++; said != 1 {
			return nil, nil, false
		}
		o.away.Store(kerr.CoordinatorNotAvailable)
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
	theirs, mine := o.enter(r, 0, 1, value(20)), r.enter(1, 1, 1, value(10))
	r.lane.Push(txn.Run{Batch: theirs, From: 0, To: 1})
	r.lane.Push(txn.Run{Batch: mine, From: 0, To: 1})
	mine.allCommitted()
	if err := theirs.fate(0); err != nil {
		t.Errorf("%v", err)
	}
	if s := r.lane.Stats(); s.Unknown != 1 {
		t.Errorf("%+v", s)
	}
	o.away.Store(nil)
	theirs.allCommitted()
}

// entered is a unit of another partition that the other group holds.
func (r *rig) entered(o *another, epoch uint64, partition int32) *units {
	o.claims.Assign(o.of, o.member, []txn.Added{r.added(epoch, partition)})
	mine := r.claims
	r.claims = o.claims
	defer func() { r.claims = mine }()
	return r.enter(epoch, 0, 1, value(30))
}

// Without another group that waits, one that is away is tried on in the same window, as long as the
// transaction may last: a coordinator that moves costs no abort.
func TestNobodyElseWaits(t *testing.T) {
	r := newRig(t)
	o := r.withAnother()
	o.away.Store(kerr.CoordinatorNotAvailable)
	u := o.push(r, 0, 1, value(20))
	time.AfterFunc(2*txn.AwayAfter, func() { o.away.Store(nil) })
	u.allCommitted()
	if s := r.lane.Stats(); s.Aborted > 0 {
		t.Errorf("%+v", s)
	}
	r.push(1, 0, 1, value(10)).allCommitted()
}

// A group whose coordinator answers, and takes no offsets, is left alone for longer each time.
func TestAwayAgainAndAgain(t *testing.T) {
	r := newRig(t)
	o := r.withAnother()
	o.away.Store(kerr.UnknownServerError)
	o.answers.Store(true)
	u := o.push(r, 0, 1, value(20))
	for i := 0; o.sent.Load() < 2; i++ {
		r.push(1, i, 1, value(10+i)).allCommitted()
	}
	if n := r.lane.Stats().Aborted; n > 2 {
		t.Errorf("%d windows were aborted, and its offsets were sent twice", n)
	}
	o.away.Store(nil)
	u.allCommitted()
}

// Who comes with a wrong generation again and again is waited for once: later ones cost no
// patience, and wait for longer each time before they may cost anybody a window.
func TestWrongGenerationsCostLittle(t *testing.T) {
	r := newRig(t)
	wrong := r.member
	wrong.Generation += 1000
	sent := map[int32][]time.Time{} // by generation
	var mu sync.Mutex
	r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		g := kreq.(*kmsg.TxnOffsetCommitRequest).Generation
		sent[g] = append(sent[g], time.Now())
		return nil, nil, false
	})
	mine := r.claims
	r.claims = r.newClaims()
	of := txn.Holder{Group: "g"}
	first := wrong.Generation
	r.claims.Assign(of, wrong, []txn.Added{r.added(3, 1)})
	waiting := r.push(3, 0, 1, value(1))
	for n := range int64(5) {
		r.until("a window was aborted", func() bool { return r.lane.Stats().Aborted > n })
		wrong.Generation++
		r.claims.Assign(of, wrong, nil)
		r.lane.Wake()
	}
	r.claims.Assign(of, r.member, nil)
	r.lane.Wake()
	waiting.allCommitted()
	r.claims = mine
	r.push(1, 0, 1, value(2)).allCommitted()
	mu.Lock()
	defer mu.Unlock()
	for g := first + 1; g < first+5; g++ {
		if n := len(sent[g]); n != 1 {
			t.Errorf("generation %d was sent %d times", g, n)
		}
	}
	for n, want := range []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
		g := first + 1 + int32(n)
		if d := sent[g+1][0].Sub(sent[g][0]); d < want {
			t.Errorf("generation %d came %v after the one before, want at least %v", g+1, d, want)
		}
	}
}

// A group that may not be read any more, when nobody has said how a transaction ended: the
// coordinator has, and the lane goes on for the others.
func TestOutcomeThatMayNotBeRead(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	said := 0
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if said++; said != 1 {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
	asked := 0
	r.cluster.ControlKey(int16(kmsg.OffsetFetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if asked++; asked > 1 {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.OffsetFetchResponse)
		rg := kmsg.NewOffsetFetchResponseGroup()
		rg.Group, rg.ErrorCode = "g", kerr.GroupAuthorizationFailed.Code
		resp.Groups = append(resp.Groups, rg)
		return resp, nil, true
	})
	r.push(1, 5, 5, value(2)).allCommitted()
	if asked != 1 {
		t.Errorf("the group was asked %d times", asked)
	}
	r.check(20, map[int32]int64{0: 10})
}
