package lastwill_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/lastwill"
)

const none = int64(-1)

func TestExecute(t *testing.T) {
	both := [2]int64{5, 7}
	for name, c := range map[string]struct {
		will  func(w *lastwill.Will)
		group func(g *group)

		want       [2]int64
		asked      []string // nil: not looked at
		partitions int
		repaired   int
		superseded error
		stays      bool  // the group is not left
		err        error // in Err
		says       string
		within     time.Duration
	}{
		"nothing is committed yet": {want: both, partitions: 2, asked: []string{"offsets", "commit", "offsets", "leave"}},
		"all is committed already": {
			group: func(g *group) { _, _ = g.rewind(0, 5)(), g.rewind(1, 9)() },
			want:  [2]int64{5, 9}, asked: []string{"offsets", "leave"},
		},
		"it held nothing": {
			will: func(w *lastwill.Will) { w.Standings = nil },
			want: [2]int64{none, none}, asked: []string{"leave"},
		},
		"it never said what member it was": {
			will: func(w *lastwill.Will) { w.Member.MemberID = "" },
			want: [2]int64{none, none}, asked: []string{}, stays: true,
		},
		"a static member does not leave": {
			will: func(w *lastwill.Will) { w.Member.InstanceID = "i" },
			want: both, partitions: 2, asked: []string{"offsets", "commit", "offsets"}, stays: true,
		},
		"units are still on their way": {
			will: func(w *lastwill.Will) { w.Remain = true },
			want: both, partitions: 2, asked: []string{"offsets", "commit", "offsets"}, stays: true,
		},
		"a late commit is repaired": {
			group: func(g *group) { g.script["offsets"] = []func() error{fails(nil), g.rewind(1, 2)} },
			want:  both, partitions: 2, repaired: 1, asked: []string{"offsets", "commit", "offsets", "commit", "offsets", "leave"},
		},
		"a late commit that says more is left alone": {
			group: func(g *group) { g.script["offsets"] = []func() error{fails(nil), g.rewind(1, 8)} },
			want:  [2]int64{5, 8}, partitions: 2, asked: []string{"offsets", "commit", "offsets", "leave"},
		},
		"a late commit takes back what was secured": {
			will:  func(w *lastwill.Will) { w.Secured = map[lastwill.Partition]int64{{Topic: "t", Index: 1}: 7} },
			group: func(g *group) { _, _ = g.rewind(0, 5)(), g.rewind(1, 2)() },
			want:  both, partitions: 1, repaired: 1,
		},
		"somebody else rewinds for ever": {
			group: func(g *group) { g.always["offsets"] = g.rewind(0, 2) },
			want:  both, repaired: 5, says: "taken back 5 times", within: time.Second,
		},
		"the connection breaks now and then": {
			group: func(g *group) {
				for _, kind := range []string{"offsets", "commit", "leave"} {
					g.script[kind] = times(3, fails(io.EOF))
				}
			},
			want: both, partitions: 2, within: 2 * time.Second,
		},
		"the coordinator moves, and a rebalance goes on": {
			group: func(g *group) {
				g.script["commit"] = []func() error{fails(kerr.NotCoordinator), fails(kerr.RebalanceInProgress)}
				g.script["leave"] = []func() error{fails(kerr.CoordinatorNotAvailable)}
			},
			want: both, partitions: 2, within: 2 * time.Second,
		},
		"no broker answers": {
			group: func(g *group) { g.always["offsets"] = fails(io.EOF) },
			want:  [2]int64{none, none}, stays: true, err: context.DeadlineExceeded, within: time.Minute,
		},
		"the broker does not know the member": {
			group: func(g *group) { g.members = nil },
			want:  [2]int64{none, none}, superseded: kerr.UnknownMemberID,
		},
		"a static member's id was taken over": {
			will:  func(w *lastwill.Will) { w.Member.InstanceID = "i" },
			group: func(g *group) { g.script["commit"] = times(1, fails(kerr.FencedInstanceID)) },
			want:  [2]int64{none, none}, superseded: kerr.FencedInstanceID, stays: true,
		},
		"the sidecar may not commit": {
			group: func(g *group) { g.script["commit"] = times(1, fails(kerr.GroupAuthorizationFailed)) },
			want:  [2]int64{none, none}, err: kerr.GroupAuthorizationFailed, says: "grant READ on the group to the sidecar's principal",
		},
		"the sidecar may not commit a topic": {
			group: func(g *group) { g.script["commit"] = times(1, fails(kerr.TopicAuthorizationFailed)) },
			want:  [2]int64{none, none}, err: kerr.TopicAuthorizationFailed, says: "grant READ on the topic to the sidecar's principal",
		},
		"the topic goes while it commits": {
			group: func(g *group) {
				g.script["commit"] = []func() error{func() error {
					g.topics["t"] = lastwill.Topic{Gone: true}
					return kerr.UnknownTopicOrPartition
				}}
			},
			want: [2]int64{none, none}, partitions: 2,
		},
		"the topic is another one": {
			group: func(g *group) { g.topics["t"] = lastwill.Topic{ID: [16]byte{2}} },
			want:  [2]int64{none, none}, asked: []string{"offsets", "leave"},
		},
		"the broker refuses the leave": {
			group: func(g *group) { g.script["leave"] = times(1, fails(kerr.GroupAuthorizationFailed)) },
			want:  both, partitions: 2, stays: true, err: kerr.GroupAuthorizationFailed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			g, w := newGroup(), will()
			if c.group != nil {
				c.group(g)
			}
			if c.will != nil {
				c.will(w)
			}
			var did lastwill.Result
			took := inTime(t, func(ctx context.Context) { did = w.Execute(ctx, g) })
			if got := g.has(); got != c.want {
				t.Errorf("committed %v, want %v", got, c.want)
			}
			if c.asked != nil && !slices.Equal(g.asked, c.asked) {
				t.Errorf("asked %v, want %v", g.asked, c.asked)
			}
			if did.Partitions != c.partitions || did.Repaired != c.repaired || did.Left == c.stays {
				t.Errorf("%+v, want %d partitions, %d repaired, left: %v", did, c.partitions, c.repaired, !c.stays)
			}
			if !errors.Is(did.Superseded, c.superseded) || (did.Superseded == nil) != (c.superseded == nil) {
				t.Errorf("superseded by %v, want %v", did.Superseded, c.superseded)
			}
			if wanted := c.err != nil || c.says != ""; (did.Err != nil) != wanted || c.err != nil && !errors.Is(did.Err, c.err) ||
				wanted && !strings.Contains(did.Err.Error(), c.says) {
				t.Errorf("error %v, want %v with %q", did.Err, c.err, c.says)
			}
			if i := w.Member.InstanceID; i != "" && !slices.Equal(g.static, []string{i}) {
				t.Errorf("the commits are of the instances %q, want %q", g.static, i)
			}
			if took > c.within {
				t.Errorf("it took %v, at most %v were expected", took, c.within)
			}
		})
	}
}

// Brokers that take less metadata than Kafka's default get the offsets alone.
func TestMetadataTooLarge(t *testing.T) {
	g, w := newGroup(), will()
	w.Standings = []lastwill.Standing{at(1, 5, donemeta.Run{First: 7, Last: 8})}
	g.script["commit"] = times(1, fails(kerr.OffsetMetadataTooLarge))
	var did lastwill.Result
	inTime(t, func(ctx context.Context) { did = w.Execute(ctx, g) })
	if c := g.committed[lastwill.Partition{Topic: "t"}]; c.Offset != 5 || c.Metadata != "" || did.Err != nil || g.count("commit") != 2 {
		t.Errorf("committed %+v in %d tries, %v; want 5 without a set in 2", c, g.count("commit"), did.Err)
	}
	if len(w.Standings[0].Done) != 1 {
		t.Error("the will itself was changed: it could not be executed again")
	}
}

// A commit that was sent is awaited, also when the will's time is over (S3): given up, it could
// reach the broker after a later one. Nothing is begun after it.
func TestSentCommitIsAwaited(t *testing.T) {
	g := newGroup()
	g.script["commit"] = []func() error{happens(func() { time.Sleep(3 * time.Second) })}
	var did lastwill.Result
	took := inTime(t, func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		did = will().Execute(ctx, g)
	})
	if took != 3*time.Second || !errors.Is(did.Err, context.DeadlineExceeded) || did.Left {
		t.Errorf("%+v after %v; want the commit's answer awaited for 3s", did, took)
	}
	if want := []string{"offsets", "commit"}; !slices.Equal(g.asked, want) || g.has() != [2]int64{5, 7} {
		t.Errorf("asked %v, committed %v; want %v and both", g.asked, g.has(), want)
	}
}

// What has much to say goes out in requests that a broker takes (D3).
func TestMuchIsSplit(t *testing.T) {
	g, w := newGroup(), will()
	w.Standings = nil
	var above []donemeta.Run
	for o := int64(2); o < donemeta.MaxSpan; o += 2 {
		above = append(above, donemeta.Run{First: o, Last: o})
	}
	const partitions = 300
	for p := range int32(partitions) {
		s := at(uint64(p)+1, 1, above...)
		s.Partition = p
		w.Standings = append(w.Standings, s)
	}
	var did lastwill.Result
	inTime(t, func(ctx context.Context) { did = w.Execute(ctx, g) })
	if did.Err != nil || did.Partitions != partitions || len(g.committed) != partitions || g.count("commit") < 2 {
		t.Errorf("%d of %d partitions are committed in %d requests, %v", len(g.committed), did.Partitions, g.count("commit"), did.Err)
	}
	size := 0
	for _, c := range g.committed {
		size += len(c.Metadata)
	}
	if size <= groupcommit.MaxRequest {
		t.Fatalf("%d bytes fit into one request: nothing is proven", size)
	}
}

// A first commit leaves the group alone, and a will that comes after it knows what it has made.
func TestSecure(t *testing.T) {
	g, w := newGroup(), will()
	inTime(t, func(ctx context.Context) {
		first := w.Secure(ctx, g)
		if want := []string{"offsets", "commit", "offsets"}; first.Err != nil || first.Left || !slices.Equal(g.asked, want) {
			t.Errorf("%+v, asked %v; want %v", first, g.asked, want)
		}
		w.Secured = first.Committed
		_ = g.rewind(0, 1)()
		if did := w.Execute(ctx, g); did.Repaired != 1 || !did.Left || g.has() != [2]int64{5, 7} {
			t.Errorf("%+v, committed %v; want one repair", did, g.has())
		}
		if first.Committed[lastwill.Partition{Topic: "t"}] != 5 {
			t.Error("what the first commit returned was changed")
		}
	})
}
