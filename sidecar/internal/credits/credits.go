package credits

import (
	"math/bits"
	"slices"

	"github.com/ackmark/ackmark/internal/ledger"
)

// Cost is what units take of a credit.
type Cost = ledger.Cost

// Pool is what all may have beyond their floors. O is whose a credit is.
type Pool[O any] struct {
	floor, whole, most Cost
	lent               Cost
	members            []*Member[O] // in the order in which they came
}

// Member is one that has a credit. Its costs are those beyond the floor.
type Member[O any] struct {
	Owner O

	told  Cost   // what it was told
	lent  Cost   // what it may have outstanding all the same: never less
	asked uint64 // number of the smaller credit that it has not answered; 0: none
	last  uint64
	fixed bool // takes no smaller credit
	rests bool
}

// New divides whole, beyond the floors, of which one may have most.
func New[O any](floor, whole, most Cost) *Pool[O] {
	return &Pool[O]{floor: floor, whole: whole, most: most}
}

// Told is the credit as its client was told it.
func (p *Pool[O]) Told(m *Member[O]) Cost { return plus(p.floor, m.told) }

// Bound is what the member may have outstanding: more than it was told, until it has given that
// back.
func (p *Pool[O]) Bound(m *Member[O]) Cost { return plus(p.floor, m.lent) }

// Lent is what is given out beyond the floors.
func (p *Pool[O]) Lent() Cost { return p.lent }

// Asked is the number that the client answers; 0: nothing is to be answered.
func (m *Member[O]) Asked() uint64 { return m.asked }

// Over tells that reports of what is outstanding give back what the member's credit is smaller by.
func (m *Member[O]) Over() bool { return m.asked == 0 && m.told != m.lent }

// Join gives a credit to one more. A fixed one takes no smaller credit later: it gets half of what
// is left, at most.
func (p *Pool[O]) Join(owner O, fixed bool) *Member[O] {
	m := &Member[O]{Owner: owner, fixed: fixed}
	p.members = append(p.members, m)
	free := minus(p.whole, p.lent)
	want, _ := p.share()
	if fixed {
		want = smallest(p.mostFixed(), half(free))
	}
	m.told = smallest(want, free)
	p.lend(m, m.told)
	return m
}

// Leave takes the credit back.
func (p *Pool[O]) Leave(m *Member[O]) {
	if i := slices.Index(p.members, m); i >= 0 {
		p.members = slices.Delete(p.members, i, i+1)
		p.lend(m, Cost{})
	}
}

// Rests tells that a member is not at work, or is again.
func (p *Pool[O]) Rests(m *Member[O], rests bool) { m.rests = rests }

// Answered is the client's word that it keeps the credit of this number, with what it has
// outstanding now.
func (p *Pool[O]) Answered(m *Member[O], number uint64, outstanding Cost) {
	if m.asked == 0 || m.asked != number {
		return
	}
	m.asked = 0
	p.Reported(m, outstanding)
}

// Reported takes back what a smaller credit left outstanding, as far as it is reported.
func (p *Pool[O]) Reported(m *Member[O], outstanding Cost) {
	if m.asked == 0 {
		p.lend(m, smallest(m.lent, largest(m.told, minus(outstanding, p.floor))))
	}
}

// Balance makes credits equal as far as they may be now, and returns the members that have another
// one. Who shrinks is asked for its word, by number.
func (p *Pool[O]) Balance() (changed []*Member[O]) {
	share, forAll := p.share()
	for _, m := range p.members {
		target := m.target(share, forAll)
		if less := smallest(m.told, target); m.asked == 0 && !m.fixed && less != m.told {
			m.told = less
			m.last++
			m.asked = m.last
			changed = append(changed, m)
		}
	}
	for _, m := range p.members {
		if m.asked != 0 {
			continue
		}
		target := m.target(share, forAll)
		if m.fixed { // it keeps what it gets
			target = largest(m.told, smallest(smallest(share, p.mostFixed()), plus(m.told, half(minus(p.whole, p.lent)))))
		}
		more := largest(m.told, smallest(target, plus(m.lent, minus(p.whole, p.lent))))
		if more == m.told || more != target && !enough(m.told, more, target) {
			continue
		}
		m.told = more
		p.lend(m, largest(m.lent, more))
		changed = append(changed, m)
	}
	return changed
}

// enough tells whether a part of what is missing is worth a message.
func enough(told, more, target Cost) bool {
	return more.Bytes-told.Bytes >= max(target.Bytes/8, 1) || more.Records-told.Records >= max(target.Records/8, 1)
}

// mostFixed is what one may have that gives nothing back: a quarter, so that there is something
// left for others.
func (p *Pool[O]) mostFixed() Cost {
	return smallest(p.most, Cost{Bytes: p.whole.Bytes / 4, Records: p.whole.Records / 4})
}

func (p *Pool[O]) lend(m *Member[O], c Cost) {
	p.lent = plus(minus(p.lent, m.lent), c)
	m.lent = c
}

// share is what each that is at work may have. ForAll: there is enough, so those that rest have the
// same.
func (p *Pool[O]) share() (share Cost, forAll bool) {
	left, all, work := p.whole, int64(0), int64(0)
	for _, m := range p.members {
		if m.fixed {
			left = minus(left, m.lent)
			continue
		}
		all++
		if !m.rests {
			work++
		}
	}
	if p.most.Bytes*all <= left.Bytes && p.most.Records*all <= left.Records {
		return p.most, true
	}
	n := steps(max(work, 1))
	return smallest(p.most, Cost{Bytes: left.Bytes / n, Records: left.Records / n}), false
}

func (m *Member[O]) target(share Cost, forAll bool) Cost {
	if m.rests && !forAll {
		return Cost{}
	}
	return share
}

// steps is a number or a little more, at most by an eighth: not everybody's credit changes with
// each one that comes, goes or rests.
func steps(n int64) int64 {
	grid := int64(1) << max(bits.Len64(uint64(n))-4, 0)
	return (n + grid - 1) / grid * grid
}

func plus(a, b Cost) Cost  { return Cost{Bytes: a.Bytes + b.Bytes, Records: a.Records + b.Records} }
func minus(a, b Cost) Cost { return Cost{Bytes: a.Bytes - b.Bytes, Records: a.Records - b.Records} }
func half(a Cost) Cost     { return Cost{Bytes: a.Bytes / 2, Records: a.Records / 2} }
func smallest(a, b Cost) Cost {
	return Cost{Bytes: min(a.Bytes, b.Bytes), Records: min(a.Records, b.Records)}
}
func largest(a, b Cost) Cost {
	return Cost{Bytes: max(a.Bytes, b.Bytes), Records: max(a.Records, b.Records)}
}
