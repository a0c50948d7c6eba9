// Package budget bounds memory: bytes and records that are held at the same time (S9).
//
// A [Budget] is full from the moment it reached a limit, or had to refuse a request, until so much
// was released that both quantities are at the low mark. Without that distance a consumer at its
// limit would pause and resume its fetches at every record.
//
// The obvious design, a weighted semaphore, was not enough for three reasons: it has one quantity,
// and a million tiny records weigh more than their bytes; it lets a request that is larger than the
// whole wait for ever, where one oversized record has to pass, alone; and what a broker has already
// sent is in memory whether or not it fits, so it must be counted without asking ([Budget.Take]).
package budget

import (
	"container/list"
	"context"
	"fmt"
	"sync"
)

// Config are the limits of a Budget. The zero value is usable.
type Config struct {
	// Bytes is the high mark in bytes. Default [DefaultBytes].
	Bytes int64
	// Records is the high mark in records. Default: not limited.
	Records int
	// LowPercent is the low mark in percent of both limits: 1 to 100. Default 75.
	LowPercent int
}

// Budget counts what is held. It is safe for concurrent use.
type Budget struct {
	high, low amount

	mu      sync.Mutex
	used    amount    // may exceed high: by Take, or by one oversized request
	full    bool      // set at the high mark, cleared at the low one
	waiters list.List // of *waiter, in the order of their Acquire; empty unless the first of them does not fit
}

type waiter struct {
	want    amount
	granted chan struct{} // closed under mu
}

// New returns an empty budget. Negative limits and a LowPercent outside 1 to 100 panic: whoever
// takes them from a user validates them.
func New(cfg Config) *Budget {
	if cfg.Bytes < 0 || cfg.Records < 0 || cfg.LowPercent < 0 || cfg.LowPercent > 100 {
		panic(fmt.Sprintf("budget: limits out of range: %+v", cfg))
	}
	if cfg.Bytes == 0 {
		cfg.Bytes = DefaultBytes()
	}
	if cfg.LowPercent == 0 {
		cfg.LowPercent = 75
	}
	high := amount{cfg.Bytes, int64(cfg.Records)}
	if cfg.Records == 0 {
		high.records = unlimited
	}
	return &Budget{high: high, low: high.percent(cfg.LowPercent)}
}

// TryAcquire takes the amount if it fits and nobody waits, and tells whether it did. It refuses
// everything while the budget is full.
func (b *Budget) TryAcquire(bytes int64, records int) bool {
	want := newAmount(bytes, records)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiters.Len() > 0 {
		return false
	}
	return b.take(want)
}

// Acquire takes the amount, waiting for it behind all who came before. A request larger than the
// whole budget waits until nothing else is held, and then passes alone. The error is the context's
// cause, and then nothing was taken.
func (b *Budget) Acquire(ctx context.Context, bytes int64, records int) error {
	want := newAmount(bytes, records)
	b.mu.Lock()
	if b.waiters.Len() == 0 && b.take(want) {
		b.mu.Unlock()
		return nil
	}
	w := &waiter{want: want, granted: make(chan struct{})}
	place := b.waiters.PushBack(w)
	b.mu.Unlock()

	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
		return b.abandon(ctx, w, place)
	}
}

// abandon ends a wait. The grant may have come between the context's end and the lock: then the
// amount is the caller's and must not get lost, so the grant wins.
func (b *Budget) abandon(ctx context.Context, w *waiter, place *list.Element) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.granted:
		return nil
	default:
	}
	b.waiters.Remove(place)
	b.grant() // whoever stood behind a large request may fit
	return context.Cause(ctx)
}

// Take counts an amount that is in memory already, whether it fits or not, and tells whether the
// budget is full now: then its owner stops what brings more. It overtakes waiters, because it
// states a fact and asks for nothing.
func (b *Budget) Take(bytes int64, records int) (full bool) {
	want := newAmount(bytes, records)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(want)
	return b.full
}

// Release gives an amount back, in pieces or whole. It reports true if the budget was full and by
// this call no longer is: then its owner resumes what it stopped. To give back more than is held
// panics, because the bound would be a lie from then on.
func (b *Budget) Release(bytes int64, records int) (resume bool) {
	give := newAmount(bytes, records)
	b.mu.Lock()
	defer b.mu.Unlock()
	if give.bytes > b.used.bytes || give.records > b.used.records {
		panic(fmt.Sprintf("budget: %v released, but only %v held", give, b.used))
	}
	b.used = b.used.minus(give)
	was := b.full
	b.full = b.full && !b.used.within(b.low)
	b.grant()
	return was && !b.full
}

// Full tells whether the budget is full: from the high mark down to the low one.
func (b *Budget) Full() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.full
}

// Used returns what is held.
func (b *Budget) Used() (bytes int64, records int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used.bytes, int(b.used.records)
}

// Waiting returns how many Acquire calls wait.
func (b *Budget) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waiters.Len()
}

// Limits returns the high mark: bytes, and records or 0 if those are not limited.
func (b *Budget) Limits() (bytes int64, records int) {
	if b.high.records == unlimited {
		return b.high.bytes, 0
	}
	return b.high.bytes, int(b.high.records)
}

// take takes what fits. A refusal makes the budget full, but not at or below the low mark: there a
// large request failed, which is no reason to hold up the small ones until the next release. The
// caller holds mu.
func (b *Budget) take(want amount) bool {
	if b.full || !b.used.plus(want.clamp(b.high)).within(b.high) {
		b.full = b.full || !b.used.within(b.low)
		return false
	}
	b.add(want)
	return true
}

// add counts. At the high mark the budget is full; a low mark of 100 % is the high mark, and it
// still needs a release. The caller holds mu.
func (b *Budget) add(want amount) {
	b.used = b.used.plus(want)
	b.full = b.full || b.used.reaches(b.high)
}

// grant serves the waiters in their order until one does not fit. The caller holds mu.
func (b *Budget) grant() {
	for b.waiters.Len() > 0 {
		w := b.waiters.Front().Value.(*waiter)
		if !b.take(w.want) {
			return
		}
		b.waiters.Remove(b.waiters.Front())
		close(w.granted)
	}
}
