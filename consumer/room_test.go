package consumer

import (
	"testing"
	"time"
)

// Outputs take a little longer than fetches, one partition has nothing new: the poll loop waits for
// memory. Pausing would wait for the fetch that the broker holds for the idle partition,
// FetchMaxWait each time.
func TestFullSpeedDoesNotPause(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		const inputs = 10_000
		l.feed(0, inputs)
		cfg := l.config()
		cfg.MaxRecords = 1000
		began := time.Now()
		m := l.start(cfg, func(b *Batch) {
			for i := range b.Messages {
				b.Messages[i].Start()
			}
			time.AfterFunc(20*time.Millisecond, b.DoneAll)
		})
		l.until("all is done", func() bool {
			done := int64(0)
			for _, p := range m.State().Partitions {
				if p.Paused {
					t.Fatal("a partition was paused")
				}
				done += p.Done
			}
			return done == inputs
		})
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("took %s", took)
		}
		wantNil(t, m.stop())
	})
}

// A partition that is slow for good is waited for once, then paused at once for a while: the others
// are not made to wait again and again.
func TestSlowPartitionIsNotWaitedForAgain(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 5000)
		cfg := l.config()
		cfg.MaxRecords = 1000
		cfg.HandlerTimeout = -1
		began := time.Now()
		m := l.start(cfg, func(*Batch) {})
		l.until("paused", func() bool {
			s := m.State()
			return len(s.Partitions) == 1 && s.Partitions[0].Paused
		})
		if took := time.Since(began); took < patience {
			t.Errorf("paused after %s, without patience", took)
		}
		p := m.parts.all()[0]
		crowded := func(pausedFor time.Duration) bool { // as if it were resumed
			p.mu.Lock()
			p.paused, p.pausedAt = false, m.clock.now()-int64(pausedFor)
			p.mu.Unlock()
			return m.reader.crowded()
		}
		if crowded(impatientTimes * patience / 2) {
			t.Error("worth waiting for again, soon after it was in vain")
		}
		if !crowded(2 * impatientTimes * patience) {
			t.Error("not worth waiting for, long after")
		}
		wantNil(t, m.stop())
	})
}

// With CommitElsewhere an input is done when its transaction has ended: that is waited for.
func TestTransactionsAreWaitedFor(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 5000)
		cfg := l.config()
		cfg.MaxRecords, cfg.HandlerTimeout, cfg.CommitElsewhere = 1000, -1, true
		began := time.Now()
		m := l.start(cfg, func(*Batch) {})
		l.until("paused", func() bool {
			s := m.State()
			return len(s.Partitions) == 1 && s.Partitions[0].Paused
		})
		if took := time.Since(began); took < patienceElsewhere {
			t.Errorf("paused after %s, before transactions of 100 ms end", took)
		}
		wantNil(t, m.stop())
	})
}

// A process that gets no processor for a while is not slow: it is waited for by what it sees of
// time, however long that takes by the clock.
func TestAStarvedProcessKeepsItsPatience(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 5000)
		cfg := l.config()
		cfg.MaxRecords = 1000
		cfg.HandlerTimeout = -1
		m := l.start(cfg, func(*Batch) {})
		l.until("paused", func() bool {
			s := m.State()
			return len(s.Partitions) == 1 && s.Partitions[0].Paused
		})
		p := m.parts.all()[0]
		p.mu.Lock()
		p.paused, p.pausedAt = false, 0 // as if it had never been
		p.mu.Unlock()
		tick, over := make(chan time.Time), make(chan struct{})
		go func() {
			defer close(over)
			m.reader.awaitSteps(t.Context(), tick)
		}()
		for range patienceSteps {
			time.Sleep(10 * patience)
			select {
			case <-over:
				t.Fatal("gave up early")
			case tick <- time.Time{}:
			}
		}
		<-over
		wantNil(t, m.stop())
	})
}
