package outlet

// mend decides what becomes of one partition's records when Kafka refused a batch of them, or while
// one that is too large for a batch of the usual client has to go alone. It has no goroutine, clock
// or I/O.
//
// The usual client fails everything that it holds of a partition when one batch is refused. Those
// records come back early, in their order. Whatever was handed over later gets a stamp, and waits
// in the order of the stamps. All of it is sent again in groups by a second client, one group at a
// time: after a success the next group may be twice as large, after a refusal half as large, and a
// record that is refused alone is the guilty one. Those that the broker named (KIP-467) are sent
// alone at once, and need not be searched for; they are not taken to be guilty unheard: of several
// batches on their way only the first one's answer counts, and which it was cannot always be told.
type mend[R any] struct {
	early  []R
	begun  bool // early is in todo
	blamed []int

	issued uint64       // stamps given
	taken  uint64       // stamps that are in todo or ended otherwise
	late   map[uint64]R // by stamp
	passed map[uint64]struct{}

	todo   []item[R]
	open   int // of the group, without a fate
	failed []fate[R]
	size   int // of the next group
}

// item is a record that waits to be sent.
type item[R any] struct {
	rec   R
	alone bool // the broker named it: not in a group with others
}

// fate is how a record ended; nil: it is in Kafka.
type fate[R any] struct {
	rec R
	err error
}

// largest is how many records a group has at most.
const largest = 16 << 10

func newMend[R any]() *mend[R] {
	return &mend[R]{late: map[uint64]R{}, passed: map[uint64]struct{}{}, size: largest}
}

// stamp numbers a record that is handed over during the repair: later ones are sent after it.
func (m *mend[R]) stamp() uint64 {
	m.issued++
	return m.issued
}

// cameBack takes a record that the usual client gave back; stamp 0: it was there before the repair.
func (m *mend[R]) cameBack(stamp uint64, r R) {
	switch {
	case stamp != 0:
		m.late[stamp] = r
	case m.begun:
		m.todo = append(m.todo, item[R]{rec: r}) // not expected: what was there before has all come back
	default:
		m.early = append(m.early, r)
	}
}

// pass tells that a stamped record ended without the repair.
func (m *mend[R]) pass(stamp uint64) { m.passed[stamp] = struct{}{} }

// blame notes which records of the refused batch the broker named: their places in it. The batch
// begins with the first record that came back.
func (m *mend[R]) blame(places []int) {
	if !m.begun {
		m.blamed = places
	}
}

// gather moves what may be sent next to todo, once all that was there before the repair has come
// back.
func (m *mend[R]) gather() {
	if !m.begun {
		m.begun = true
		m.todo = items(m.early, m.blamed)
		m.early, m.blamed = nil, nil
	}
	for {
		next := m.taken + 1
		if r, ok := m.late[next]; ok {
			m.todo = append(m.todo, item[R]{rec: r})
			delete(m.late, next)
		} else if _, ok := m.passed[next]; ok {
			delete(m.passed, next)
		} else {
			return
		}
		m.taken = next
	}
}

// items are records to send, those at these places alone.
func items[R any](list []R, places []int) []item[R] {
	out := make([]item[R], len(list))
	for i, r := range list {
		out[i].rec = r
	}
	for _, p := range places {
		if p >= 0 && p < len(out) {
			out[p].alone = true
		}
	}
	return out
}

// next begins a group: as many as may be sent together, by number and by their bytes, but one at
// least. nil: a group is on its way, or there is none.
func (m *mend[R]) next(limit int64, bytes func(R) int64) []R {
	if m.open > 0 || len(m.todo) == 0 {
		return nil
	}
	var group []R
	for sum := int64(0); len(group) < len(m.todo) && len(group) < m.size; {
		x := m.todo[len(group)]
		if sum += bytes(x.rec); len(group) > 0 && (x.alone || sum > limit) {
			break
		}
		group = append(group, x.rec)
		if x.alone {
			break
		}
	}
	m.todo = m.todo[len(group):]
	m.open, m.failed = len(group), nil
	return group
}

// settle takes the fate of one record of the group, and tells whether it was the last.
func (m *mend[R]) settle(r R, err error) (last bool) {
	if err != nil {
		m.failed = append(m.failed, fate[R]{r, err})
	}
	m.open--
	return m.open == 0
}

// verdictOn is what an error says of a record.
type verdictOn int

const (
	itself  verdictOn = iota // it is this record's own
	batch                    // it, or another of its batch, is to blame
	nothing                  // it was given back because one before it failed, or for a reason that passes
)

// judge ends a group: it returns the fates of what will not be sent again, and puts the rest back
// in front. places are those that the broker named, in the batch that began with the first failed
// record.
func (m *mend[R]) judge(on func(error) verdictOn, places []int) (ends []fate[R]) {
	failed := m.failed
	m.failed = nil
	if len(failed) == 0 {
		m.size = min(2*m.size, largest)
		return nil
	}
	var again []R
	suspects := 0
	for i, f := range failed {
		switch on(f.err) {
		case itself:
			ends = append(ends, f)
			continue
		case batch:
			suspects++
			if suspects == 1 && i+1 == len(failed) || suspects == 1 && on(failed[i+1].err) != batch {
				ends = append(ends, f) // its batch had nothing else in it
				continue
			}
		}
		again = append(again, f.rec)
	}
	if suspects > 1 && len(places) == 0 {
		m.size = max(1, suspects/2)
	}
	m.todo = append(items(again, places), m.todo...)
	return ends
}

// over tells that nothing is left, and nothing that has a stamp is still somewhere else.
func (m *mend[R]) over() bool {
	return m.begun && m.open == 0 && len(m.todo) == 0 && m.taken == m.issued
}

// drain gives up everything that is not on its way.
func (m *mend[R]) drain() (all []R) {
	all = m.early
	for _, x := range m.todo {
		all = append(all, x.rec)
	}
	m.early, m.todo = nil, nil
	for stamp := m.taken + 1; stamp <= m.issued; stamp++ {
		if r, ok := m.late[stamp]; ok {
			all = append(all, r)
			delete(m.late, stamp)
			m.passed[stamp] = struct{}{}
		}
	}
	return all
}

// held is how many records wait or are on their way.
func (m *mend[R]) held() int { return len(m.early) + len(m.late) + len(m.todo) + m.open }
