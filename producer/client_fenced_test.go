package producer_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A session that the sidecar has closed is over: what was on its way fails once, nothing of it is
// sent again, its epochs are released, and a new session under another name begins. The owner of
// the partitions hears of it once.
func TestClientFenced(t *testing.T) {
	for name, fence := range map[string]func(*script){
		"at Hello": func(x *script) { x.fence() },
		"on the stream": func(x *script) {
			x.session(0).closing <- status.Error(codes.Aborted, "SESSION_FENCED: a will was executed")
		},
	} {
		t.Run(name, func(t *testing.T) {
			resuming(t, func(x *script) {
				x.units = func(s *session, u *sidecarpb.Units) error {
					if x.session(0) != s {
						s.writeAndAck(u)
					}
					return nil
				}
			}, func(t *testing.T, x *script, p producer.Producer) {
				var calls atomic.Int64
				p.(producer.Fencer).OnFenced(func(err *producer.Error) {
					if err.Code != producer.CodeSessionFenced {
						t.Errorf("OnFenced was told %v", err)
					}
					calls.Add(1)
				})
				m := producer.Membership{Group: "g", MemberID: "m"}
				if err := p.Assign(t.Context(), m, []producer.Assignment{{Epoch: 1}, {Epoch: 2}}); err != nil {
					t.Fatal(err)
				}
				unit := func(epoch uint64, value string) producer.Unit {
					return producer.Unit{Source: producer.Source{Epoch: epoch}, Outputs: []producer.Record{record1("k", value)}}
				}
				r := deliver(t, p, unit(1, "a"), unit(2, "b"), unit(0, "emitted"))
				synctest.Wait()
				fence(x)
				time.Sleep(time.Second)
				for i, f := range r.Fates() {
					if f.Err == nil || f.Err.Code != producer.CodeSessionFenced || f.Err.Retryable != (i == 2) {
						t.Errorf("unit %d: %v, want %s, retryable only without an input", i, f.Err, producer.CodeSessionFenced)
					}
				}
				if n := calls.Load(); n != 1 {
					t.Errorf("OnFenced was called %d times", n)
				}
				late := deliver(t, p, unit(1, "late"), unit(0, "new"))
				wait(t, late)
				if f := late.Fates(); f[0].Err == nil || f[0].Err.Code != producer.CodeReleased || f[1].Err != nil {
					t.Errorf("after the fence: %+v", f)
				}
				if err := p.Release(t.Context(), []uint64{1, 2}); err != nil {
					t.Errorf("Release of what was lost: %v", err)
				}
				if got := values(x.records("t")); got != "new" {
					t.Errorf("written: %s, want nothing of before the fence", got)
				}
				first, second := x.session(0), x.session(1)
				if a, b := first.hello.GetSessionId(), second.hello.GetSessionId(); a == b || !strings.HasPrefix(b, a+".") {
					t.Errorf("session %q was followed by %q", a, b)
				}
				if second.hello.GetPreviousSidecarId() != "" || len(second.assigns) != 0 {
					t.Errorf("the new session begins with %v and %v", second.hello, second.assigns)
				}
				if err := p.Assign(t.Context(), producer.Membership{Group: "g", MemberID: "m2"}, []producer.Assignment{{Epoch: 3}}); err != nil {
					t.Fatal(err)
				}
				mustBeAcked(t, deliver(t, p, unit(3, "joined again")))
			})
		})
	}
}

// A name that a former process had takes nothing from this one.
func TestClientFencedBeforeItBegan(t *testing.T) {
	resuming(t, func(x *script) {
		x.lives["mine"] = &life{closed: true}
	}, func(t *testing.T, x *script, _ producer.Producer) {
		cfg := x.config()
		cfg.SessionID = "mine"
		p := cfg.New()
		defer p.Close()
		var calls atomic.Int64
		p.(producer.Fencer).OnFenced(func(*producer.Error) { calls.Add(1) })
		if err := p.Assign(t.Context(), producer.Membership{Group: "g"}, []producer.Assignment{{Epoch: 1}}); err != nil {
			t.Fatal(err)
		}
		mustBeAcked(t, deliver(t, p, producer.Unit{Source: producer.Source{Epoch: 1}, Outputs: []producer.Record{record1("k", "0")}}))
		if calls.Load() != 0 {
			t.Error("OnFenced was called for a session that never began")
		}
		if id := x.session(0).hello.GetSessionId(); !strings.HasPrefix(id, "mine.") {
			t.Errorf("session %q", id)
		}
	})
}
