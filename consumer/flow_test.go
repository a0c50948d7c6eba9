package consumer

import (
	"bytes"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// feedBytes produces n records of a size to a partition, a few at a time.
func (l *lab) feedBytes(partition int32, n, size int) {
	l.t.Helper()
	value := bytes.Repeat([]byte("x"), size)
	for n > 0 {
		recs := make([]*kgo.Record, min(n, 500))
		for i := range recs {
			recs[i] = &kgo.Record{Topic: topic, Partition: partition, Value: value}
		}
		if err := l.feeder.ProduceSync(l.t.Context(), recs...).FirstErr(); err != nil {
			l.t.Fatal(err)
		}
		n -= len(recs)
	}
}

// One partition's handler stalls with a huge backlog: the others read on, and memory stays within
// the bound (S9).
func TestStalledPartitionDoesNotStarveOthers(t *testing.T) {
	inLab(t, 4, func(t *testing.T, l *lab) {
		const backlog = 20_000
		l.feedBytes(0, backlog, 1000)
		cfg := l.config()
		cfg.MaxBytes, cfg.MaxRecords = 1<<20, 10_000
		cfg.HandlerTimeout = -1
		cfg.Options = append(cfg.Options, kgo.FetchMaxBytes(64<<10), kgo.FetchMaxPartitionBytes(64<<10))
		var mu sync.Mutex
		var stalled []*Message
		m := l.start(cfg, func(b *Batch) {
			if b.Partition != 0 {
				doAll(b)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range b.Messages {
				if b.Messages[i].Start() {
					stalled = append(stalled, &b.Messages[i])
				}
			}
		})
		l.until("partition 0 is paused", func() bool {
			s := m.State()
			return len(s.Partitions) == 4 && s.Partitions[0].Paused
		})
		for range 20 {
			for p := range int32(3) {
				l.feedBytes(p+1, 200, 1000)
			}
			s := m.State()
			if used := s.Partitions[0].PendingBytes; used > 1<<20 {
				t.Fatalf("the stalled partition holds %d bytes of a budget of %d", used, 1<<20)
			}
		}
		for p := range int32(3) {
			l.untilCommitted(p+1, 4000)
		}
		// Going on: everything of the backlog arrives.
		finished := 0
		l.until("the backlog is done", func() bool {
			mu.Lock()
			batch := stalled
			stalled = nil
			mu.Unlock()
			DoneAll(batch)
			finished += len(batch)
			return finished == backlog
		})
		wantNil(t, m.stop())
		if got := l.committed(0); got != backlog {
			t.Errorf("committed %d, want %d", got, backlog)
		}
	})
}

// All partitions stall: pending stays within the stated bound, in bytes and in records.
func TestPendingStaysWithinTheBound(t *testing.T) {
	for name, limit := range map[string]struct {
		bytes   int64
		records int
		size    int
	}{
		"bytes":   {1 << 20, 1_000_000, 2000},
		"records": {1 << 40, 800, 10},
	} {
		t.Run(name, func(t *testing.T) {
			inLab(t, 3, func(t *testing.T, l *lab) {
				for p := range int32(3) {
					l.feedBytes(p, 3000, limit.size)
				}
				cfg := l.config()
				cfg.MaxBytes, cfg.MaxRecords = limit.bytes, limit.records
				m := l.start(cfg, func(*Batch) {})
				l.until("all paused", func() bool {
					s := m.State()
					for _, p := range s.Partitions {
						if !p.Paused {
							return false
						}
					}
					return len(s.Partitions) == 3
				})
				time.Sleep(time.Minute)
				var records int
				var size int64
				for _, p := range m.State().Partitions {
					records += p.Pending
					size += p.PendingBytes
				}
				onePoll := int64(m.reader.maxPoll) * int64(limit.size+recordOverhead)
				if size > limit.bytes+onePoll || records > limit.records+m.reader.maxPoll {
					t.Errorf("%d records of %d bytes pending", records, size)
				}
				wantNil(t, m.stop())
			})
		})
	}
}

// With many partitions, too: each of them may be lifted above its limit by a poll, but not by an
// eighth of the budget each.
func TestBudgetHoldsWithManyPartitions(t *testing.T) {
	const partitions = 24
	inLab(t, partitions, func(t *testing.T, l *lab) {
		for p := range int32(partitions) {
			l.feed(p, 1000)
		}
		cfg := l.config()
		cfg.MaxRecords = 800
		m := l.start(cfg, func(*Batch) {})
		l.until("all paused", func() bool {
			s := m.State()
			return len(s.Partitions) == partitions && !slices.ContainsFunc(s.Partitions, func(p PartitionState) bool { return !p.Paused })
		})
		records := 0
		for _, p := range m.State().Partitions {
			records += p.Pending
		}
		if records > cfg.MaxRecords+cfg.MaxRecords/8+partitions {
			t.Errorf("%d records pending, the budget is %d", records, cfg.MaxRecords)
		}
		wantNil(t, m.stop())
	})
}

// A record larger than the whole budget passes alone.
func TestOversizeRecordPasses(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 3)
		l.feedBytes(0, 1, 500_000)
		l.feed(0, 3)
		l.feedBytes(0, 2, 500_000)
		cfg := l.config()
		cfg.MaxBytes = 1000
		m := l.start(cfg, nil)
		l.untilCommitted(0, 9)
		wantNil(t, m.stop())
	})
}

// One input is never done while everything behind it is: the window closes at MaxRecords, visibly,
// and opens again.
func TestWindowIsBounded(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 5000)
		cfg := l.config()
		cfg.MaxRecords = 1000
		cfg.HandlerTimeout = -1
		var first *Message
		m := l.start(cfg, func(b *Batch) {
			for i := range b.Messages {
				in := &b.Messages[i]
				if !in.Start() {
					continue
				}
				if in.Offset == 0 {
					first = in
				} else {
					in.Done(nil)
				}
			}
		})
		l.until("paused", func() bool {
			s := m.State()
			return len(s.Partitions) == 1 && s.Partitions[0].Paused
		})
		time.Sleep(time.Minute)
		if s := m.State().Partitions[0]; s.Oldest.Offset != 0 || s.DoneAbove < 900 || s.DoneAbove > 1000+m.reader.maxPoll {
			t.Errorf("state: %+v", s)
		}
		first.Done(nil)
		l.untilCommitted(0, 5000)
		wantNil(t, m.stop())
	})
}

// The heap stays within the bound while a handler stalls on a backlog that is many times larger.
func TestHeapStaysWithinTheBound(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feedBytes(0, 15_000, 2000)
		l.feedBytes(1, 15_000, 2000)
		heap := func() int64 {
			runtime.GC()
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			return int64(s.HeapAlloc)
		}
		before := heap()
		cfg := l.config()
		cfg.MaxBytes = 8 << 20
		var h holder
		m := l.start(cfg, h.deliver)
		l.until("all paused", func() bool {
			s := m.State()
			return len(s.Partitions) == 2 && s.Partitions[0].Paused && s.Partitions[1].Paused
		})
		time.Sleep(10 * time.Second)
		if grown := heap() - before; grown > 2*cfg.MaxBytes {
			t.Errorf("the heap grew by %d KiB with a budget of %d KiB", grown>>10, cfg.MaxBytes>>10)
		} else {
			t.Logf("the heap grew by %d KiB with a budget of %d KiB", grown>>10, cfg.MaxBytes>>10)
		}
		h.letGo()
		wantNil(t, m.stop())
	})
}

// What a partition uses is read where its pause is decided: one that has nothing left is not paused
// by what it used before.
func TestNothingPendingIsNotPaused(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		var h holder
		m := l.start(l.config(), h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 10 })
		p := m.parts.find(topic, 0)
		_, limits := m.reader.limits([]*partition{p})
		p.mu.Lock()
		p.hand.records += m.cfg.MaxRecords // above its limit while the round looks at it
		p.mu.Unlock()
		used := m.reader.use(p)
		p.mu.Lock()
		p.hand.records -= m.cfg.MaxRecords
		p.mu.Unlock()
		h.letGo() // its last run is released before the decision
		if got := m.reader.decide(p, limits[0]); used < limits[0] || got != flowKeep {
			t.Errorf("used %.2f of %.2f, decided %v: paused with nothing pending", used, limits[0], got)
		}
		l.feed(0, 10)
		l.untilCommitted(0, 20)
		wantNil(t, m.stop())
	})
}

// An assignment that is begun again where the old one was paused is read: the client's pause ends
// with the assignment that it was for.
func TestRestartOfAPausedAssignment(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		m := l.start(l.config(), nil)
		l.untilCommitted(0, 10)
		p := m.parts.find(topic, 0)
		p.mu.Lock()
		p.paused = true
		p.mu.Unlock()
		m.Client().PauseFetchPartitions(map[string][]int32{topic: {0}})
		m.group.restart(p, 10)
		l.feed(0, 10)
		l.untilCommitted(0, 20)
		wantNil(t, m.stop())
	})
}

// The queue of the iterators holds what waits in it, not room for all that ever passed.
func TestQueueDoesNotGrow(t *testing.T) {
	q := &queue{wake: make(chan struct{}, 1)}
	batches := make([]Batch, 5)
	for i := range 4 {
		q.push(item{batch: &batches[i]})
	}
	for i := range 100_000 {
		q.push(item{batch: &batches[(i+4)%5]})
		if it, ok := q.pop(); !ok || it.batch != &batches[i%5] {
			t.Fatalf("round %d: out of order", i)
		}
	}
	if cap(q.items) > 1000 {
		t.Errorf("5 items wait in room for %d", cap(q.items))
	}
}
