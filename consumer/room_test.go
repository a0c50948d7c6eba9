package consumer

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
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

// A partition that is slow for good is waited for a few times, then paused at once for a while: the
// others are not made to wait again and again.
func TestSlowPartitionIsNotWaitedForAgain(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 50_000)
		cfg := l.config()
		cfg.MaxRecords = 1000
		cfg.HandlerTimeout = -1
		began := time.Now()
		m := l.start(cfg, func(*Batch) {})
		paused := func() {
			t.Helper()
			l.until("paused", func() bool {
				s := m.State()
				return len(s.Partitions) == 1 && s.Partitions[0].Paused
			})
		}
		paused()
		if took := time.Since(began); took < patience {
			t.Errorf("paused after %s, without patience", took)
		}
		p := m.parts.all()[0]
		crowdedIn := func(d time.Duration) bool { // as if it were resumed, so much later
			p.mu.Lock()
			defer p.mu.Unlock()
			p.paused = false
			p.heldAgainst -= int64(d)
			defer func() { p.paused, p.heldAgainst = true, p.heldAgainst+int64(d) }()
			return m.reader.hasPatience(p, m.clock.now())
		}
		const impatient = impatientTimes * patience
		for n := 1; n < patienceTimes; n++ {
			if !crowdedIn(0) {
				t.Fatalf("not worth waiting for after %d waits in vain", n)
			}
			p.mu.Lock()
			p.paused = false // as if it were resumed
			p.mu.Unlock()
			m.reader.awaitRoom(t.Context())
			m.reader.balanceFlow()
			paused()
		}
		for _, c := range []struct {
			later time.Duration
			worth bool
		}{{0, false}, {impatient / 2, false}, {impatient, true}, {patienceTimes * impatient, true}} {
			if crowdedIn(c.later) != c.worth {
				t.Errorf("%s later: worth waiting for is %t, want %t", c.later, !c.worth, c.worth)
			}
		}
		p.mu.Lock()
		p.paused = false
		before := p.heldAgainst
		p.mu.Unlock()
		m.reader.balanceFlow() // nobody waited
		if p.heldAgainst != before {
			t.Errorf("a pause that nobody waited for is held against it for %s", time.Duration(p.heldAgainst-before))
		}
		wantNil(t, m.stop())
	})
}

// A partition that comes down to its limit just before patience ends does not hold the others to
// its own pace, wait by wait.
func TestOthersDoNotKeepAPartitionsPace(t *testing.T) {
	const each, slowest = 60_000, 20_000 // inputs; of the slow one, in a second
	inLab(t, 6, func(t *testing.T, l *lab) {
		random := rand.New(rand.NewPCG(1, 2))
		for p := range int32(6) {
			for n := 0; n < each; n += 500 {
				recs := make([]*kgo.Record, 500)
				for i := range recs {
					value := make([]byte, 100) // cannot be compressed: a fetch brings some hundreds
					for k := range value {
						value[k] = byte(random.Uint32())
					}
					recs[i] = &kgo.Record{Topic: topic, Partition: p, Value: value}
				}
				wantNil(t, l.feeder.ProduceSync(t.Context(), recs...).FirstErr())
			}
		}
		cfg := l.config()
		cfg.MaxRecords, cfg.HandlerTimeout = 20_000, -1
		slow, ended := make(chan *Batch, each), make(chan struct{})
		go func() {
			for {
				select {
				case b := <-slow:
					time.Sleep(time.Duration(len(b.Messages)) * time.Second / slowest)
					b.DoneAll()
				case <-ended:
					return
				}
			}
		}()
		var others atomic.Int64
		began := time.Now()
		m := l.start(cfg, func(b *Batch) {
			for i := range b.Messages {
				b.Messages[i].Start()
			}
			if b.Partition == 0 {
				slow <- b
				return
			}
			b.DoneAll()
			others.Add(int64(len(b.Messages)))
		})
		for others.Load() < 5*each {
			time.Sleep(time.Millisecond)
		}
		// It was waited for a few times: at its pace they would need seconds.
		if took := time.Since(began); took > 2*patienceTimes*patience {
			t.Errorf("beside a partition of %d inputs a second, %d inputs that take no time took %s", slowest, 5*each, took)
		}
		wantNil(t, m.stop())
		close(ended)
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
		p.paused, p.heldAgainst = false, 0 // as if it had never been
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
