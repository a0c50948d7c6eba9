package limit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errEnough = errors.New("enough")

func TestMeter(t *testing.T) {
	m := NewMeter(100, 10)
	if m.TryAdd(101, 1) != true || m.TryAdd(1, 1) {
		t.Error("one that is larger than the whole passes alone, and nothing beside it")
	}
	m.Sub(101, 1)
	if m.Add(60, 5) || !m.Add(40, 1) || !m.Over() {
		t.Error("over is at the limit")
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errEnough)
	if err := m.Wait(ctx); err != errEnough { //nolint:errorlint // the cause itself
		t.Error(err)
	}
	woken := make(chan error)
	go func() { woken <- m.Wait(context.Background()) }()
	for range 100 {
		m.Sub(1, 0)
	}
	m.Sub(0, 6)
	if err := <-woken; err != nil {
		t.Error(err)
	}
	if b, r := m.Held(); b != 0 || r != 0 {
		t.Error(b, r)
	}
}

// A full meter says how long it will take to drain, in bytes and in records, whichever takes longer
// (C9).
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, x := range map[string]struct {
			bytes, records           int64 // held, of 1000 each
			bytesASecond, recASecond int64
			least, most              time.Duration
		}{
			"by records":    {1, 1000, 0, 7, 30 * time.Second, 40 * time.Second},
			"by bytes":      {1000, 1, 50, 0, 3 * time.Second, 6 * time.Second},
			"fast":          {1000, 1000, 249, 249, 5 * time.Millisecond, time.Second},
			"stands still":  {1000, 1000, 0, 0, stillRetryAfter, stillRetryAfter},
			"almost still":  {1, 1000, 0, 1, maxRetryAfter, maxRetryAfter},
			"bytes decides": {1000, 1000, 10, 240, 20 * time.Second, 30 * time.Second},
		} {
			m := NewMeter(1000, 1000)
			m.Add(x.bytes, x.records)
			if first := m.RetryAfter(); first != rateWindow {
				t.Errorf("%s: %v before anything is known", name, first)
			}
			time.Sleep(time.Second)
			m.Sub(x.bytesASecond, x.recASecond)
			if after := m.RetryAfter(); after < x.least || after > x.most {
				t.Errorf("%s: %v, want %v to %v", name, after, x.least, x.most)
			}
			// What was measured long ago says nothing.
			time.Sleep(time.Hour)
			if after := m.RetryAfter(); after != rateWindow {
				t.Errorf("%s: %v after an hour of silence", name, after)
			}
		}
	})
}
