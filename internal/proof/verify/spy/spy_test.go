package spy

import (
	"context"
	"errors"
	"testing"

	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/producer"
)

// scripted is a producer that reports what a case tells it to.
type scripted struct {
	producer.Producer
	deliver func(units []producer.Unit, r producer.Reporter) error
	calls   int
}

func (s *scripted) Assign(context.Context, producer.Membership, []producer.Assignment) error {
	s.calls++
	return nil
}

func (s *scripted) Deliver(_ context.Context, units []producer.Unit, r producer.Reporter) error {
	return s.deliver(units, r)
}

// heard is what the pipeline would learn.
type heard struct{ acked, failed int }

func (h *heard) Acked(_, n int)              { h.acked += n }
func (h *heard) Failed(int, *producer.Error) { h.failed++ }

var errFull = errors.New("full")

func TestSpy(t *testing.T) {
	in, out := verify.Partition{Topic: "in"}, verify.Partition{Topic: "out"}
	for _, c := range []struct {
		name    string
		deliver func(write func(), units []producer.Unit, r producer.Reporter) error
		want    verify.Name // "": nothing
		heard   heard
	}{
		{"written, then acked", func(write func(), units []producer.Unit, r producer.Reporter) error {
			write()
			r.Acked(0, 2)
			return nil
		}, "", heard{acked: 2}},
		{"acked, not written", func(_ func(), _ []producer.Unit, r producer.Reporter) error {
			r.Acked(0, 2)
			return nil
		}, verify.FalseAck, heard{acked: 2}},
		{"acked twice", func(write func(), _ []producer.Unit, r producer.Reporter) error {
			write()
			r.Acked(0, 2)
			r.Acked(1, 1)
			return nil
		}, verify.ReportedTwice, heard{acked: 3}},
		{"a report dropped", func(write func(), _ []producer.Unit, r producer.Reporter) error {
			write()
			r.Acked(0, 1)
			return nil
		}, verify.NeverReported, heard{acked: 1}},
		{"failed", func(write func(), _ []producer.Unit, r producer.Reporter) error {
			write()
			r.Acked(1, 1)
			r.Failed(0, &producer.Error{})
			return nil
		}, "", heard{acked: 1, failed: 1}},
		{"refused", func(func(), []producer.Unit, producer.Reporter) error { return errFull }, "", heard{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			checker := verify.NewChecker(verify.CheckerConfig{})
			g := verify.NewGenerator(verify.GeneratorConfig{})
			var units []producer.Unit
			for i := range int64(2) {
				rec := g.Next()
				checker.Appended(in, i, rec.Value)
				units = append(units, producer.Unit{Source: producer.Source{Epoch: 7, Index: uint64(i), Offset: i}, Outputs: []producer.Record{{Topic: "out", Key: rec.Key, Value: rec.Value}}})
			}
			write := func() {
				for i, u := range units {
					checker.Durable(out, int64(i), u.Outputs[0].Key, u.Outputs[0].Value)
				}
			}
			inner := &scripted{}
			inner.deliver = func(units []producer.Unit, r producer.Reporter) error { return c.deliver(write, units, r) }
			spy := New(inner, checker, "p")
			if err := spy.Assign(t.Context(), producer.Membership{MemberID: "m"}, []producer.Assignment{{Epoch: 7, Topic: "in"}}); err != nil || inner.calls != 1 {
				t.Fatalf("Assign: %v, passed on %d times", err, inner.calls)
			}
			var h heard
			err := spy.Deliver(t.Context(), units, &h)
			if (c.name == "refused") != errors.Is(err, errFull) {
				t.Errorf("Deliver: %v", err)
			}
			if h != c.heard {
				t.Errorf("the pipeline heard %+v, want %+v", h, c.heard)
			}
			checker.Committed(verify.Commit{Member: "m", Partition: in, Offset: 0})
			_ = checker.Finish() // inputs of these short histories may be lost: only the names below matter
			for _, name := range []verify.Name{verify.FalseAck, verify.ReportedTwice, verify.NeverReported, verify.WrongUnitReference} {
				if checker.Has(name) != (name == c.want) {
					t.Errorf("%s found: %v; %s", name, checker.Has(name), checker.Summary())
				}
			}
		})
	}
}

// The epochs that the spy announces are those that S4 is held against.
func TestSpyEpochs(t *testing.T) {
	in := verify.Partition{Topic: "in"}
	checker := verify.NewChecker(verify.CheckerConfig{AcksAreTruth: true})
	rec := verify.NewGenerator(verify.GeneratorConfig{}).Next()
	checker.Appended(in, 0, rec.Value)
	unit := producer.Unit{Source: producer.Source{Epoch: 1}, Outputs: []producer.Record{{Value: rec.Value}}}
	inner := &scripted{deliver: func(_ []producer.Unit, r producer.Reporter) error {
		r.Acked(0, 1)
		return nil
	}}
	spy := New(inner, checker, "p")
	assign := func(epoch uint64, member string) {
		if err := spy.Assign(t.Context(), producer.Membership{MemberID: member}, []producer.Assignment{{Epoch: epoch, Topic: "in"}}); err != nil {
			t.Fatal(err)
		}
	}
	assign(1, "m")
	if err := spy.Deliver(t.Context(), []producer.Unit{unit}, &heard{}); err != nil {
		t.Fatal(err)
	}
	checker.Committed(verify.Commit{Member: "m", Partition: in, Offset: 1})
	if err := checker.Err(); err != nil {
		t.Fatal(err)
	}
	assign(2, "m2")
	checker.Committed(verify.Commit{Member: "m2", Partition: in, Offset: 1})
	if !checker.Has(verify.OldAckCounted) {
		t.Fatal(checker.Summary())
	}
}
