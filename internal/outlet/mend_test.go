package outlet

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var (
	errGuilty = errors.New("a record of the batch is invalid")
	errClosed = errors.New("closed")
)

var errBehind = errors.New("one before it failed")

func judged(err error) verdictOn {
	switch {
	case errors.Is(err, errGuilty):
		return batch
	case errors.Is(err, errBehind):
		return nothing
	}
	return itself
}

// TestMend plays a broker that refuses batches with guilty records in them, against random
// arrivals, cuts of batches and answers: each good record is delivered once and in order, and each
// guilty one is refused, alone.
func TestMend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.IntRange(1, 60).Draw(t, "records")
		guilty := map[int]bool{}
		for range rapid.IntRange(0, 6).Draw(t, "guilty") {
			guilty[rapid.IntRange(0, total-1).Draw(t, "which")] = true
		}
		names := rapid.Bool().Draw(t, "the broker names the guilty")
		early := rapid.IntRange(1, total).Draw(t, "early")
		m := newMend[int]()
		var log []int
		fates := map[int]error{}
		end := func(r int, err error) {
			if _, twice := fates[r]; twice {
				t.Fatalf("record %d has two fates", r)
			}
			fates[r] = err
		}
		// places of the guilty in the batch that begins at the front of list.
		named := func(list []int, n int) (places []int) {
			if rapid.IntRange(0, 9).Draw(t, "names others") == 0 {
				return []int{-1, 0, 2, 1 << 30}
			}
			for i, r := range list[:n] {
				if guilty[r] {
					places = append(places, i)
				}
			}
			return places
		}
		all := make([]int, early)
		for r := range early {
			all[r] = r
		}
		if names {
			m.blame(named(all, rapid.IntRange(1, early).Draw(t, "refused batch")))
		}
		for r := range early {
			m.cameBack(0, r)
		}
		arrived := early
		stamps := map[uint64]int{}
		arrive := func() {
			if arrived == total {
				return
			}
			s := m.stamp()
			stamps[s] = arrived
			arrived++
		}
		settle := func() { // one of those with a stamp comes back, or ends otherwise
			for s, r := range stamps {
				delete(stamps, s)
				if rapid.IntRange(0, 9).Draw(t, "ends by itself") == 0 {
					m.pass(s)
					end(r, errClosed)
					return
				}
				m.cameBack(s, r)
				return
			}
		}
		for rounds := 0; !m.over() || arrived < total || len(stamps) > 0; rounds++ {
			if rounds > 40*total+100 {
				t.Fatalf("no end: %+v", m)
			}
			for range rapid.IntRange(0, 3).Draw(t, "arrive") {
				arrive()
				settle()
			}
			if arrived < total && rapid.Bool().Draw(t, "one more") {
				arrive()
			}
			m.gather()
			group := slices.Clone(m.next(int64(rapid.IntRange(1, 100).Draw(t, "limit")), func(int) int64 { return 10 }))
			if group == nil {
				settle()
				continue
			}
			// The broker takes the group in batches; the first that is refused fails all that
			// follow.
			var places []int
			for i := 0; i < len(group); {
				n := rapid.IntRange(1, len(group)-i).Draw(t, "batch")
				if slices.ContainsFunc(group[i:i+n], func(r int) bool { return guilty[r] }) {
					if names {
						places = named(group[i:], n)
					}
					behind := i + rapid.IntRange(n, len(group)-i).Draw(t, "failed with it")
					for at, r := range group[i:] {
						m.settle(r, map[bool]error{true: errGuilty, false: errBehind}[i+at < behind])
					}
					break
				}
				for _, r := range group[i : i+n] {
					log = append(log, r)
					end(r, nil)
					m.settle(r, nil)
				}
				i += n
			}
			for _, f := range m.judge(judged, places) {
				end(f.rec, f.err)
			}
		}
		if !slices.IsSorted(log) {
			t.Errorf("out of order: %v", log)
		}
		for r := range total {
			err, ok := fates[r]
			switch {
			case !ok:
				t.Errorf("record %d has no fate", r)
			case errors.Is(err, errClosed):
			case guilty[r] != (err != nil):
				t.Errorf("record %d: guilty %t, fate %v", r, guilty[r], err)
			}
		}
		if m.held() != 0 {
			t.Errorf("%d are held", m.held())
		}
	})
}

// A guilty record among many is found in about twice the logarithm of their number, not one by one.
func TestMendHalves(t *testing.T) {
	m := newMend[int]()
	for r := range 1024 {
		m.cameBack(0, r)
	}
	m.gather()
	groups := 0
	for ; !m.over(); groups++ {
		group := m.next(1<<30, func(int) int64 { return 1 })
		bad := slices.Contains(group, 700)
		for _, r := range group {
			m.settle(r, map[bool]error{true: errGuilty}[bad])
		}
		for _, f := range m.judge(judged, nil) {
			if f.rec != 700 {
				t.Errorf("%d was refused", f.rec)
			}
		}
	}
	if groups > 40 {
		t.Errorf("%d groups for one guilty of 1,024", groups)
	}
}

func TestMendGivesUp(t *testing.T) {
	m := newMend[string]()
	m.cameBack(0, "a")
	m.cameBack(0, "b")
	m.gather()
	m.next(0, func(string) int64 { return 1 })
	s := m.stamp()
	m.cameBack(s, "c")
	if got := fmt.Sprint(m.drain()); got != "[b c]" {
		t.Errorf("gave up %s: a is on its way", got)
	}
	m.settle("a", errClosed)
	if ends := m.judge(judged, nil); len(ends) != 1 || ends[0].rec != "a" {
		t.Errorf("%v", ends)
	}
	m.gather()
	if !m.over() || m.held() != 0 {
		t.Errorf("%+v", m)
	}
}
