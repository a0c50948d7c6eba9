package outlet

// mend decides what becomes of one partition's records when Kafka refused a batch of them, or while one that is too large for a batch of the usual
// client has to go alone. It has no goroutine, clock or I/O.
//
// The usual client fails everything that it holds of a partition when one batch is refused. Those records come back early, in their order. Whatever
// was handed over later gets a stamp, and waits in the order of the stamps. All of it is sent again in groups by a second client, one group at a time:
// after a success the next group may be twice as large, after a refusal half as large, and a record that is refused alone is the guilty one. Where the
// broker named the guilty records (KIP-467) they need not be searched for.
type mend[R any] struct {
	early  []R
	begun  bool // early is in todo
	blamed []int

	issued uint64       // stamps given
	taken  uint64       // stamps that are in todo or ended otherwise
	late   map[uint64]R // by stamp
	passed map[uint64]struct{}

	todo   []R
	group  []R
	open   int // of the group, without a fate
	failed []fate[R]
	size   int // of the next group
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
		m.todo = append(m.todo, r) // not expected: what was there before has all come back
	default:
		m.early = append(m.early, r)
	}
}

// pass tells that a stamped record ended without the repair.
func (m *mend[R]) pass(stamp uint64) { m.passed[stamp] = struct{}{} }

// blame notes which records of the refused batch the broker named: their places in it. The batch begins with the first record that came back.
func (m *mend[R]) blame(places []int) {
	if !m.begun {
		m.blamed = places
	}
}

// gather moves what may be sent next to todo, once all that was there before the repair has come back. It returns the records that the broker named.
func (m *mend[R]) gather() (guilty []R) {
	if !m.begun {
		m.begun = true
		guilty, m.todo = split(m.early, m.blamed)
		m.early, m.blamed = nil, nil
	}
	for {
		next := m.taken + 1
		if r, ok := m.late[next]; ok {
			m.todo = append(m.todo, r)
			delete(m.late, next)
		} else if _, ok := m.passed[next]; ok {
			delete(m.passed, next)
		} else {
			return guilty
		}
		m.taken = next
	}
}

// split takes the records at these places out.
func split[R any](all []R, places []int) (taken, rest []R) {
	if len(places) == 0 {
		return nil, all
	}
	named := map[int]bool{}
	for _, p := range places {
		named[p] = true
	}
	for i, r := range all {
		if named[i] {
			taken = append(taken, r)
		} else {
			rest = append(rest, r)
		}
	}
	return taken, rest
}

// next begins a group: as many as may be sent together, by number and by their bytes, but one at least. nil: a group is on its way, or there is none.
func (m *mend[R]) next(limit int64, bytes func(R) int64) []R {
	if m.open > 0 || len(m.todo) == 0 {
		return nil
	}
	n, sum := 0, int64(0)
	for n < len(m.todo) && n < m.size {
		if sum += bytes(m.todo[n]); n > 0 && sum > limit {
			break
		}
		n++
	}
	m.group, m.todo = m.todo[:n:n], m.todo[n:]
	m.open, m.failed = n, nil
	return m.group
}

// ended takes the fate of one record of the group, and tells whether it was the last.
func (m *mend[R]) ended(r R, err error) (last bool) {
	if err != nil {
		m.failed = append(m.failed, fate[R]{r, err})
	}
	m.open--
	return m.open == 0
}

// judge ends a group: it returns the fates of what will not be sent again, and puts the rest back in front. verdict tells an error that may be about
// another record of the batch from one that is about each. places are those that the broker named, in the batch that began with the first failed record.
func (m *mend[R]) judge(verdict func(error) bool, places []int) (ends []fate[R]) {
	failed := m.failed
	m.failed, m.group = nil, nil
	if len(failed) == 0 {
		m.size = min(2*m.size, largest)
		return nil
	}
	var again []fate[R]
	for _, f := range failed {
		if verdict(f.err) {
			again = append(again, f)
		} else {
			ends = append(ends, f)
		}
	}
	if len(again) == 0 {
		return ends
	}
	guilty, rest := split(again, places)
	if len(guilty) == 0 && len(again) == 1 { // its batch had nothing else in it
		guilty, rest = again, nil
	}
	if len(guilty) == 0 {
		m.size = max(1, len(again)/2)
	}
	m.putBack(rest)
	return append(ends, guilty...)
}

// putBack puts records back in front of all others.
func (m *mend[R]) putBack(list []fate[R]) {
	front := make([]R, 0, len(list)+len(m.todo))
	for _, f := range list {
		front = append(front, f.rec)
	}
	m.todo = append(front, m.todo...)
}

// retryAll ends a group so that everything that failed is sent again as it was: the reason passes.
func (m *mend[R]) retryAll() {
	failed := m.failed
	m.failed, m.group = nil, nil
	m.putBack(failed)
}

// over tells that nothing is left, and nothing that has a stamp is still somewhere else.
func (m *mend[R]) over() bool {
	return m.begun && m.open == 0 && len(m.todo) == 0 && m.taken == m.issued
}

// drain gives up everything that is not on its way.
func (m *mend[R]) drain() (all []R) {
	all = append(m.early, m.todo...)
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
