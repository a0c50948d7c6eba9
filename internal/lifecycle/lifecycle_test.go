package lifecycle_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/ackmark/ackmark/internal/lifecycle"
)

var errWhy, errEnd = errors.New("why"), errors.New("how it ended")

func TestRunsOnce(t *testing.T) {
	var l lifecycle.Life
	if l.Phase() != lifecycle.New || l.Context() != nil || l.Stopping() {
		t.Errorf("before: phase %d, context %v", l.Phase(), l.Context())
	}
	l.Stop(errWhy) // nothing runs
	ctx, err := l.Begin(t.Context())
	if err != nil || l.Phase() != lifecycle.Running || l.Context() != ctx || l.Stopping() {
		t.Fatalf("Begin: %v, phase %d", err, l.Phase())
	}
	if _, err := l.Begin(t.Context()); !errors.Is(err, lifecycle.ErrBegun) {
		t.Errorf("begun twice: %v", err)
	}
	l.Stop(errWhy)
	l.Stop(errEnd)
	if context.Cause(ctx) != errWhy || !l.Stopping() || l.Closing() { //nolint:errorlint // the very cause
		t.Errorf("stopped with %v, closing %v", context.Cause(ctx), l.Closing())
	}
	l.End(errEnd)
	if _, err := l.Begin(t.Context()); !errors.Is(err, lifecycle.ErrBegun) || l.Phase() != lifecycle.Ended {
		t.Errorf("begun after its end: %v", err)
	}
	for range 2 {
		if first, result := l.Close(errWhy); first || !errors.Is(result, errEnd) {
			t.Errorf("Close after the end: %v, %v", first, result)
		}
	}
}

func TestClosedBefore(t *testing.T) {
	var l lifecycle.Life
	for _, want := range []bool{true, false} {
		if first, result := l.Close(errWhy); first != want || result != nil {
			t.Errorf("Close before it began: %v, %v", first, result)
		}
	}
	if _, err := l.Begin(t.Context()); !errors.Is(err, lifecycle.ErrClosed) || l.Phase() != lifecycle.New {
		t.Errorf("begun after Close: %v", err)
	}
}

func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lifecycle.Life
		ctx, err := l.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error, 2)
		for range 2 {
			go func() {
				_, result := l.Close(errWhy)
				results <- result
			}()
		}
		synctest.Wait()
		if len(results) > 0 || !errors.Is(context.Cause(ctx), errWhy) || !l.Closing() {
			t.Errorf("Close did not wait, or did not stop: %v", context.Cause(ctx))
		}
		l.End(errEnd)
		for range 2 {
			if err := <-results; !errors.Is(err, errEnd) {
				t.Errorf("Close returned %v", err)
			}
		}
	})
}
