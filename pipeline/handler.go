package pipeline

import (
	"context"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// Handler makes outputs from one input. It is called from many lanes at once.
//
// ctx ends when the input's partition leaves this process (its cause is consumer.ErrRevoked,
// ErrLost or ErrShutdown), and with ErrHandlerTimeout after [Config.HandlerTimeout]. Do not use it
// after Handle has returned.
//
// What Handle returns decides about the input: do not call its Done or Start. Done would let its
// offset be committed before its outputs are acknowledged, which is the loss that the pipeline is
// there to prevent.
//
// The input, and what it points to, may be used until Handle returns, and changed: the next attempt
// and a dead letter get it as it came, at the price of a copy of what was changed. Outputs may
// point into it. The slice returned, and what it points to, must not be changed afterwards: it is
// read until the outputs are acknowledged.
type Handler interface {
	Handle(ctx context.Context, in *consumer.Message) ([]producer.Record, error)
}

// HandlerFunc is a function as a [Handler].
type HandlerFunc func(ctx context.Context, in *consumer.Message) ([]producer.Record, error)

// Handle implements Handler.
func (f HandlerFunc) Handle(ctx context.Context, in *consumer.Message) ([]producer.Record, error) {
	return f(ctx, in)
}

// Result is the outcome of one input of a batch: what a [Handler] would have returned for it.
type Result struct {
	Outputs []producer.Record
	Err     error
}

// BatchHandler makes outputs from several inputs of one partition at once, in fetch order. It
// returns exactly one Result for each input, at the same index; another number stops the pipeline
// with a [ResultCountError], because then nobody knows which output belongs to which input.
//
// A failed input is retried alone or with the others that failed, never with those that succeeded;
// in an ordered pipeline the successes behind it wait for it. After a panic or a time-out every
// input of the batch is tried on its own, so that one poison input does not take its neighbours
// along; the call counts as an attempt of each, but each is tried on its own at least once. The
// slice in is only valid until HandleBatch returns. Its inputs may be changed, as a Handler's may.
type BatchHandler interface {
	HandleBatch(ctx context.Context, in []*consumer.Message) []Result
}

// BatchHandlerFunc is a function as a [BatchHandler].
type BatchHandlerFunc func(ctx context.Context, in []*consumer.Message) []Result

// HandleBatch implements BatchHandler.
func (f BatchHandlerFunc) HandleBatch(ctx context.Context, in []*consumer.Message) []Result {
	return f(ctx, in)
}

// Middleware wraps a [Handler] at named places. In each list the first one is the outermost. A
// middleware must call next in the goroutine that it was called in, or not at all, and may pass a
// context made from its own.
//
// The order of everything is fixed:
//
//	dead letter → AroundInput → retry → time-out → recover → AroundAttempt → your handler (typed: decode → function → encode)
type Middleware struct {
	// AroundInput sees each input once, with what became of it after all attempts: the place for a
	// span, a log line, a metric. The error it returns is final: a plain one is treated as
	// rejected. It is not called for batch handlers.
	AroundInput []func(next Handler) Handler
	// AroundAttempt sees every attempt, inside recover and time-out: the place for a breaker, a
	// rate limit, a cache. It is not called for batch handlers.
	AroundAttempt []func(next Handler) Handler
	// AroundBatch sees every call of a batch handler, inside recover and time-out.
	AroundBatch []func(next BatchHandler) BatchHandler
}

func wrap[T any](inner T, around []func(T) T) T {
	for i := len(around) - 1; i >= 0; i-- {
		inner = around[i](inner)
	}
	return inner
}
