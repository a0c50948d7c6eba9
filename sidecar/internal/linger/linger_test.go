package linger_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/ackmark/ackmark/sidecar/internal/linger"
)

const ms = time.Millisecond

func TestRule(t *testing.T) {
	for _, tt := range []struct {
		name             string
		records, batches int64 // of each window
		windows          int
		want             time.Duration
	}{
		{"before anything was sent", 0, 0, 1, 5 * ms},
		{"two a batch: at most the double at once", 12, 6, 1, 10 * ms},
		{"two a batch, for long", 12, 6, 5, 25 * ms},
		{"eight a batch are enough", 48, 6, 20, 5 * ms},
		{"full batches", 60_000, 6, 20, 5 * ms},
		{"nothing was written in the window", 0, 0, 20, 5 * ms},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := linger.NewRule(5*ms, 25*ms)
			for range tt.windows {
				r.Gathered(tt.records, tt.batches)
			}
			if r.Wait() != tt.want {
				t.Errorf("a wait of %s, want %s", r.Wait(), tt.want)
			}
		})
	}
}

// When many come again, records do not wait longer than they need to gather eight.
func TestRuleComesBack(t *testing.T) {
	r := linger.NewRule(5*ms, 25*ms)
	for range 10 {
		r.Gathered(2, 1)
	}
	for range 20 {
		r.Gathered(1000, 1)
	}
	if r.Wait() != 5*ms {
		t.Errorf("a wait of %s after full batches, want 5ms", r.Wait())
	}
}

// TestRuleSettles feeds a steady stream: the wait comes to rest where a batch has eight records, or
// at the bound before that.
func TestRuleSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perMs := rapid.Float64Range(0.05, 20).Draw(t, "records a millisecond of a partition")
		r := linger.NewRule(5*ms, 25*ms)
		for range 200 {
			n := max(1, int64(perMs*float64(r.Wait())/float64(ms)*100))
			r.Gathered(n, 100)
			if r.Wait() < 5*ms || r.Wait() > 25*ms {
				t.Fatalf("a wait of %s, outside 5ms to 25ms", r.Wait())
			}
		}
		ideal := min(max(time.Duration(8/perMs*float64(ms)), 5*ms), 25*ms)
		if d := r.Wait() - ideal; d.Abs() > ideal/10 {
			t.Errorf("a wait of %s, want about %s", r.Wait(), ideal)
		}
	})
}

// paced is a pacer of 5 to 25 ms, and when it flushed.
type paced struct {
	*linger.Pacer
	start time.Time

	mu      sync.Mutex
	flushed []time.Duration
}

func newPaced() *paced {
	p := &paced{start: time.Now()}
	p.Pacer = linger.New(5*ms, 25*ms, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.flushed = append(p.flushed, time.Since(p.start))
	})
	return p
}

// take returns when it flushed since the last take, from start on.
func (p *paced) take() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	flushed := p.flushed
	p.flushed = nil
	return flushed
}

// wrote has two records in each batch, so the rule waits as long as it may.
func (p *paced) wrote(batches int) {
	for range batches {
		p.OnProduceBatchWritten(kgo.BrokerMetadata{}, "out", 0, kgo.ProduceBatchMetrics{NumRecords: 2})
	}
}

// stream has a message come each millisecond.
func (p *paced) stream(d time.Duration) {
	for range d / ms {
		p.Came()
		time.Sleep(ms)
	}
}

func TestOneAloneWaitsTheShortest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaced()
		defer p.Close()
		for range 4 { // each waits for its acknowledgement, and then sends the next
			p.wrote(10)
			p.Came()
			begun := time.Since(p.start)
			time.Sleep(5*ms + time.Microsecond)
			synctest.Wait()
			if at := p.take(); len(at) != 1 || at[0] != begun+5*ms {
				t.Fatalf("came at %s, flushed at %v, want once, 5ms later", begun, at)
			}
		}
	})
}

func TestFewGatherLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaced()
		defer p.Close()
		for range 10 {
			p.wrote(10)
			p.stream(30 * ms)
		}
		if w := p.Wait(); w != 25*ms {
			t.Fatalf("waits %s, want 25ms: batches have 2 records", w)
		}
		time.Sleep(100 * ms)
		synctest.Wait()
		p.take()
		p.stream(200 * ms)
		if at := p.take(); len(at) < 7 || len(at) > 8 {
			t.Errorf("%d flushes in 200ms, want one each 25ms: %v", len(at), at)
		}
	})
}

func TestNothingIsFlushedAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaced()
		p.Came()
		p.Close()
		p.Came()
		time.Sleep(time.Second)
		synctest.Wait()
		if at := p.take(); len(at) != 0 {
			t.Errorf("flushed at %v after Close", at)
		}
	})
}

func TestNoChoiceNoPacer(t *testing.T) {
	for _, d := range [][2]time.Duration{{0, 25 * ms}, {5 * ms, 5 * ms}, {5 * ms, ms}, {-1, 25 * ms}} {
		p := linger.New(d[0], d[1], func() { t.Error("flushed") })
		if p != nil {
			t.Errorf("from %s to %s: a pacer, want none", d[0], d[1])
		}
		p.Came()
		p.Now()
		p.Close()
	}
}
