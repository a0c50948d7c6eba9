package pipeline

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/consumer"
)

// batchInput is one input of the batch that a lane works on.
type batchInput struct {
	m       *consumer.Message
	outcome outcome
	asCame  original
	put     bool // put away
	tries   int
	counted int           // of them, those that count towards MaxAttempts
	after   time.Duration // what Retry asked for
	asked   bool
	err     error // of the last attempt
}

// processBatches is process for a batch handler. The chunk is one batch.
func (l *lane) processBatches(c *chunk) bool {
	l.batch = l.batch[:0]
	for m := c.start(l); m != nil; m = c.start(l) {
		l.batch = append(l.batch, batchInput{m: m})
	}
	if len(l.batch) == 0 {
		return true
	}
	if l.p.traces != nil {
		l.batchTrace = l.p.traces.beginBatch(l.work.parent, l.batch)
	}
	l.tried.copies.reset()
	for i := range l.batch {
		l.tried.copies.keep(&l.batch[i].asCame, l.batch[i].m)
	}
	return l.begin(l.batch[0].m) && l.workBatch()
}

// workBatch calls the handler until each input of l.batch has an outcome, and puts them away.
// False: the lane was abandoned.
func (l *lane) workBatch() bool {
	l.left = false
	ok := l.batchAttempts()
	if !ok && l.gone() {
		return false
	}
	for i := range l.batch {
		if in := &l.batch[i]; in.outcome.kind == undecided {
			in.outcome = outcome{kind: givenBack}
		}
	}
	l.putBatch(true)
	clear(l.batch)
	return true
}

func (l *lane) gone() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.abandoned
}

// batchAttempts gives each input an outcome; false: what has none is given back.
func (l *lane) batchAttempts() bool {
	pending := make([]*batchInput, len(l.batch))
	for i := range l.batch {
		pending[i] = &l.batch[i]
	}
	whole := l.tryBatch(pending)
	if !l.end() || l.left {
		return false
	}
	if whole {
		return l.retryBatch(stillUndecided(pending), false)
	}
	return l.retryAlone(pending)
}

// retryAlone is for inputs one of which makes the handler panic or hang: each on its own, so that
// its neighbours pass.
func (l *lane) retryAlone(pending []*batchInput) bool {
	for i := range pending {
		if pending[i].outcome.kind == undecided && !l.retryBatch(pending[i:i+1], true) {
			return false
		}
	}
	return true
}

// retryBatch tries the inputs again, together, until each has an outcome. atOnce: the first time
// without a pause.
func (l *lane) retryBatch(pending []*batchInput, atOnce bool) bool {
	var waits backoff.BackOff
	for len(pending) > 0 {
		var after time.Duration
		if !atOnce {
			if waits == nil {
				waits = l.p.cfg.Backoff.start()
			}
			after = pauseOf(pending, waits)
		}
		atOnce = false
		l.p.retrying(pending[0].m, pending[0].tries, after, pending[0].err)
		l.putBatch(false)
		l.flush()
		if !waitWanted(l.work.parent, pending[0].m, after) || !l.begin(pending[0].m) {
			l.left = true
			return false
		}
		whole := l.tryBatch(pending)
		if !l.end() || l.left {
			return false
		}
		if !whole {
			return l.retryAlone(pending)
		}
		pending = stillUndecided(pending)
	}
	return true
}

// pauseOf is the pause before the next round: one step of the backoff for all of them, or what one
// asked for if that is longer.
func pauseOf(pending []*batchInput, waits backoff.BackOff) (after time.Duration) {
	plain := false
	for _, in := range pending {
		after = max(after, in.after)
		plain = plain || !in.asked
	}
	if plain {
		after = max(after, waits.NextBackOff())
	}
	return after
}

func stillUndecided(list []*batchInput) []*batchInput {
	var rest []*batchInput
	for _, in := range list {
		if in.outcome.kind == undecided {
			rest = append(rest, in)
		}
	}
	return rest
}

// tryBatch is one call of the handler for the inputs. False: there were several, and the call
// itself failed.
func (l *lane) tryBatch(list []*batchInput) bool {
	msgs := make([]*consumer.Message, len(list))
	for i, in := range list {
		msgs[i] = in.m
		if in.tries++; in.tries > 1 {
			putBack(in.m.Record, in.m.Original())
		}
	}
	start := time.Now()
	ctx := l.work.ctx
	if l.batchTrace != nil {
		ctx = trace.ContextWithSpan(ctx, l.batchTrace.span)
	}
	results, err := protectBatch(l.p.batchHandler, ctx, msgs)
	for _, in := range list {
		l.tried.copies.restore(&in.asCame, in.m)
	}
	took := time.Since(start)
	l.slow.Store(took >= fastHandler)
	l.times.batchTook(took, err)
	switch {
	case l.work.ctx.Err() != nil:
		if err = l.interrupted(list[0].m, err); l.left {
			return true
		}
	case err == nil && len(results) != len(list):
		err = &ResultCountError{First: inputOf(list[0].m), Inputs: len(list), Results: len(results)}
		list[0].outcome = outcome{kind: stops, rejection: &rejection{err: err, attempts: list[0].tries}}
		l.left = true
		return true
	}
	if err != nil && len(list) > 1 {
		for _, in := range list { // an attempt of each, though its verdict is about none of them
			if c, _ := classify(err); c == classPlain {
				in.counted++
			}
			in.err = err
		}
		return false
	}
	for i, in := range list {
		r := Result{Err: err}
		if err == nil {
			r = results[i]
		}
		l.judge(in, r)
	}
	return true
}

// judge gives one input its outcome, or leaves it for another attempt.
func (l *lane) judge(in *batchInput, r Result) {
	in.after, in.asked, in.err = 0, false, r.Err
	if r.Err == nil {
		if l.batchTrace != nil {
			r.Outputs = l.batchTrace.carry(r.Outputs)
		}
		in.outcome = l.accept(in.m, r.Outputs, in.tries)
		l.left = l.left || in.outcome.kind == stops
		return
	}
	c, after := classify(r.Err)
	if c == classPlain {
		in.counted++
	}
	why := &rejection{err: r.Err, attempts: in.tries}
	switch {
	case c == classFatal:
		in.outcome = outcome{kind: stops, rejection: why}
		l.left = true // those that it did not decide are given back: nothing is tried again
	case (c != classReject || isContextError(r.Err)) && !stillWanted(in.m):
		in.outcome = outcome{kind: givenBack}
	case c == classReject, in.counted >= l.p.cfg.MaxAttempts:
		in.outcome = outcome{kind: rejected, rejection: why}
	default:
		in.after, in.asked = after, c == classRetry
	}
}

// putBatch puts away what has an outcome. In an ordered pipeline it stops at the first input that
// has none, unless all have one, and gives back what is behind one that will not be done here: it
// may be of the same key, and must not overtake it (S7).
func (l *lane) putBatch(all bool) {
	ordered := l.p.cfg.Order != Unordered
	blocked := false
	for i := range l.batch {
		in := &l.batch[i]
		switch {
		case in.outcome.kind == undecided:
			if ordered && !all {
				return
			}
		case !in.put:
			if blocked && in.outcome.kind != stops { // a stop is no outcome of the input that could overtake another
				in.outcome = outcome{kind: givenBack}
			}
			in.put = true
			l.putOne(in)
		}
		blocked = ordered && (blocked || l.blocks(in.outcome))
	}
}

// blocks tells that an input will not be done in this assignment.
func (l *lane) blocks(o outcome) bool {
	return o.kind == givenBack || o.kind == stops || o.kind == rejected && l.p.cfg.DeadLetter.Topic == ""
}

func (l *lane) putOne(in *batchInput) {
	if in.outcome.kind != delivers {
		l.putAway(in.m, in.outcome)
		return
	}
	l.mu.Lock()
	l.add(in.m, in.outcome)
	full := len(l.flight.units) == flightSize
	l.mu.Unlock()
	if full {
		l.flush()
	}
}

func protectBatch(h BatchHandler, ctx context.Context, in []*consumer.Message) (results []Result, err error) {
	defer func() {
		if v := recover(); v != nil {
			results, err = nil, newPanicError(v)
		}
	}()
	return h.HandleBatch(ctx, in), nil
}
