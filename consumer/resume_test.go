package consumer

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A halted partition is taken up again when its cause is gone: from the input that failed, without
// those above it that were done, and without a restart.
func TestResume(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		cfg := l.config()
		halted := halts(&cfg)
		var healed atomic.Bool
		var mu sync.Mutex
		seen := map[int64]int{}
		m := l.start(cfg, func(b *Batch) {
			// Backwards, so that there is something done above the input that fails.
			for i := len(b.Messages) - 1; i >= 0; i-- {
				in := &b.Messages[i]
				if !in.Start() {
					continue
				}
				if in.Partition == 0 && in.Offset == 4 && !healed.Load() {
					for below := range i {
						if b.Messages[below].Start() {
							b.Messages[below].Done(nil)
						}
					}
					in.Done(errors.New("the database is down"))
					return
				}
				if in.Partition == 0 {
					mu.Lock()
					seen[in.Offset]++
					mu.Unlock()
				}
				in.Done(nil)
			}
		})
		<-halted
		if err := m.Resume(topic, 1); !errors.Is(err, ErrNotHalted) {
			t.Errorf("partition 1 is not halted: %v", err)
		}
		if err := m.Resume(topic, 7); !errors.Is(err, ErrNotHalted) {
			t.Errorf("partition 7 is not there: %v", err)
		}
		healed.Store(true)
		wantNil(t, m.Resume(topic, 0))
		l.untilCommitted(0, 10)
		l.feed(0, 5)
		l.untilCommitted(0, 15)
		if s := m.State().Partitions[0]; s.Halted != nil {
			t.Errorf("still halted: %+v", s)
		}
		wantNil(t, m.Check(t.Context()))
		wantNil(t, m.stop())
		if err := m.Resume(topic, 0); !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		for o := int64(4); o < 15; o++ {
			if seen[o] != 1 {
				t.Errorf("offset %d was done %d times", o, seen[o])
			}
		}
	})
}

// Halted again for the same reason: nothing is skipped, however often it is resumed.
func TestResumeWithoutACure(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 3)
		cfg := l.config()
		halted := halts(&cfg)
		poison := errors.New("poison")
		m := l.start(cfg, func(b *Batch) {
			for i := range b.Messages {
				if in := &b.Messages[i]; in.Start() {
					in.Done(map[bool]error{true: poison}[in.Offset == 1])
				}
			}
		})
		for range 3 {
			select {
			case e := <-halted:
				if e.Offset != 1 || !errors.Is(e, poison) {
					t.Errorf("halted with %v", e)
				}
			case <-time.After(5 * time.Minute):
				t.Error("it went on behind the input that failed")
			}
			if m.State().Partitions[0].Halted != nil {
				wantNil(t, m.Resume(topic, 0))
			}
		}
		l.untilCommitted(0, 1)
		wantNil(t, m.stop())
	})
}
