package resend

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/producer/internal/unit"
)

type (
	result  = Fate[struct{}, failure]
	call    = Call[struct{}]
	failure struct{ Code string }
)

func newQueue(frameBytes int, out func(result)) *Queue[struct{}, failure] {
	return New(NewPool(frameBytes), out)
}

// model is the queue, simple and slow: a list of units in order.
type model struct {
	units []*modelUnit
	next  uint64
	seen  uint64
	cuts  []uint64 // last numbers of the messages of this session, in order
}

type modelUnit struct {
	epoch    uint64
	data     []byte
	records  int
	call     uint64
	index    int
	seq      uint64
	sent     bool
	reported bool
	returned bool // by the sidecar, to be sent again
}

// renumber keeps what is not reported, with new numbers for what is not below from, and forgets the
// others above it.
func (m *model) renumber(from, first uint64) {
	var keep []*modelUnit
	m.seen = min(m.seen, first-1)
	for _, u := range m.units {
		if u.seq >= from {
			if u.reported {
				continue
			}
			u.seq, u.sent, u.returned = first, false, false
			first++
		}
		keep = append(keep, u)
	}
	m.units, m.next = keep, first
	for len(m.cuts) > 0 && m.cuts[len(m.cuts)-1] >= from {
		m.cuts = m.cuts[:len(m.cuts)-1]
	}
}

// unsent is the number of the first unit that was not sent.
func (m *model) unsent() uint64 {
	for _, u := range m.units {
		if !u.sent {
			return u.seq
		}
	}
	return m.next
}

func (m *model) back() uint64 {
	for _, u := range m.units {
		if u.returned {
			return u.seq
		}
	}
	return 0
}

// numbered returns the unit of a number, nil: there is none.
func (m *model) numbered(seq uint64) *modelUnit {
	for _, u := range m.units {
		if u.seq == seq {
			return u
		}
	}
	return nil
}

func (m *model) sum(only func(*modelUnit) bool) (c unit.Cost) {
	for _, u := range m.units {
		if !u.reported && only(u) {
			c.Add(unit.Cost{Bytes: int64(len(u.data)), Records: u.records})
		}
	}
	return c
}

// The queue agrees with the model after every operation, whatever their order: units taken, frames
// sent under a credit, reports in any order, epochs released, streams broken.
func TestQueueAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var fates []result
		q := newQueue(60, func(f result) { fates = append(fates, f) })
		m := &model{next: 1}
		expect := map[string]bool{} // fates that must come: call/index
		released := map[uint64]bool{}
		calls := uint64(0)
		tell := func(u *modelUnit) {
			u.reported = true
			expect[fmt.Sprintf("%d/%d", u.call, u.index)] = true
		}
		notHeld := func(s Slot) *failure {
			if released[s.Epoch] {
				return &failure{Code: "RELEASED"}
			}
			return nil
		}
		verify := func() {
			for _, f := range fates {
				for i := f.First; i < f.First+f.N; i++ {
					key := fmt.Sprintf("%d/%d", f.Call.ID, i)
					if !expect[key] {
						t.Fatalf("unit %s was reported and must not be", key)
					}
					delete(expect, key)
				}
			}
			fates = fates[:0]
			if len(expect) > 0 {
				t.Fatalf("units %v were not reported", expect)
			}
			if got, want := q.taken, m.sum(func(*modelUnit) bool { return true }); got != want {
				t.Fatalf("taken is %+v, want %+v", got, want)
			}
			if got, want := q.sent, m.sum(func(u *modelUnit) bool { return u.sent }); got != want {
				t.Fatalf("sent is %+v, want %+v", got, want)
			}
			open, kept, framed := 0, 0, 0
			for _, u := range m.units {
				if !u.reported {
					open++
				}
			}
			for _, e := range q.entries {
				kept += e.left
			}
			for _, f := range q.frames {
				framed += f.left
			}
			if kept != open || framed != open {
				t.Fatalf("%d units of calls and %d of frames are open, want %d", kept, framed, open)
			}
			if q.next != m.next {
				t.Fatalf("next is %d, want %d", q.next, m.next)
			}
			for _, u := range m.units { // the queue forgets what was reported
				if !u.reported {
					if f := q.frames[q.frameOf(u.seq)]; f.First > u.seq || f.slot(u.seq).reported() || f.slot(u.seq).Epoch != u.epoch {
						t.Fatalf("unit %d/%d is not where it must be, at %d", u.call, u.index, u.seq)
					}
					if i := q.entryOf(u.seq); i == len(q.entries) || q.entries[i].first > u.seq || q.entries[i].call.ID != u.call ||
						q.entries[i].index+int(u.seq-q.entries[i].first) != u.index {
						t.Fatalf("unit %d/%d at %d would be reported as another one", u.call, u.index, u.seq)
					}
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) { verify() },
			"deliver": func(t *rapid.T) {
				calls++
				n := rapid.IntRange(1, 8).Draw(t, "units")
				gap := rapid.IntRange(0, n).Draw(t, "gap") // a unit that was refused
				for i := range n {
					if i == gap {
						continue
					}
					u := &modelUnit{epoch: rapid.Uint64Range(0, 3).Draw(t, "epoch"), records: rapid.IntRange(1, 3).Draw(t, "records"), call: calls, index: i, seq: m.next}
					if released[u.epoch] {
						continue
					}
					u.data = bytes.Repeat([]byte{byte(calls*16 + uint64(i))}, rapid.IntRange(1, 40).Draw(t, "size"))
					f := q.Open()
					f.Data = append(f.Data, u.data...)
					q.Add(u.epoch, len(u.data), u.records, call{ID: calls}, i)
					m.units = append(m.units, u)
					m.next++
				}
			},
			"send": func(t *rapid.T) {
				credit := unit.Cost{Bytes: rapid.Int64Range(1, 200).Draw(t, "bytes"), Records: rapid.IntRange(1, 20).Draw(t, "records")}
				f := q.Send(credit, rapid.IntRange(0, 80).Draw(t, "limit"))
				sent := m.sum(func(u *modelUnit) bool { return u.sent })
				if f == nil {
					for _, u := range m.units {
						if m.back() == 0 && !u.sent && !u.reported {
							want := unit.Cost{Bytes: int64(len(u.data)), Records: u.records}
							want.Add(sent)
							if want.Within(credit) || sent == (unit.Cost{}) {
								t.Fatalf("nothing was sent, though %+v is within %+v", want, credit)
							}
							return
						}
					}
					return
				}
				if m.back() != 0 {
					t.Fatal("something was sent before what the sidecar gave back (S7)")
				}
				if f.First != m.unsent() {
					t.Fatalf("%d was sent, the next one is %d (S7)", f.First, m.unsent())
				}
				var data []byte
				for seq := f.First; seq < f.End(); seq++ {
					u := m.numbered(seq)
					if u.sent || u.reported {
						t.Fatalf("unit %d/%d is sent again, or after its report", u.call, u.index)
					}
					u.sent = true
					data = append(data, u.data...)
				}
				m.cuts = append(m.cuts, f.End()-1)
				if !bytes.Equal(data, f.bytes()) {
					t.Fatalf("the frame has %x, want %x", f.bytes(), data)
				}
				if now := m.sum(func(u *modelUnit) bool { return u.sent }); !now.Within(credit) && sent != (unit.Cost{}) {
					t.Fatalf("%+v are outstanding, the credit is %+v", now, credit)
				}
			},
			"report": func(t *rapid.T) {
				if len(m.units) == 0 {
					t.Skip()
				}
				ok := func(seq uint64) bool {
					u := m.numbered(seq)
					return u != nil && u.sent && !u.reported && !u.returned
				}
				first := rapid.Uint64Range(1, m.next).Draw(t, "first")
				n := rapid.Uint64Range(1, 10).Draw(t, "n")
				if rapid.IntRange(0, 3).Draw(t, "lie") > 0 { // honest mostly: a run of sent and unreported units from first on
					for first < m.next && !ok(first) {
						first++
					}
					run := uint64(1)
					for run < n && ok(first+run) {
						run++
					}
					n = run
				}
				honest := true
				for seq := first; seq < first+n; seq++ {
					honest = honest && ok(seq)
				}
				err := q.Check(first, n)
				if honest != (err == nil) {
					t.Fatalf("check of [%d, +%d) says %v, honest is %t", first, n, err, honest)
				}
				if !honest {
					return
				}
				if rapid.IntRange(0, 5).Draw(t, "expired") == 0 { // the message of the first one came too late, and all after it
					begin := uint64(1)
					for _, last := range m.cuts {
						if last < first {
							begin = last + 1
						}
					}
					for seq := begin; seq < m.unsent(); seq++ {
						if ok(seq) {
							q.GiveBack(seq)
							m.numbered(seq).returned = true
							m.seen = max(m.seen, seq)
						}
					}
					if !q.AllBack() {
						t.Fatal("everything came back, allBack does not say so")
					}
					return
				}
				q.Report(first, int(n), nil)
				m.seen = max(m.seen, first+n-1)
				for seq := first; seq < first+n; seq++ {
					tell(m.numbered(seq))
				}
			},
			"shrink": func(t *rapid.T) { q.Shrink() },
			"release": func(t *rapid.T) { // while there is a stream: the unsent units are dropped
				e := rapid.Uint64Range(1, 3).Draw(t, "epoch")
				released[e] = true
				q.Rebuild(q.unsent, q.unsent, notHeld)
				for _, u := range m.units {
					if !u.sent && released[u.epoch] && !u.reported {
						tell(u)
					}
				}
				m.renumber(m.unsent(), m.unsent())
			},
			"break": func(t *rapid.T) { // and a new session
				q.FailWhere(0, notHeld)
				q.Rebuild(0, 1, nil)
				for _, u := range m.units {
					if !u.reported && released[u.epoch] {
						tell(u)
					}
				}
				m.renumber(0, 1)
				m.cuts = nil
				if rapid.Bool().Draw(t, "assigned again") {
					clear(released)
				}
			},
			"resume": func(t *rapid.T) { // the sidecar has a part of the messages: all that was reported is in it
				var want []uint64
				for _, u := range m.units {
					if u.sent && !u.reported && !u.returned {
						want = append(want, u.seq)
					}
				}
				var got []uint64
				for _, r := range q.Unreported() {
					for seq := r.First; seq < r.First+r.Count; seq++ {
						got = append(got, seq)
					}
				}
				if !slices.Equal(got, want) {
					t.Fatalf("Hello says that %v are not reported, it is %v", got, want)
				}
				high := rapid.Uint64Range(0, m.next+2).Draw(t, "highest")
				if rapid.IntRange(0, 3).Draw(t, "lie") > 0 {
					high = rapid.SampledFrom(append([]uint64{m.seen}, m.cuts...)).Draw(t, "cut")
				}
				inside := false // of a message of which the queue knows something
				for i, last := range m.cuts {
					first := uint64(1)
					if i > 0 {
						first = m.cuts[i-1] + 1
					}
					inside = inside || first <= high && high < last
				}
				err := q.Received(high)
				switch {
				case err == nil && (high < m.seen || high >= m.unsent()):
					t.Fatalf("%d is taken for the highest received, %d was reported and %d not sent", high, m.seen, m.unsent())
				case err != nil && high >= m.seen && high < m.unsent() && !inside:
					t.Fatalf("%d is not taken for the highest received: %v", high, err)
				}
				if err != nil {
					return
				}
				q.Resume(high, notHeld)
				for _, u := range m.units {
					if u.seq > high && !u.reported && released[u.epoch] {
						tell(u)
					}
				}
				m.renumber(high+1, high+1)
				if back := m.back(); back != 0 {
					for _, u := range m.units {
						if u.seq >= back && !u.reported && released[u.epoch] {
							tell(u)
						}
					}
					m.renumber(back, high+1)
					m.cuts = append(m.cuts, high)
				}
			},
		})
	})
}

// Units that Kafka does not take for long cost what they weigh, not what went by meanwhile (S9).
func TestMemoryOfStuckUnits(t *testing.T) {
	q := newQueue(64<<10, func(result) {})
	data := make([]byte, 200)
	const limit = 1 << 20
	ample := unit.Cost{Bytes: 1 << 40, Records: 1 << 40}
	stuck := 0
	for range 1500 {
		first := q.next
		for i := range frameUnits {
			f := q.Open()
			f.Data = append(f.Data, data...)
			q.Add(1, len(data), 1, call{ID: first}, i)
		}
		for q.Send(ample, 0) != nil {
		}
		q.Report(first+1, frameUnits-1, nil) // the first one of each frame stays
		stuck++
		if *q.pool.pinned > limit {
			q.Shrink()
		}
		if *q.pool.pinned > limit {
			t.Fatalf("%d stuck units of %d bytes hold %d bytes", stuck, len(data), *q.pool.pinned)
		}
	}
	if n := len(q.entries); n > 3*stuck {
		t.Errorf("%d stuck units keep %d entries", stuck, n)
	}
	q.Rebuild(0, 1, nil)
	if got := int(q.next - 1); got != stuck {
		t.Errorf("%d units are left after a rebuild, want %d", got, stuck)
	}
	for seq := uint64(1); seq < q.next; seq++ {
		f := q.frames[q.frameOf(seq)]
		if f.slot(seq).reported() {
			t.Fatalf("unit %d is lost", seq)
		}
	}
	for q.Send(ample, 0) != nil {
	}
	q.Report(1, stuck, nil)
	if q.taken != (unit.Cost{}) || q.sent != (unit.Cost{}) || *q.pool.pinned > limit {
		t.Errorf("at the end: taken %+v, sent %+v, %d bytes held", q.taken, q.sent, *q.pool.pinned)
	}
	q.sweep()
	if n := len(q.frames); n > 40 {
		t.Errorf("%d frames are kept though nothing is left", n)
	}
}
