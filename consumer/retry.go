package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// The waits between the attempts of Retry: those of a pipeline's default Backoff.
const (
	retryInitial = 100 * time.Millisecond
	retryMax     = 10 * time.Second
	retryJitter  = 0.2
)

// Retry calls fn until it returns nil, and waits between: 100 ms at first, twice as long each time,
// at most 10 s, each ± 20 %. It is for loops over [Consumer.Messages], where an error that passes
// (a database that is away for a moment) must not halt a partition:
//
//	m.Done(m.Retry(func(ctx context.Context) error { return save(ctx, m.Record) }))
//
// It gives up with fn's error when that is marked by [Permanent], and with the reason when the
// input's context ends: its partition leaves or the consumer stops, which for Done is no outcome,
// or HandlerTimeout is over, which halts the partition. fn is given that context. The caller waits
// meanwhile, and so do the inputs behind, unless it runs in a goroutine of its own.
func (m *Message) Retry(fn func(ctx context.Context) error) error {
	waits := backoff.NewExponentialBackOff(backoff.WithInitialInterval(retryInitial), backoff.WithMaxInterval(retryMax), backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(retryJitter), backoff.WithMaxElapsedTime(0))
	for {
		ctx := m.Context()
		err := fn(ctx)
		if err == nil {
			return nil
		}
		if p, ok := errors.AsType[*permanentError](err); ok {
			return p.err
		}
		timer := time.NewTimer(waits.NextBackOff())
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w; the last attempt: %w", context.Cause(ctx), err)
		}
	}
}

// Permanent marks an error that no retry cures: [Message.Retry] returns it at once.
func Permanent(err error) error {
	if err == nil {
		err = errors.New("consumer: Permanent was called without an error")
	}
	return &permanentError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }

func (e *permanentError) Unwrap() error { return e.err }
