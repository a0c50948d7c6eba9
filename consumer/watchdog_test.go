package consumer

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// A handler that heeds its context ends; its partition goes on after Done(nil).
func TestWatchdogCancels(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 2)
		cfg := l.config()
		cfg.HandlerTimeout = 10 * time.Second
		c, err := New(cfg)
		wantNil(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		for m, err := range c.Messages(ctx) {
			wantNil(t, err)
			if m.Offset == 0 {
				begun := time.Now()
				<-m.Context().Done()
				if took := time.Since(begun); took < 10*time.Second || took > 15*time.Second {
					t.Errorf("cancelled after %s", took)
				}
				stuck := wantAs[*StuckError](t, context.Cause(m.Context()))
				if stuck.Offset != 0 || stuck.Partition != 0 || stuck.Topic != topic {
					t.Errorf("cause: %v", stuck)
				}
			} else if err := m.Context().Err(); err != nil {
				t.Errorf("the next input's context: %v", err)
			}
			m.Done(nil)
			if n++; n == 2 {
				cancel()
			}
		}
		if l.committed(0) != 2 {
			t.Errorf("committed %d", l.committed(0))
		}
	})
}

// A handler that ignores it stops the consumer.
func TestWatchdogStops(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 5)
		cfg := l.config()
		cfg.HandlerTimeout = 10 * time.Second
		var h holder
		m := l.start(cfg, h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 5 })
		for _, i := range []int{0, 1, 3, 4} {
			h.messages()[i].Done(nil)
		}
		err := m.wait()
		if e := wantAs[*StuckError](t, err); e.Offset != 2 || !strings.Contains(e.Error(), "in partition 0 offset 2") {
			t.Errorf("got %v", e)
		}
		if e := wantAs[*AbandonedError](t, err); e.Partitions[0].Count != 1 || e.Partitions[0].First != 2 {
			t.Errorf("got %v", e)
		}
		if l.committed(0) != 2 {
			t.Errorf("committed %d, want 2", l.committed(0))
		}
		if err := m.Check(t.Context()); err == nil {
			t.Error("Check says nothing")
		}
	})
}

// What waits in the caller's queue is not stuck.
func TestWatchdogLeavesWaitingInputsAlone(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 50)
		cfg := l.config()
		cfg.HandlerTimeout = 10 * time.Second
		c, err := New(cfg)
		wantNil(t, err)
		n := 0
		for m, err := range c.Messages(t.Context()) {
			wantNil(t, err)
			time.Sleep(5 * time.Second) // each below the timeout, together far above it
			wantNil(t, m.Context().Err())
			m.Done(nil)
			if n++; n == 50 {
				break
			}
		}
	})
}

func TestForgottenDoneIsVisible(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 2)
		cfg := l.config()
		cfg.HandlerTimeout = -1
		var h holder
		m := l.start(cfg, h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 2 })
		h.messages()[1].Done(nil)
		time.Sleep(10 * time.Minute)
		if !strings.Contains(l.logs.String(), "nothing is committed beyond an input that is not done") {
			t.Error("no warning")
		}
		if err := m.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "stands still") {
			t.Errorf("Check: %v", err)
		}
		h.messages()[0].Done(nil)
		l.untilCommitted(0, 2)
		wantNil(t, m.Check(t.Context()))
		wantNil(t, m.stop())
	})
}

// Done is idempotent from any goroutine, also on copies, mixed with DoneAll.
func TestDoneFromEverywhere(t *testing.T) {
	inLab(t, 2, func(t *testing.T, l *lab) {
		l.feed(0, 500)
		l.feed(1, 500)
		var h holder
		m := l.start(l.config(), h.deliver)
		l.until("handed out", func() bool { return len(h.messages()) == 1000 })
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				ms := h.messages()
				if g%2 == 0 {
					DoneAll(ms)
					return
				}
				for _, m := range ms {
					again := *m
					again.Done(nil)
					m.Done(errors.New("too late, mostly"))
				}
			})
		}
		wg.Wait()
		for _, p := range m.State().Partitions {
			if p.Pending != 0 || p.Done != 500 || p.Halted != nil {
				t.Errorf("state: %+v", p)
			}
		}
		wantNil(t, m.stop())
		if l.committed(0) != 500 || l.committed(1) != 500 {
			t.Errorf("committed %d and %d", l.committed(0), l.committed(1))
		}
	})
}
