package txn

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// unitsOf is a batch whose units are of these claims. Nil: they have no input.
type unitsOf struct {
	claims []*Claim
	gone   bool
	fates  map[string][]int
}

func (b *unitsOf) Unit(i int) Unit                { return Unit{Claim: b.claims[i]} }
func (b *unitsOf) Produce(int, func(*kgo.Record)) {}
func (b *unitsOf) Committed(from, to int)         { b.tell("committed", from, to) }
func (b *unitsOf) Failed(i int, _ error)          { b.tell("failed", i, i+1) }
func (b *unitsOf) Dropped(from, to int)           { b.tell("dropped", from, to) }
func (b *unitsOf) Over() bool                     { return b.gone }
func (b *unitsOf) all() Run                       { return Run{b, 0, len(b.claims)} }
func (b *unitsOf) tell(fate string, from, to int) {
	if b.fates == nil {
		b.fates = map[string][]int{}
	}
	for i := from; i < to; i++ {
		b.fates[fate] = append(b.fates[fate], i)
	}
}

// What was pushed is taken once, in order, and with it that it is to be flushed. A lane that has
// ended takes nothing more.
func TestInbox(t *testing.T) {
	var in inbox
	in.init()
	a, b := &unitsOf{claims: make([]*Claim, 2)}, &unitsOf{claims: make([]*Claim, 3)}
	_, _ = in.push(a.all()), in.push(b.all())
	in.flushes()
	if n := in.units(); n != 5 || !in.contains(func(r Run) bool { return r.Batch == Batch(b) }) {
		t.Errorf("%d units were pushed, want 5", n)
	}
	queue, flush := in.take(nil)
	if len(queue) != 2 || queue[0].Batch != Batch(a) || !flush {
		t.Errorf("taken are %v, flush %v", queue, flush)
	}
	if queue, flush = in.take(queue); len(queue) != 2 || flush {
		t.Errorf("taken again are %v, flush %v", queue, flush)
	}
	_ = in.push(a.all())
	over := errors.New("over")
	if rest := in.close(over); len(rest) != 1 || !errors.Is(in.push(b.all()), over) || in.units() != 0 {
		t.Errorf("left is %v at the end", rest)
	}
}

// Nobody wants the units of claims that were given up, nor those without an input whose sender is
// gone. The others keep their order.
func TestInboxForgets(t *testing.T) {
	var in inbox
	in.init()
	open, given := &Claim{of: NewClaims(nil)}, &Claim{of: NewClaims(nil), state: abandoned}
	a, b := &unitsOf{claims: []*Claim{open, given, given, open}}, &unitsOf{claims: []*Claim{nil, open, nil}, gone: true}
	_, _ = in.push(a.all()), in.push(b.all())
	dead := in.takeDead()
	if want := []Run{{a, 1, 3}, {b, 0, 1}, {b, 2, 3}}; !slices.Equal(dead, want) {
		t.Errorf("dead are %v", dead)
	}
	left, _ := in.take(nil)
	if want := []Run{{a, 0, 1}, {a, 3, 4}, {b, 1, 2}}; !slices.Equal(left, want) {
		t.Errorf("left are %v", left)
	}
}
