package consumer

import (
	"testing"
	"time"
)

func TestReadsAndCommits(t *testing.T) {
	inLab(t, 3, func(t *testing.T, l *lab) {
		l.feed(0, 1000)
		l.feed(1, 10)
		m := l.start(l.config(), nil)
		l.untilCommitted(0, 1000)
		l.untilCommitted(1, 10)
		l.untilCommitted(2, 0) // where the empty partition starts is committed too
		wantNil(t, m.Check(t.Context()))
		s := m.State()
		if !s.Joined || len(s.Partitions) != 3 || s.Partitions[0].Done != 1000 || s.Partitions[0].Committed != 1000 || s.Lag() != 0 {
			t.Errorf("state: %+v", s)
		}
		wantNil(t, m.stop())
	})
}

func TestCommitsOnlyBelowTheFirstNotDone(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		var h holder
		m := l.start(l.config(), h.deliver)
		l.until("10 handed out", func() bool { return len(h.messages()) == 10 })
		ms := h.messages()
		for _, i := range []int{0, 1, 2, 4, 5, 9} {
			ms[i].Done(nil)
		}
		time.Sleep(3 * time.Second)
		if got := l.committed(0); got != 3 {
			t.Errorf("committed %d, want 3", got)
		}
		p := m.State().Partitions[0]
		if p.Oldest.Offset != 3 || p.DoneAbove != 3 || p.Pending != 4 || p.Oldest.Age < 3*time.Second {
			t.Errorf("state: %+v", p)
		}
		DoneAll(ms)
		wantNil(t, m.stop())
		if got := l.committed(0); got != 10 {
			t.Errorf("committed %d after close, want 10", got)
		}
	})
}

func TestMessages(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 5)
		l.feed(1, 5)
		c, err := New(l.config())
		wantNil(t, err)
		n := 0
		for m, err := range c.Messages(t.Context()) {
			wantNil(t, err)
			m.Done(nil)
			if n++; n == 10 {
				break
			}
		}
		if l.committed(0) != 5 || l.committed(1) != 5 {
			t.Errorf("committed %d and %d, want 5 and 5", l.committed(0), l.committed(1))
		}
	})
}
