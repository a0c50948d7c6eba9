package txn_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/txn"
)

// The input topic is created anew while units of the old one come in. Its offsets are of another
// log: they are refused, also where the coordinator takes offsets by a topic's name, as before
// Kafka 4.4 (S11).
func TestOffsetsOfATopicCreatedAnew(t *testing.T) {
	for name, opts := range map[string][]kfake.Opt{"by name": {kfake.MaxVersions(kversion.V4_1_0())}, "by id": nil} {
		t.Run(name, func(t *testing.T) {
			r := newRigWith(t, 10*time.Millisecond, opts...)
			r.push(1, 0, 3, one).allCommitted()
			if err := errors.Join(r.cluster.DeleteTopic("in"), r.cluster.CreateTopic("in", 2, nil)); err != nil {
				t.Fatal(err)
			}
			for i, err := range r.push(1, 3, 3, one).await() {
				if of, ok := errors.AsType[*txn.OffsetError](err); !ok || !errors.Is(of.Err, kerr.UnknownTopicID) {
					t.Errorf("unit %d: %v, want %v", i, err, kerr.UnknownTopicID)
				}
			}
			if got := r.committed()[0]; got > 3 {
				t.Errorf("the new topic's inputs below %d are committed, and nobody has read one", got)
			}
			if got := r.outputs(); len(got) != 3 {
				t.Errorf("outputs: %q", got)
			}
		})
	}
}

// byName is two groups with a topic each, whose offsets go by the topics' names.
type byName struct {
	*rig
	other  *another
	asked  atomic.Int64 // questions about the topics
	refuse atomic.Bool  // nobody answers them
	aborts chan txn.Abort
}

func newByName(t *testing.T) *byName {
	r := &byName{rig: newRigWith(t, 10*time.Millisecond, kfake.MaxVersions(kversion.V4_1_0())), aborts: make(chan txn.Abort, 99)}
	r.other = r.withAnother()
	r.lane.Close()
	r.lane = r.newLane(func(cfg *txn.Config) {
		cfg.Shared, cfg.Aborted = true, func(a txn.Abort) { r.aborts <- a }
	})
	t.Cleanup(r.lane.Close)
	r.other.claims.Assign(r.other.of, r.other.member, []txn.Added{r.topic(11, "of-other")})
	r.claims.Assign(txn.Holder{Group: "g"}, r.member, []txn.Added{r.topic(10, "of-g")})
	r.cluster.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		for _, topic := range kreq.(*kmsg.MetadataRequest).Topics {
			if topic.Topic != nil && (*topic.Topic == "of-g" || *topic.Topic == "of-other") {
				r.asked.Add(1)
				if r.refuse.Load() {
					return nil, errors.New("the connection ends"), true
				}
				break
			}
		}
		return nil, nil, false
	})
	return r
}

// topic is an assignment of a topic that is made for it.
func (r *byName) topic(epoch uint64, name string) txn.Added {
	r.t.Helper()
	if err := r.cluster.CreateTopic(name, 1, nil); err != nil {
		r.t.Fatal(err)
	}
	topics, err := r.admin.ListTopics(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	id := topics[name].ID
	return txn.Added{Epoch: epoch, Topic: name, TopicID: id, Core: assignment.New(assignment.Spec{TopicID: id, Committed: -1, Limit: 1 << 12})}
}

// push pushes a unit of each group.
func (r *byName) push(at int) []*units {
	r.t.Helper()
	mine := r.enter(10, at, 1, value(at))
	claims := r.claims
	r.claims = r.other.claims
	others := r.enter(11, at, 1, value(1000+at))
	r.claims = claims
	for _, u := range []*units{mine, others} {
		r.lane.Push(txn.Run{Batch: u, From: 0, To: 1})
	}
	return []*units{mine, others}
}

// Where offsets go by a topic's name, one question in each window is for all its groups.
func TestTopicsAreAskedForOnceInAWindow(t *testing.T) {
	r := newByName(t)
	for i := range 10 {
		for _, u := range r.push(i) {
			u.allCommitted()
		}
	}
	if s, n := r.lane.Stats(), r.asked.Load(); n > s.Windows || n == 0 || s.Windows > 15 {
		t.Errorf("%d questions in %d windows", n, s.Windows)
	}
}

// Nobody answers what the topics are: that is no group's fault. Their coordinators are there, and
// the window waits.
func TestNobodyTellsTheTopics(t *testing.T) {
	r := newByName(t)
	for _, u := range r.push(0) {
		u.allCommitted()
	}
	r.refuse.Store(true)
	begun, asked, probed := time.Now(), r.asked.Load(), r.other.asked.Load() // the latter by its member
	us := r.push(1)
	r.until("it is asked", func() bool { return r.asked.Load() > asked })
	us = append(us, r.push(2)...) // others wait
	r.until("it takes longer than a group has", func() bool { return time.Since(begun) > 3*txn.AwayAfter })
	r.refuse.Store(false)
	for _, u := range us {
		u.allCommitted()
	}
	for range len(r.aborts) {
		t.Errorf("%v", <-r.aborts)
	}
	if n := r.other.asked.Load() - probed; n > 0 {
		t.Errorf("the group's coordinator was asked %d times whether it is there", n)
	}
}
