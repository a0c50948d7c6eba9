package producer_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// committing welcomes with the feature exactly-once, if the sidecar has it, and never goes on with
// a session.
func committing(x *script, has bool) {
	x.hello = func(h *sidecarpb.Hello) (*sidecarpb.Welcome, error) {
		w := &sidecarpb.Welcome{Version: 1, SidecarId: x.id, Credit: x.credit, MaxMessageBytes: 1 << 20, ServerVersion: "v9"}
		if has && slices.Contains(h.GetFeatures(), "exactly-once") {
			w.Features, w.TransactionalId = []string{"exactly-once"}, "pod-0"
		}
		return w, nil
	}
}

func commitUnits(t *testing.T, p producer.Producer) {
	t.Helper()
	if err := p.(producer.Committer).CommitUnits(); err != nil {
		t.Fatal(err)
	}
}

// A client that is exactly-once sends nothing to a sidecar that commits no offsets, and says what
// to do.
func TestExactlyOnceNeedsItsSidecar(t *testing.T) {
	bubble(t, func(x *script) { committing(x, false) }, func(t *testing.T, x *script, p producer.Producer) {
		refused := make(chan *producer.Error, 1)
		p.(producer.Refuser).OnRefused(func(e *producer.Error) { refused <- e })
		commitUnits(t, p)
		r := deliver(t, p, numbered(2)...)
		synctest.Wait()
		var e *producer.Error
		select {
		case e = <-refused:
		default:
			t.Fatalf("it goes on with that sidecar: %v were received", x.records("t"))
		}
		wrong, ok := errors.AsType[*producer.ConfigError](e)
		if !ok || e.Retryable || e.Code != producer.CodeInvalidConfig || wrong.Field != "Mode" || !strings.Contains(wrong.Remedy, "--transactional-id") || !strings.Contains(wrong.Remedy, "v9") {
			t.Errorf("refused with %v", e)
		}
		r.Wait(t.Context())
		if got := x.records("t"); len(got) > 0 {
			t.Errorf("%v went to that sidecar", got)
		}
	})
}

// Who begins a session anew says that units of its assignments may be committed. So is told what
// lies behind the last input; and the process learns that its group does not know it.
func TestExactlyOnceTellsWhatMayBeCommitted(t *testing.T) {
	var crossed atomic.Int64
	bubble(t, func(x *script) {
		committing(x, true)
		x.control = func(_ *session, m *sidecarpb.DeliveryStreamRequest) error {
			if c := m.GetCrossed(); c != nil && c.GetEpoch() == 1 {
				crossed.Store(c.GetOffset())
			}
			return nil
		}
	}, func(t *testing.T, x *script, p producer.Producer) {
		var fenced atomic.Pointer[producer.Error]
		var times atomic.Int32
		p.(producer.Fencer).OnFenced(func(e *producer.Error) { fenced.Store(e); times.Add(1) })
		commitUnits(t, p)
		member := producer.Membership{Group: "g", MemberID: "m", Generation: 1, Consumer: 3}
		if err := p.Assign(t.Context(), member, []producer.Assignment{{Epoch: 1, Topic: "in", TopicID: [16]byte{1}}}); err != nil {
			t.Fatal(err)
		}
		resumed := func(n int) bool {
			t.Helper()
			for x.sessionCount() <= n {
				time.Sleep(10 * time.Millisecond)
			}
			synctest.Wait()
			s := x.session(n)
			x.mu.Lock()
			defer x.mu.Unlock()
			if len(s.assigns) == 0 {
				t.Fatalf("nothing was assigned on stream %d", n)
			}
			return s.assigns[0].GetPartitions()[0].GetResumed()
		}
		if resumed(0) {
			t.Error("the first session tells of units that were sent before")
		}
		p.(producer.Committer).Crossed(1, 17)
		p.(producer.Committer).Crossed(2, 18)
		synctest.Wait()
		if crossed.Load() != 17 {
			t.Errorf("crossed %d", crossed.Load())
		}
		x.session(0).closing <- errCut
		if !resumed(1) {
			t.Error("the second session does not tell that units may be committed")
		}
		for _, id := range []string{"former", "m"} {
			x.session(1).down(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_MemberFenced{
				MemberFenced: &sidecarpb.MemberFenced{Group: "g", Consumer: 3, MemberId: id, Reason: "UNKNOWN_MEMBER_ID"},
			}})
		}
		synctest.Wait()
		if e := fenced.Load(); times.Load() != 1 || e.Code != producer.CodeMemberFenced || !strings.Contains(e.Message, "UNKNOWN_MEMBER_ID") {
			t.Errorf("fenced %d times: %v", times.Load(), e)
		}
	})
}

// What would go another way than through the sidecar's transactions is refused with field and
// remedy.
func TestExactlyOnceRefusesOtherWays(t *testing.T) {
	field := func(err error) string {
		if wrong, ok := errors.AsType[*producer.ConfigError](err); ok && wrong.Remedy != "" {
			return wrong.Field
		}
		return "none"
	}
	bubble(t, func(x *script) { committing(x, true) }, func(t *testing.T, x *script, p producer.Producer) {
		cfg := x.config()
		cfg.Fallback = producer.FallbackConfig{Mode: producer.OnUnavailable, Direct: producer.DirectConfig{Brokers: []string{"localhost:1"}}}
		other := cfg.New()
		if err := other.(producer.Committer).CommitUnits(); field(err) != "Fallback.Mode" {
			t.Errorf("with a fallback: %v", err)
		}
		_ = other.Close()

		cfg.Fallback.Mode = producer.Off
		other = cfg.New()
		commitUnits(t, other)
		if err := other.(producer.Switcher).SetFallback(producer.OnUnavailable); field(err) != "Fallback.Mode" {
			t.Errorf("switched to a fallback: %v", err)
		}
		_ = other.Close()

		deliver(t, p, numbered(1)...).Wait(t.Context())
		if err := p.(producer.Committer).CommitUnits(); field(err) != "Producer" {
			t.Errorf("in use at-least-once: %v", err)
		}
	})
}

// A stream may break before the sidecar has heard of all assignments, or while it asks what their
// groups have: where the session goes on, too, it is told that their units may be committed.
func TestExactlyOnceTellsWhatMayBeCommittedAgain(t *testing.T) {
	bubble(t, func(x *script) {
		n := 0
		x.hello = func(h *sidecarpb.Hello) (*sidecarpb.Welcome, error) {
			n++
			return &sidecarpb.Welcome{Version: 1, SidecarId: x.id, Credit: x.credit, MaxMessageBytes: 1 << 20, Resumed: n == 3,
				Features: []string{"exactly-once", "resume"}, TransactionalId: "pod-0"}, nil
		}
	}, func(t *testing.T, x *script, p producer.Producer) {
		commitUnits(t, p)
		if err := p.Assign(t.Context(), producer.Membership{Group: "g", MemberID: "m", Generation: 1}, []producer.Assignment{{Epoch: 1, Topic: "in", TopicID: [16]byte{1}}}); err != nil {
			t.Fatal(err)
		}
		for n, want := range []bool{false, true, true} {
			for x.sessionCount() <= n {
				time.Sleep(10 * time.Millisecond)
			}
			synctest.Wait()
			s := x.session(n)
			x.mu.Lock()
			if len(s.assigns) == 0 {
				t.Fatalf("nothing was assigned on stream %d", n)
			}
			got := s.assigns[0].GetPartitions()[0].GetResumed()
			x.mu.Unlock()
			if got != want {
				t.Errorf("stream %d: units may be committed: %v, want %v", n, got, want)
			}
			if n < 2 {
				s.closing <- errCut
			}
		}
	})
}

// On the stream that goes on, what was released is told before the membership of now: it is
// committed under that of its release, which its group refuses if others have its partition.
func TestClientReleasesBeforeItAssigns(t *testing.T) {
	var released atomic.Int32 // the generation that the sidecar knew by then
	resuming(t, func(x *script) {
		x.units = func(*session, *sidecarpb.Units) error { return nil }
		x.control = func(s *session, m *sidecarpb.DeliveryStreamRequest) error {
			if m.GetRelease() != nil {
				x.mu.Lock()
				defer x.mu.Unlock()
				known := int32(0)
				for _, a := range s.assigns {
					known = a.GetGeneration()
				}
				released.Store(known + 1)
			}
			return nil
		}
	}, func(t *testing.T, x *script, p producer.Producer) {
		m := producer.Membership{Group: "g", MemberID: "m", Generation: 7}
		if err := p.Assign(t.Context(), m, []producer.Assignment{{Epoch: 1}, {Epoch: 2}}); err != nil {
			t.Fatal(err)
		}
		deliver(t, p, producer.Unit{Source: producer.Source{Epoch: 1}, Outputs: []producer.Record{record1("k", "0")}})
		synctest.Wait()
		x.session(0).closing <- errCut
		time.Sleep(time.Millisecond) // the client sees it, and has not connected again
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Release(ctx, []uint64{1}); !errors.Is(err, context.Canceled) {
			t.Fatalf("Release: %v", err)
		}
		m.Generation = 8
		if err := p.Assign(t.Context(), m, nil); err != nil {
			t.Fatal(err)
		}
		if x.sessionCount() != 1 {
			t.Fatal("the client was back too early for this test")
		}
		time.Sleep(time.Second)
		if got := released.Load(); got != 1 {
			t.Errorf("released when the sidecar knew generation %d", got-1)
		}
		x.session(1).acked(1, 1)
	})
}
