package budget

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestHysteresis(t *testing.T) {
	b := New(Config{Bytes: 100, Records: 1000, LowPercent: 50})
	if !b.TryAcquire(60, 1) || b.Full() {
		t.Fatal("60 of 100 must fit")
	}
	if b.TryAcquire(60, 1) || !b.Full() {
		t.Fatal("a refused request above the low mark makes it full")
	}
	if b.TryAcquire(1, 1) {
		t.Fatal("full means full, also for a small one: or the low mark would never be reached")
	}
	if b.Release(9, 0) {
		t.Fatal("51 is above the low mark")
	}
	if !b.Release(1, 0) || b.Full() {
		t.Fatal("50 is the low mark")
	}
	if b.Release(50, 1) {
		t.Fatal("it was not full")
	}
}

func TestRecordsAreALimitOfTheirOwn(t *testing.T) {
	b := New(Config{Bytes: 1 << 40, Records: 3, LowPercent: 34})
	for range 3 {
		if !b.TryAcquire(0, 1) {
			t.Fatal("three must fit")
		}
	}
	if !b.Full() || b.TryAcquire(0, 1) {
		t.Fatal("a fourth must not")
	}
	if b.Release(0, 1) || !b.Release(0, 1) {
		t.Fatal("the low mark of 3 at 34 % is 1")
	}
}

func TestLargeRequestThatFailsDoesNotHoldUpSmallOnes(t *testing.T) {
	b := New(Config{Bytes: 100})
	b.TryAcquire(10, 1)
	if b.TryAcquire(95, 1) || b.Full() || !b.TryAcquire(5, 1) {
		t.Fatal("below the low mark a refusal is nobody else's matter")
	}
}

func TestOversizedPassesAlone(t *testing.T) {
	b := New(Config{Bytes: 100, Records: 10})
	b.TryAcquire(1, 1)
	if b.TryAcquire(1000, 1) {
		t.Fatal("not beside another")
	}
	b.Release(1, 1)
	if !b.TryAcquire(1000, 1) || !b.Full() {
		t.Fatal("alone it must pass")
	}
	if bytes, _ := b.Used(); bytes != 1000 {
		t.Fatalf("%d bytes held, want what they really are", bytes)
	}
	if b.TryAcquire(1, 1) {
		t.Fatal("nothing beside it")
	}
	if !b.Release(1000, 1) {
		t.Fatal("then on")
	}
}

func TestTakeCountsWhatIsThere(t *testing.T) {
	b := New(Config{Bytes: 100})
	if b.Take(99, 1) || !b.Take(50, 1) {
		t.Fatal("full at the high mark, not before")
	}
	if bytes, records := b.Used(); bytes != 149 || records != 2 {
		t.Fatalf("used %d, %d", bytes, records)
	}
}

func TestZeroConfigAndLimits(t *testing.T) {
	if bytes, records := New(Config{}).Limits(); bytes != DefaultBytes() || records != 0 {
		t.Fatalf("limits %d, %d", bytes, records)
	}
	if bytes, records := New(Config{Bytes: 7, Records: 8}).Limits(); bytes != 7 || records != 8 {
		t.Fatalf("limits %d, %d", bytes, records)
	}
	if b := New(Config{}); !b.TryAcquire(1, math.MaxInt32) || b.Full() {
		t.Fatal("records are not limited")
	}
}

func TestMisusePanics(t *testing.T) {
	for name, f := range map[string]func(){
		"only 1 bytes and 1 records held": func() { b := New(Config{}); b.Take(1, 1); b.Release(2, 1) },
		"negative amount":                 func() { New(Config{}).Take(-1, 0) },
		"out of range":                    func() { New(Config{LowPercent: 101}) },
	} {
		func() {
			defer func() {
				if r, _ := recover().(string); !strings.Contains(r, name) {
					t.Errorf("panic %q, want %q", r, name)
				}
			}()
			f()
		}()
	}
}

func TestAcquireIsFirstInFirstOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Bytes: 100, LowPercent: 100})
		b.Take(100, 0)
		var mu sync.Mutex
		var order []int64
		acquire := func(size int64) {
			go func() {
				if err := b.Acquire(t.Context(), size, 1); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, size)
				mu.Unlock()
			}()
			synctest.Wait()
		}
		for i := range int64(5) {
			acquire(60 - 10*i) // the later ones are smaller and would fit earlier
		}
		if b.TryAcquire(0, 0) {
			t.Error("TryAcquire overtook those who wait")
		}
		b.Release(55, 0) // 60 does not fit, 50 would
		synctest.Wait()
		if b.Waiting() != 5 {
			t.Errorf("%d wait, want all 5 behind the first", b.Waiting())
		}
		acquire(1)
		if b.Waiting() != 6 {
			t.Errorf("%d wait, want 6: one that would fit has to wait behind the first, too", b.Waiting())
		}
		for _, enough := range []int64{5, 50, 40, 30, 20, 1} { // for one at a time: two that are let in together may run in any order
			b.Release(enough, 0)
			synctest.Wait()
		}
		if want := []int64{60, 50, 40, 30, 20, 1}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	})
}

var errEnough = errors.New("enough")

func TestAcquireEndsWithTheCauseAndLetsTheNextOneBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(Config{Bytes: 100})
		b.Take(50, 0)
		ctx, cancel := context.WithCancelCause(t.Context())
		large, small := make(chan error, 1), make(chan error, 1)
		go func() { large <- b.Acquire(ctx, 90, 0) }()
		synctest.Wait()
		go func() { small <- b.Acquire(t.Context(), 10, 0) }()
		time.Sleep(time.Hour)
		synctest.Wait()
		if b.Waiting() != 2 {
			t.Fatalf("%d wait, want 2", b.Waiting())
		}
		cancel(errEnough)
		if err := <-large; !errors.Is(err, errEnough) {
			t.Errorf("error %v, want the cause", err)
		}
		if err := <-small; err != nil {
			t.Errorf("the small one: %v", err)
		}
		if bytes, _ := b.Used(); bytes != 60 {
			t.Errorf("%d bytes held, want 60: the abandoned wait took nothing", bytes)
		}
	})
}

// The grant comes between the context's end and the lock of the one who waited.
func TestGrantThatMeetsTheContextsEndIsNotLost(t *testing.T) {
	b := New(Config{Bytes: 1, LowPercent: 100})
	b.Take(1, 0)
	w := &waiter{want: newAmount(1, 0), granted: make(chan struct{})}
	place := b.waiters.PushBack(w)
	b.Release(1, 0)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.abandon(ended, w, place); err != nil {
		t.Errorf("granted, but %v", err)
	}
	b.Release(1, 0) // panics if the amount got lost
}

// TestAccounting holds a budget against plain sums: what is held is what was given, a grant never
// passes the limit except alone, and full follows its definition.
func TestAccounting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		high := amount{rapid.Int64Range(1, 50).Draw(t, "bytes"), rapid.Int64Range(1, 20).Draw(t, "records")}
		percent := rapid.IntRange(1, 100).Draw(t, "low")
		b := New(Config{Bytes: high.bytes, Records: int(high.records), LowPercent: percent})
		low := high.percent(percent)
		var held []amount
		sum := func() (s amount) {
			for _, a := range held {
				s = s.plus(a)
			}
			return s
		}
		draw := func(t *rapid.T) amount {
			return amount{rapid.Int64Range(0, 60).Draw(t, "b"), rapid.Int64Range(0, 5).Draw(t, "r")}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if bytes, records := b.Used(); bytes != sum().bytes || int64(records) != sum().records {
					t.Fatalf("used %d, %d, want %v", bytes, records, sum())
				}
				if b.Full() && sum().within(low) && !sum().reaches(high) {
					t.Fatalf("full with %v, low mark %v", sum(), low)
				}
				if !b.Full() && sum().reaches(high) && !sum().within(low) {
					t.Fatalf("not full with %v of %v", sum(), high)
				}
			},
			"try": func(t *rapid.T) {
				a, full, before := draw(t), b.Full(), sum()
				fits := before.plus(a.clamp(high)).within(high)
				if got := b.TryAcquire(a.bytes, int(a.records)); got != (fits && !full) {
					t.Fatalf("TryAcquire(%v) with %v of %v: %v", a, before, high, got)
				} else if got {
					held = append(held, a)
				}
			},
			"take": func(t *rapid.T) {
				a := draw(t)
				b.Take(a.bytes, int(a.records))
				held = append(held, a)
			},
			"release": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip("nothing held")
				}
				i := rapid.IntRange(0, len(held)-1).Draw(t, "i")
				full := b.Full()
				resumed := b.Release(held[i].bytes, int(held[i].records))
				held = slices.Delete(held, i, i+1)
				if want := full && sum().within(low); resumed != want {
					t.Fatalf("Release resumed %v, want %v", resumed, want)
				}
			},
		})
	})
}

func BenchmarkTakeRelease(b *testing.B) {
	b.ReportAllocs()
	budget := New(Config{Bytes: 1 << 20})
	for b.Loop() {
		budget.Take(100, 1)
		budget.Release(100, 1)
	}
}
