package producer_test

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// bubble runs a test against a scripted sidecar in virtual time.
func bubble(t *testing.T, prepare func(*script), run func(t *testing.T, x *script, p producer.Producer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		x := newScript(t)
		prepare(x)
		x.start()
		defer x.stop()
		p := x.config().New()
		defer p.Close()
		run(t, x, p)
	})
}

func record1(key, value string) producer.Record {
	return producer.Record{Topic: "t", Key: []byte(key), Value: []byte(value)}
}

func numbered(n int) []producer.Unit {
	units := make([]producer.Unit, n)
	for i := range units {
		units[i].Outputs = []producer.Record{record1("k", strconv.Itoa(i))}
	}
	return units
}

func deliver(t *testing.T, p producer.Producer, units ...producer.Unit) *producertest.Recorder {
	t.Helper()
	r := producertest.NewRecorder(len(units))
	if err := p.Deliver(t.Context(), units, r); err != nil {
		t.Fatalf("Deliver: %v", err)
	}
	return r
}

func wait(t *testing.T, r *producertest.Recorder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

func mustBeAcked(t *testing.T, r *producertest.Recorder) {
	t.Helper()
	wait(t, r)
	for i, f := range r.Fates() {
		if f.Err != nil {
			t.Fatalf("unit %d: %v", i, f.Err)
		}
	}
}

// A report that cannot be true breaks the stream; nothing is taken from it, everything is sent
// again and reported once (S12).
func TestClientLies(t *testing.T) {
	ranges := func(list ...*sidecarpb.Range) *sidecarpb.DeliveryReports {
		return &sidecarpb.DeliveryReports{Acked: list}
	}
	for name, lie := range map[string]func(first uint64) *sidecarpb.DeliveryReports{
		"sequence zero":       func(uint64) *sidecarpb.DeliveryReports { return ranges(&sidecarpb.Range{Count: 1}) },
		"empty range":         func(f uint64) *sidecarpb.DeliveryReports { return ranges(&sidecarpb.Range{First: f}) },
		"never sent":          func(uint64) *sidecarpb.DeliveryReports { return ranges(&sidecarpb.Range{First: 1000, Count: 1}) },
		"beyond what is sent": func(f uint64) *sidecarpb.DeliveryReports { return ranges(&sidecarpb.Range{First: f, Count: 11}) },
		"overflow": func(f uint64) *sidecarpb.DeliveryReports {
			return ranges(&sidecarpb.Range{First: f + 1, Count: math.MaxUint64})
		},
		"twice in one message": func(f uint64) *sidecarpb.DeliveryReports {
			return ranges(&sidecarpb.Range{First: f + 5, Count: 1}, &sidecarpb.Range{First: f + 2, Count: 4})
		},
		"acked and failed": func(f uint64) *sidecarpb.DeliveryReports {
			r := ranges(&sidecarpb.Range{First: f, Count: 10})
			r.Failed = append(r.Failed, failure(f+3, 0))
			return r
		},
		"failure never sent": func(uint64) *sidecarpb.DeliveryReports {
			return &sidecarpb.DeliveryReports{Failed: []*sidecarpb.UnitFailure{failure(77, 0)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(x *script) {
				x.units = func(s *session, u *sidecarpb.Units) error {
					if x.session(0) == s {
						s.report(lie(u.GetFirstSequence()))
						return nil
					}
					s.writeAndAck(u)
					return nil
				}
			}, func(t *testing.T, x *script, p producer.Producer) {
				mustBeAcked(t, deliver(t, p, numbered(10)...))
				again := deliver(t, p, numbered(3)...)
				mustBeAcked(t, again)
				if x.session(1) == nil {
					t.Error("the stream went on after a report that cannot be true")
				}
			})
		})
	}
}

// Reports of an old stream are not taken for the new stream's sequence numbers, and what was
// reported is not sent again.
func TestClientResendsOnlyWhatIsOpen(t *testing.T) {
	bubble(t, func(x *script) {
		x.units = func(s *session, u *sidecarpb.Units) error {
			if x.session(0) == s {
				if s.next-1 < 10 {
					return nil // the rest of the units comes in another frame
				}
				s.report(&sidecarpb.DeliveryReports{Acked: []*sidecarpb.Range{{First: 9, Count: 1}, {First: 1, Count: 3}}})
				s.closing <- errCut
				return nil
			}
			s.writeAndAck(u)
			return nil
		}
	}, func(t *testing.T, x *script, p producer.Producer) {
		mustBeAcked(t, deliver(t, p, numbered(10)...))
		var got []string
		for _, r := range x.records("t") {
			got = append(got, string(r.Value))
		}
		if want := "3 4 5 6 7 9"; strings.Join(got, " ") != want {
			t.Errorf("sent again: %v, want %s", got, want)
		}
	})
}

// A session begins with the latest membership and the live epochs, before any unit.
func TestClientAssignsAgain(t *testing.T) {
	cut := make(chan struct{})
	bubble(t, func(x *script) {
		cut = make(chan struct{})
		x.units = func(s *session, u *sidecarpb.Units) error {
			if x.session(0) == s {
				<-cut
				return errCut
			}
			s.writeAndAck(u)
			return nil
		}
	}, func(t *testing.T, x *script, p producer.Producer) {
		assign := func(generation int32, epochs ...uint64) {
			var added []producer.Assignment
			for _, e := range epochs {
				added = append(added, producer.Assignment{Epoch: e, Topic: "in", Partition: int32(e), Start: int64(e * 10)})
			}
			if err := p.Assign(t.Context(), producer.Membership{Group: "g", MemberID: "m", Generation: generation}, added); err != nil {
				t.Fatal(err)
			}
		}
		assign(1, 1, 2)
		assign(2, 3)
		assign(3)
		unit := func(epoch uint64, value string) producer.Unit {
			return producer.Unit{Source: producer.Source{Epoch: epoch}, Outputs: []producer.Record{record1("k", value)}}
		}
		r := deliver(t, p, unit(1, "a"), unit(2, "b"), unit(3, "c"), unit(4, "never assigned"))
		synctest.Wait()
		released := make(chan error, 1)
		go func() { released <- p.Release(t.Context(), []uint64{2}) }()
		synctest.Wait()
		close(cut)
		if err := <-released; err != nil {
			t.Errorf("Release across a broken stream: %v", err)
		}
		if !r.Fates()[1].Reported {
			t.Error("Release returned before its unit's fate was reported")
		}
		wait(t, r)
		for i, want := range []string{"", producer.CodeReleased, "", producer.CodeUnknownAssignment} {
			if f := r.Fates()[i]; want == "" && f.Err != nil || want != "" && (f.Err == nil || f.Err.Code != want) {
				t.Errorf("unit %d: %v, want %q", i, f.Err, want)
			}
		}
		s := x.session(1)
		if len(s.assigns) != 1 {
			t.Fatalf("the new session has %d Assigns, want 1", len(s.assigns))
		}
		a := s.assigns[0]
		if a.GetGeneration() != 3 || len(a.GetPartitions()) != 2 || a.GetPartitions()[0].GetEpoch() != 1 || a.GetPartitions()[1].GetEpoch() != 3 {
			t.Errorf("the new session was told %v, want generation 3 and epochs 1 and 3", a)
		}
		if a.GetPartitions()[1].GetStartOffset() != 30 {
			t.Errorf("start offset %d, want 30", a.GetPartitions()[1].GetStartOffset())
		}
	})
}

// After Release nothing of its epochs is sent: what waited for credit is dropped and reported.
func TestClientReleaseDropsTheUnsent(t *testing.T) {
	bubble(t, func(x *script) {
		x.credit = &sidecarpb.Credit{Bytes: 1 << 20, Records: 2}
		x.stalled = true
	}, func(t *testing.T, x *script, p producer.Producer) {
		if err := p.Assign(t.Context(), producer.Membership{Group: "g"}, []producer.Assignment{{Epoch: 1}, {Epoch: 2}}); err != nil {
			t.Fatal(err)
		}
		var units []producer.Unit
		for i := range 10 {
			units = append(units, producer.Unit{Source: producer.Source{Epoch: uint64(1 + i%2), Index: uint64(i / 2)},
				Outputs: []producer.Record{record1("k", strconv.Itoa(i))}})
		}
		r := deliver(t, p, units...)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Release(ctx, []uint64{1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Release of a stalled unit returned %v, want the deadline", err)
		}
		x.stall(false)
		wait(t, r)
		var got []string
		for _, rec := range x.records("t") {
			got = append(got, string(rec.Value))
		}
		if want := "0 1 3 5 7 9"; strings.Join(got, " ") != want { // 0 and 1 were sent before
			t.Errorf("written: %v, want %s", got, want)
		}
		for i, f := range r.Fates() {
			if dropped := i%2 == 0 && i > 0; dropped != (f.Err != nil) {
				t.Errorf("unit %d: %v", i, f.Err)
			}
		}
	})
}

// A sidecar that is about to stop gets nothing more; when it has reported what it had, its
// successor gets the rest.
func TestClientDraining(t *testing.T) {
	bubble(t, func(x *script) {
		x.units = func(s *session, u *sidecarpb.Units) error {
			if x.session(0) != s {
				s.writeAndAck(u)
			}
			return nil
		}
	}, func(t *testing.T, x *script, p producer.Producer) {
		first := deliver(t, p, numbered(10)[:4]...)
		synctest.Wait()
		s := x.session(0)
		s.down(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Draining{Draining: &sidecarpb.Draining{DeadlineMs: 5000}}})
		synctest.Wait()
		second := deliver(t, p, numbered(10)[4:]...)
		time.Sleep(time.Second)
		if x.session(1) != nil {
			t.Error("the client left before the reports of what it had sent")
		}
		for _, unit := range s.got {
			s.write(unit)
		}
		s.acked(1, 4)
		mustBeAcked(t, first)
		mustBeAcked(t, second)
		for i, rec := range x.records("t") {
			if string(rec.Value) != strconv.Itoa(i) {
				t.Fatalf("position %d has %s: sent twice or out of order", i, rec.Value)
			}
		}
		if n := len(s.got); n != 4 {
			t.Errorf("the draining sidecar got %d units, want the 4 from before", n)
		}
	})
}
