package txn_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/txn"
)

// Outputs and offsets of two partitions, filtered inputs among them, and windows of filtered inputs
// alone.
func TestOutputsWithTheirOffsets(t *testing.T) {
	r := newRig(t)
	a, b := r.push(1, 0, 50, value(1)), r.push(2, 0, 30, value(2))
	a.allCommitted()
	b.allCommitted()
	r.check(160, map[int32]int64{0: 50, 1: 30})
	for i := range 3 {
		r.push(2, 30+i, 1, none).allCommitted()
	}
	r.check(160, map[int32]int64{0: 50, 1: 33})
	if s := r.lane.Stats(); s.Aborted > 0 || s.Reinits > 0 {
		t.Errorf("%+v", s)
	}
}

// Inputs that end out of order: the done-set rides with the mark.
func TestOutOfOrder(t *testing.T) {
	r := newRig(t)
	late := r.enter(1, 0, 1, one)
	r.push(1, 1, 9, value(1)).allCommitted()
	offsets, err := r.admin.FetchOffsets(t.Context(), "g")
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := offsets.Lookup("in", 0); o.At != 0 || o.Metadata == "" {
		t.Errorf("%+v, want offset 0 with a done-set", o)
	}
	r.lane.Push(txn.Run{Batch: late, From: 0, To: 1})
	late.allCommitted()
	r.check(19, map[int32]int64{0: 10})
}

// refuseOffsets answers TxnOffsetCommits of the second partition so, n times.
func (r *rig) refuseOffsets(n int, code *kerr.Error) *int { return r.refuseFrom(1, n, code) }

// refuseFrom is refuseOffsets, of the partitions from a place in the request on.
func (r *rig) refuseFrom(place, n int, code *kerr.Error) *int {
	said := new(int)
	r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if *said == n {
			return nil, nil, false
		}
		req := kreq.(*kmsg.TxnOffsetCommitRequest)
		resp := req.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
		refused := false
		for _, rt := range req.Topics {
			st := kmsg.NewTxnOffsetCommitResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for i, rp := range rt.Partitions {
				sp := kmsg.NewTxnOffsetCommitResponseTopicPartition()
				if sp.Partition = rp.Partition; i >= place {
					sp.ErrorCode, refused = code.Code, true
				}
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		if !refused {
			return nil, nil, false
		}
		*said++
		return resp, nil, true
	})
	return said
}

// An offset that is refused, of the second partition of a request, keeps the whole window from
// being committed; the generation's successor takes it.
func TestRefusedOffset(t *testing.T) {
	r := newRig(t)
	said := r.refuseOffsets(1, kerr.UnknownServerError)
	a, b := r.enter(1, 0, 5, value(1)), r.enter(2, 0, 5, value(2))
	r.lane.Push(txn.Run{Batch: a, From: 0, To: 5})
	r.lane.Push(txn.Run{Batch: b, From: 0, To: 5})
	a.allCommitted()
	b.allCommitted()
	r.check(20, map[int32]int64{0: 5, 1: 5})
	if *said == 0 {
		t.Error("no offset was refused")
	}
}

// A member that the group does not know: its units fail, and what it holds is given up.
func TestMemberGone(t *testing.T) {
	r := newRig(t)
	r.member.MemberID = "somebody else"
	r.claims = r.newClaims()
	r.assign(1, 0)
	u := r.push(1, 0, 5, value(1))
	for i, err := range u.await() {
		if !errors.Is(err, txn.ErrMemberGone) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	if err := <-r.gone; !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("told %v", err)
	}
	if _, e := r.claims.Enter(1, 5, 5, 1); e != txn.Released {
		t.Errorf("a unit of what was given up: %v", e)
	}
	r.check(0, map[int32]int64{})
}

// A generation that is too old: the units wait for the membership that follows, and others go on.
func TestStaleGeneration(t *testing.T) {
	r := newRig(t)
	now := r.member
	r.member.Generation--
	r.assign(3, 0) // the membership of before
	u := r.push(2, 0, 5, value(2))
	r.awaitAbort()
	r.check(0, map[int32]int64{})
	r.claims.Assign(txn.Holder{Group: "g"}, now, nil)
	r.lane.Wake()
	u.allCommitted()
	r.check(10, map[int32]int64{1: 5})
}

// A record that the broker refuses, in a batch of others: it fails alone.
func TestPoison(t *testing.T) {
	r := newRig(t)
	r.cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		req := kreq.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		bad := false
		for _, rt := range req.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition = rp.Partition
				if slices.Contains(splitWords(rp.Records), "poison") {
					sp.ErrorCode, bad = kerr.MessageTooLarge.Code, true
				}
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, bad
	})
	r.push(1, 0, 1, value(0)).allCommitted() // the topic is known
	poison := map[int]bool{13: true, 40: true}
	u := r.push(1, 1, 60, func(i, j int) []byte {
		if j == 0 && poison[i] {
			return []byte(" poison ")
		}
		return value(1)(i, j)
	})
	for i, err := range u.await() {
		if poison[i] != errors.Is(err, kerr.MessageTooLarge) || !poison[i] && !errors.Is(err, errCommitted) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	for i := range poison { // their dead letters
		r.push(1, 1+i, 1, func(_, j int) []byte {
			if j > 0 {
				return nil
			}
			return fmt.Appendf(nil, "letter of %d", i)
		}).allCommitted()
	}
	r.check(2+2*58+2, map[int32]int64{0: 61})
}

// splitWords are the words of a batch that is not compressed.
func splitWords(batch []byte) (list []string) {
	for _, w := range slices.Collect(wordsOf(batch)) {
		list = append(list, string(w))
	}
	return list
}

func wordsOf(b []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		from := 0
		for i := 0; i <= len(b); i++ {
			if i < len(b) && b[i] != ' ' {
				continue
			}
			if i > from && !yield(b[from:i]) {
				return
			}
			from = i + 1
		}
	}
}

// A successor takes the ids: the older lane ends, saying so, and what it had is not visible.
func TestTaken(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	older := r.lane
	r.lane = r.newLane()
	t.Cleanup(r.lane.Close)
	u := r.enter(1, 5, 5, value(3))
	older.Push(txn.Run{Batch: u, From: 0, To: 5})
	for i, err := range u.await() {
		if !errors.Is(err, txn.ErrTaken) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	r.awaitTaken()
	r.check(10, map[int32]int64{0: 5})
	r.push(1, 5, 5, value(4)).allCommitted()
	r.check(20, map[int32]int64{0: 10})
}

// A partition that was given up while its window is open commits nothing; others of the window do.
func TestAbandoned(t *testing.T) {
	r := newRig(t)
	var leaving *txn.Leaving
	var once sync.Once
	r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		once.Do(func() { // its offset is on its way: only the end can be kept from going out
			leaving, _ = r.claims.Release([]uint64{1})
			r.claims.Abandon([]uint64{1})
		})
		return nil, nil, false
	})
	a, b := r.enter(1, 0, 5, value(1)), r.enter(2, 0, 5, value(2))
	r.lane.Push(txn.Run{Batch: a, From: 0, To: 5})
	r.lane.Push(txn.Run{Batch: b, From: 0, To: 5})
	for i, err := range a.await() {
		if !errors.Is(err, errDropped) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	b.allCommitted()
	<-leaving.Done()
	r.check(10, map[int32]int64{1: 5})
}

// A release in order is over when its units are committed.
func TestRelease(t *testing.T) {
	r := newRig(t)
	u := r.push(1, 0, 5, value(1))
	leaving, gone := r.claims.Release([]uint64{1, 9})
	r.lane.Flush()
	select {
	case <-leaving.Done():
	case <-time.After(limit):
		t.Fatal("it is never over")
	}
	u.allCommitted()
	if !slices.Equal(gone, []uint64{1}) {
		t.Errorf("released are %v", gone)
	}
	r.check(10, map[int32]int64{0: 5})
}

// The answer to EndTxn says something that leaves the outcome open, and it was not done.
func TestUnknownEndNotDone(t *testing.T) {
	r := newRig(t)
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
	u := r.push(1, 0, 5, value(1))
	u.allCommitted()
	r.check(10, map[int32]int64{0: 5})
	if s := r.lane.Stats(); s.Unknown != 1 || s.Windows < 1 {
		t.Errorf("%+v", s)
	}
}

// A release of several assignments is over when the last of their units is.
func TestReleaseOfSeveral(t *testing.T) {
	c := txn.NewClaims(nil)
	core := func() *assignment.Assignment { return assignment.New(assignment.Spec{Committed: -1, Limit: 10}) }
	c.Assign(txn.Holder{Group: "g"}, groupcommit.Member{Group: "g", MemberID: "m"}, []txn.Added{
		{Epoch: 1, Topic: "in", Core: core()}, {Epoch: 2, Topic: "in", Partition: 1, Core: core()}, {Epoch: 3, Topic: "in", Partition: 2, Core: core()}})
	if _, e := c.Enter(2, 0, 0, 1); e != txn.Entered {
		t.Fatal(e)
	}
	leaving, gone := c.Release([]uint64{1, 2, 3})
	if len(gone) != 3 {
		t.Errorf("released are %v", gone)
	}
	again, gone := c.Release([]uint64{1, 2, 3})
	if leaving.Over() || again.Over() {
		t.Error("it is over before its unit is decided")
	}
	if len(gone) > 0 {
		t.Errorf("released twice: %v", gone)
	}
	if got := c.Live(); !slices.Equal(got, []uint64{2}) {
		t.Errorf("live are %v", got)
	}
}

// awaitAbort waits until a window was aborted.
func (r *rig) awaitAbort() {
	r.t.Helper()
	r.until("a window was aborted", func() bool { return r.lane.Stats().Aborted > 0 })
}

// cutting is a connection whose peer does a request of which nobody hears.
type cutting struct {
	net.Conn
	r   *rig
	now atomic.Bool
}

func (c *cutting) Write(b []byte) (int, error) {
	if len(b) > 6 {
		switch key := kmsg.Key(binary.BigEndian.Uint16(b[4:])); {
		case key == kmsg.EndTxn && c.r.cut.CompareAndSwap(true, false), key == kmsg.InitProducerID && namesAnEpoch(b) && c.r.cutInit.CompareAndSwap(1, 0):
			c.now.Store(true)
		}
	}
	return c.Conn.Write(b)
}

func namesAnEpoch(b []byte) bool { return !bytes.Contains(b, bytes.Repeat([]byte{0xff}, 10)) }

func (c *cutting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.now.Load() {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

// The answer to EndTxn is lost after the coordinator has done it, and what it says the second time
// leaves the outcome open: the offsets tell that it is committed, and nothing is written again.
func TestUnknownEndDone(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	r.cut.Store(true)
	said := 0
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if said++; said != 2 {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
	r.push(1, 5, 5, value(2)).allCommitted()
	r.check(20, map[int32]int64{0: 10})
	if s := r.lane.Stats(); s.Unknown != 1 || s.Aborted > 0 || s.Windows != 2 {
		t.Errorf("%+v", s)
	}
}

// Units of an aborted window come before those that came while it was open.
func TestOrderAfterAnAbort(t *testing.T) {
	r := newRig(t)
	same := func(at int) func(int, int) []byte {
		return func(i, j int) []byte {
			if j > 0 {
				return nil
			}
			return fmt.Appendf(nil, "%04d", at+i)
		}
	}
	all := []*units{r.enter(1, 0, 5, same(0)), r.enter(2, 0, 5, same(5)), r.enter(2, 5, 5, same(10))}
	for _, u := range all {
		u.key = []byte("k")
	}
	pushed := make(chan struct{})
	var once sync.Once
	r.cluster.ControlKey(int16(kmsg.TxnOffsetCommit), func(kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		<-pushed
		once.Do(func() { r.lane.Push(txn.Run{Batch: all[2], From: 0, To: 5}) })
		return nil, nil, false
	})
	said := r.refuseFrom(0, 3, kerr.UnknownServerError)
	for _, u := range all[:2] {
		r.lane.Push(txn.Run{Batch: u, From: 0, To: 5})
	}
	close(pushed)
	for _, u := range all {
		u.allCommitted()
	}
	r.check(15, map[int32]int64{0: 5, 1: 10})
	if !slices.IsSorted(r.read) || *said != 3 {
		t.Errorf("after %d refusals, in the log's order: %q", *said, r.read)
	}
}

// Without a membership nothing is committed: an empty group would take it from anyone.
func TestNoMembership(t *testing.T) {
	r := newRig(t)
	r.claims = r.newClaims()
	core := assignment.New(assignment.Spec{TopicID: r.topicID, Committed: -1, Limit: 10})
	r.claims.Assign(txn.Holder{Group: "empty"}, groupcommit.Member{Group: "empty"}, []txn.Added{{Epoch: 1, Topic: "in", TopicID: r.topicID, Core: core}})
	r.push(1, 0, 5, value(1))
	r.awaitAbort()
	r.check(0, map[int32]int64{})
	if got, _ := r.admin.FetchOffsets(t.Context(), "empty"); len(got) > 0 {
		t.Errorf("committed by nobody: %v", got)
	}
}

// The facts about the Kafka client that this package stands on. If a newer one changes them, look
// at mayEnd and endTxn before anything else.
func TestFactsOfTheClient(t *testing.T) {
	r := newRig(t)
	cl := r.client(kgo.TransactionalID("facts"))
	epoch := func() int16 {
		_, e, err := cl.ProducerID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	before := epoch()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil || epoch() != before {
		t.Errorf("a transaction without a record: %v, epoch %d after %d; it used to say nil and to end nothing", err, epoch(), before)
	}
	// A produce that fails, and a commit that says nil all the same: it was an abort.
	r.cluster.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		req := kreq.(*kmsg.ProduceRequest)
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		for _, rt := range req.Topics {
			st := kmsg.NewProduceResponseTopic()
			st.Topic, st.TopicID = rt.Topic, rt.TopicID
			for _, rp := range rt.Partitions {
				sp := kmsg.NewProduceResponseTopicPartition()
				sp.Partition, sp.ErrorCode = rp.Partition, kerr.InvalidRecord.Code
				st.Partitions = append(st.Partitions, sp)
			}
			resp.Topics = append(resp.Topics, st)
		}
		return resp, nil, true
	})
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "out", Value: []byte("v")}).FirstErr(); !errors.Is(err, kerr.InvalidRecord) {
		t.Fatalf("the record is %v", err)
	}
	if err := cl.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Errorf("a commit of nothing that was written says %v; it used to say nil, and to abort", err)
	}
	r.check(0, map[int32]int64{})
}

// What is pushed to a lane that was closed fails, and nothing of it is visible.
func TestClosed(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	u := r.enter(1, 5, 5, value(1))
	r.lane.Close()
	r.lane.Push(txn.Run{Batch: u, From: 0, To: 5})
	for i, err := range u.await() {
		if !errors.Is(err, txn.ErrClosed) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	r.check(10, map[int32]int64{0: 5})
}

// Offsets behind the last input, of control records, are committed too.
func TestCrossed(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	run, due := r.claims.Crossed(1, 8)
	if !due {
		t.Fatal("there is nothing to commit")
	}
	r.lane.Push(run)
	leaving, _ := r.claims.Release([]uint64{1})
	r.lane.Flush()
	<-leaving.Done()
	r.check(10, map[int32]int64{0: 8})
	if _, due := r.claims.Crossed(1, 9); due {
		t.Error("a released claim has something to commit")
	}
}
