package producer

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// model is the window, simple and slow: a list of units in order.
type model struct {
	units []*modelUnit
	first uint64 // sequence number of units[0]
}

type modelUnit struct {
	epoch    uint64
	data     []byte
	records  int
	call     uint64
	index    int
	sent     bool
	reported bool
}

func (m *model) sum(only func(*modelUnit) bool) (c cost) {
	for _, u := range m.units {
		if !u.reported && only(u) {
			c.add(cost{int64(len(u.data)), u.records})
		}
	}
	return c
}

// The window agrees with the model after every operation, whatever their order: units taken, frames sent under a credit, reports in any order,
// epochs released, streams broken.
func TestWindowAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var fates []fate
		w := newWindow(newFramePool(60), func(f fate) { fates = append(fates, f) })
		m := &model{first: 1}
		expect := map[string]bool{} // fates that must come: call/index
		released := map[uint64]bool{}
		calls := uint64(0)
		tell := func(u *modelUnit) {
			u.reported = true
			expect[fmt.Sprintf("%d/%d", u.call, u.index)] = true
		}
		notHeld := func(s slotInfo) *Error {
			if released[s.epoch] {
				return errReleased(s.epoch)
			}
			return nil
		}
		verify := func() {
			for _, f := range fates {
				for i := f.index; i < f.index+f.n; i++ {
					key := fmt.Sprintf("%d/%d", f.call.id, i)
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
			if got, want := w.taken, m.sum(func(*modelUnit) bool { return true }); got != want {
				t.Fatalf("taken is %+v, want %+v", got, want)
			}
			if got, want := w.sent, m.sum(func(u *modelUnit) bool { return u.sent }); got != want {
				t.Fatalf("sent is %+v, want %+v", got, want)
			}
			if got, want := w.next, m.first+uint64(len(m.units)); got != want {
				t.Fatalf("next is %d, want %d", got, want)
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
					u := &modelUnit{epoch: rapid.Uint64Range(0, 3).Draw(t, "epoch"), records: rapid.IntRange(1, 3).Draw(t, "records"), call: calls, index: i}
					if released[u.epoch] {
						continue
					}
					u.data = bytes.Repeat([]byte{byte(calls*16 + uint64(i))}, rapid.IntRange(1, 40).Draw(t, "size"))
					f := w.open()
					f.data = append(f.data, u.data...)
					w.add(u.epoch, len(u.data), u.records, callRef{id: calls}, i)
					m.units = append(m.units, u)
				}
			},
			"send": func(t *rapid.T) {
				credit := cost{rapid.Int64Range(1, 200).Draw(t, "bytes"), rapid.IntRange(1, 20).Draw(t, "records")}
				f := w.send(credit, rapid.IntRange(0, 80).Draw(t, "limit"))
				sent := m.sum(func(u *modelUnit) bool { return u.sent })
				if f == nil {
					for _, u := range m.units {
						if !u.sent && !u.reported {
							want := cost{int64(len(u.data)), u.records}
							want.add(sent)
							if want.within(credit) || sent == (cost{}) {
								t.Fatalf("nothing was sent, though %+v is within %+v", want, credit)
							}
							return
						}
					}
					return
				}
				var data []byte
				for i := range f.len() {
					u := m.units[f.first-m.first+uint64(i)]
					if u.sent || u.reported {
						t.Fatalf("unit %d/%d is sent again, or after its report", u.call, u.index)
					}
					u.sent = true
					data = append(data, u.data...)
				}
				if i := int(f.first - m.first); i > 0 && !m.units[i-1].sent && !m.units[i-1].reported {
					t.Fatal("a unit was left out")
				}
				if !bytes.Equal(data, f.bytes()) {
					t.Fatalf("the frame has %x, want %x", f.bytes(), data)
				}
				if now := m.sum(func(u *modelUnit) bool { return u.sent }); !now.within(credit) && sent != (cost{}) {
					t.Fatalf("%+v are outstanding, the credit is %+v", now, credit)
				}
			},
			"report": func(t *rapid.T) {
				if len(m.units) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(m.units)-1).Draw(t, "first")
				n := rapid.IntRange(1, 10).Draw(t, "n")
				if rapid.IntRange(0, 3).Draw(t, "lie") > 0 { // honest mostly: a run of sent and unreported units from i on
					ok := func(u *modelUnit) bool { return u.sent && !u.reported }
					for i < len(m.units)-1 && !ok(m.units[i]) {
						i++
					}
					run := 1
					for i+run < len(m.units) && run < n && ok(m.units[i+run]) {
						run++
					}
					n = run
				}
				honest := i+n <= len(m.units)
				for k := i; honest && k < i+n; k++ {
					honest = m.units[k].sent && !m.units[k].reported
				}
				err := w.check(m.first+uint64(i), uint64(n))
				if honest != (err == nil) {
					t.Fatalf("check of [%d, +%d) says %v, honest is %t", i, n, err, honest)
				}
				if !honest {
					return
				}
				w.report(m.first+uint64(i), n, nil)
				for _, u := range m.units[i : i+n] {
					tell(u)
				}
			},
			"shrink": func(t *rapid.T) { w.shrink() },
			"release": func(t *rapid.T) { // while there is a stream: the unsent units are dropped
				e := rapid.Uint64Range(1, 3).Draw(t, "epoch")
				released[e] = true
				w.rebuild(w.unsent, w.unsent, notHeld)
				var keep []*modelUnit
				for _, u := range m.units {
					if u.sent {
						keep = append(keep, u)
					} else if released[u.epoch] && !u.reported {
						tell(u)
					} else if !u.reported {
						keep = append(keep, u)
					}
				}
				m.units = keep
			},
			"break": func(t *rapid.T) { // and a new stream
				w.failWhere(0, notHeld)
				w.rebuild(0, 1, nil)
				var keep []*modelUnit
				for _, u := range m.units {
					if !u.reported && released[u.epoch] {
						tell(u)
					} else if !u.reported {
						u.sent = false
						keep = append(keep, u)
					}
				}
				m.units, m.first = keep, 1
				if rapid.Bool().Draw(t, "assigned again") {
					clear(released)
				}
			},
		})
	})
}

// Units that Kafka does not take for long cost what they weigh, not what went by meanwhile (S9).
func TestWindowMemoryOfStuckUnits(t *testing.T) {
	w := newWindow(newFramePool(64<<10), func(fate) {})
	data := make([]byte, 200)
	const limit = 1 << 20
	ample := cost{1 << 40, 1 << 40}
	stuck := 0
	for range 1500 {
		first := w.next
		for i := range frameUnits {
			f := w.open()
			f.data = append(f.data, data...)
			w.add(1, len(data), 1, callRef{id: first}, i)
		}
		for w.send(ample, 0) != nil {
		}
		w.report(first+1, frameUnits-1, nil) // the first one of each frame stays
		stuck++
		if *w.pool.pinned > limit {
			w.shrink()
		}
		if *w.pool.pinned > limit {
			t.Fatalf("%d stuck units of %d bytes hold %d bytes", stuck, len(data), *w.pool.pinned)
		}
	}
	if n := len(w.entries); n > 3*stuck {
		t.Errorf("%d stuck units keep %d entries", stuck, n)
	}
	w.rebuild(0, 1, nil)
	if got := int(w.next - 1); got != stuck {
		t.Errorf("%d units are left after a rebuild, want %d", got, stuck)
	}
	for seq := uint64(1); seq < w.next; seq++ {
		f := w.frames[w.frameOf(seq)]
		if f.slot(seq).reported() {
			t.Fatalf("unit %d is lost", seq)
		}
	}
	for w.send(ample, 0) != nil {
	}
	w.report(1, stuck, nil)
	if w.taken != (cost{}) || w.sent != (cost{}) || *w.pool.pinned > limit {
		t.Errorf("at the end: taken %+v, sent %+v, %d bytes held", w.taken, w.sent, *w.pool.pinned)
	}
	w.sweep()
	if n := len(w.frames); n > 40 {
		t.Errorf("%d frames are kept though nothing is left", n)
	}
}
