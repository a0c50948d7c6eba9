// Package login gets what Kafka asks for when a connection is made and when it authenticates again
// (KIP-368), where that is more than a password: tokens for OAUTHBEARER and keys for AWS_MSK_IAM.
// Both come from somewhere else, last for a time, and are fetched anew before they end.
package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ackmark/ackmark/internal/kept"
)

// lease is a credential and when it ends; zero: never, as far as is known.
type lease[T any] struct {
	value T
	until time.Time
}

// Retries is how long to wait after a fetch that failed: the first time, and at most.
type Retries struct{ First, Most time.Duration }

const (
	// renewAfter is the share of its life after which a credential is fetched anew, as in Kafka.
	renewAfter = 0.8
	// unknownLife is when a credential that does not say how long it lasts is fetched anew.
	unknownLife = time.Minute
	// headroom is how long a credential must last for a fetch not to be waited for.
	headroom = 10 * time.Second
	// shortest is how long it must last to be used at all. A broker ends the session with it, the
	// client authenticates a second before that, and Kafka takes that once a second: what comes
	// earlier is answered with ILLEGAL_SASL_STATE, by which a group loses its member.
	shortest = 3 * time.Second
	// patience is how long a login waits for an endpoint that fails.
	patience = 2 * time.Second
)

// renewing hands out a credential and fetches the next one before it ends. A fetch happens when
// somebody authenticates, so that nothing has to be stopped: the broker ends its sessions with the
// credential, and the client authenticates before that. Only one fetch is under way at a time.
type renewing[T any] struct {
	what    string // in errors and logs: "sasl.oauthbearer.token.endpoint.url (https://idp/token)"
	fetch   func(context.Context) (lease[T], error)
	timeout time.Duration // of a fetch
	retries Retries       // zero: after a failure, the next one who asks fetches
	// patience is how long who asks waits for a fetch that fails to succeed.
	patience time.Duration
	always   bool // fetch for each authentication: a file, which is near

	mu      sync.Mutex
	log     *slog.Logger
	has     bool
	last    lease[T]
	begun   time.Time // when last was fetched
	renewAt time.Time
	flight  *flight[T]
	failed  int       // fetches in a row
	retryAt time.Time // not before
	err     error     // of the last fetch
	said    string    // the error that was logged: once, not for each connection
}

// flight is a fetch that is under way.
type flight[T any] struct {
	done  chan struct{}
	value T // with err, once done is closed
	err   error
}

// current is the credential to use now. While a fetch fails, or takes long, the one before is used
// as long as it lasts; without one a fetch that fails is tried again, for a moment: without an
// answer the Kafka client ends some of what it was doing.
func (r *renewing[T]) current(ctx context.Context) (T, error) {
	deadline := time.Now().Add(r.patience)
	for {
		value, f, err := r.now(ctx)
		if f != nil {
			value, err = r.await(ctx, f)
		}
		if err == nil || ctx.Err() != nil {
			return value, err
		}
		if !errors.Is(err, context.Canceled) { // else who began the fetch has closed its client
			next := r.next()
			if next.IsZero() || next.After(deadline) {
				return value, err
			}
			select {
			case <-time.After(time.Until(next)):
			case <-ctx.Done():
				return value, err
			}
		}
	}
}

// await waits for a fetch.
func (r *renewing[T]) await(ctx context.Context, f *flight[T]) (none T, _ error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	if f.err == nil {
		return f.value, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lasts(time.Now()) {
		return r.last.value, nil
	}
	return none, f.err
}

// next is when a fetch is tried again; zero: by the next one who asks.
func (r *renewing[T]) next() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.retryAt
}

// now is what can be said without waiting; else the fetch to wait for.
func (r *renewing[T]) now(ctx context.Context) (value T, wait *flight[T], err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.has && now.Before(r.renewAt) {
		return r.last.value, nil, nil
	}
	lasts := r.lasts(now)
	if r.flight == nil && now.Before(r.retryAt) {
		if lasts {
			return r.last.value, nil, nil
		}
		return value, nil, r.err
	}
	if r.flight == nil {
		r.flight = &flight[T]{done: make(chan struct{})}
		go r.run(ctx, r.flight)
	}
	if lasts && !r.always && (r.last.until.IsZero() || r.last.until.Sub(now) > headroom) {
		return r.last.value, nil, nil
	}
	return value, r.flight, nil
}

func (r *renewing[T]) lasts(now time.Time) bool {
	return r.has && (r.last.until.IsZero() || r.last.until.Sub(now) >= shortest)
}

func (r *renewing[T]) run(ctx context.Context, f *flight[T]) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout, fmt.Errorf("no answer within %s", r.timeout))
	defer cancel()
	got, err := r.fetch(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	defer close(f.done)
	r.flight = nil
	switch now := time.Now(); {
	case err == nil:
		f.value = got.value
		r.take(got, now)
	case errors.Is(err, context.Canceled): // the client is closed
		f.err = err
	default:
		f.err = &failure{r.what + " " + err.Error()}
		r.fail(f.err, now)
	}
}

// take puts a credential in force.
func (r *renewing[T]) take(got lease[T], now time.Time) {
	kept.Forget(r)
	if r.said != "" {
		r.log.Info("credentials are renewed again", "from", r.what)
	}
	r.has, r.last, r.begun, r.failed, r.err, r.said, r.retryAt = true, got, now, 0, nil, "", time.Time{}
	life := unknownLife
	if !got.until.IsZero() {
		life = renewal(got.until.Sub(now))
	}
	if r.always {
		life = 0
	}
	r.renewAt = now.Add(life)
}

// renewal is how long after its begin a credential is fetched anew: early enough for the fetch to
// fail once or twice.
func renewal(life time.Duration) time.Duration {
	return max(life/2, min(time.Duration(float64(life)*renewAfter), life-2*shortest))
}

func (r *renewing[T]) fail(err error, now time.Time) {
	r.err = err
	kept.Note(r, r.lookAgain)
	if r.retries.First > 0 {
		pause := min(r.retries.First<<min(r.failed, 20), r.retries.Most)
		r.failed++
		r.retryAt = now.Add(pause)
	}
	if r.said == err.Error() {
		return
	}
	r.said = err.Error()
	switch {
	case !r.lasts(now):
		r.log.Warn("no credentials for Kafka; it is tried again, and until then no connection is made", "err", err)
	case r.last.until.IsZero():
		r.log.Warn("credentials for Kafka cannot be renewed: the ones before stay in force", "err", err)
	default:
		r.log.Warn("credentials for Kafka cannot be renewed: the ones before stay in force while they last", "until", r.last.until, "err", err)
	}
}

// lookAgain tells that a file that could not be used can be again. An endpoint is not asked for it:
// who authenticates does.
func (r *renewing[T]) lookAgain() {
	if !r.always {
		return
	}
	if _, err := r.fetch(context.Background()); err == nil {
		kept.Forget(r)
	}
}

// freshFor is how old a credential must be that, when a broker refuses it, is fetched anew: no
// fetch changes the mind of a broker that refuses them all.
const freshFor = 10 * time.Second

// refused drops the credential that a broker refused, and tells whether another may do better: is
// says whether one is that one.
func (r *renewing[T]) refused(is func(T) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.has || !is(r.last.value) {
		return true // another was fetched since, or will be
	}
	now := time.Now()
	if now.Sub(r.begun) < freshFor && r.lasts(now) { // near its end it may be over for a broker: it travels, and clocks differ
		return false
	}
	r.has = false
	return true
}

// LogTo replaces the log.
func (r *renewing[T]) LogTo(log *slog.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = log
}

// failure is that there is no credential now. It is no fate for a record: the Kafka client tries
// again what fails temporarily, and gives up what fails otherwise. It wraps nothing, for the
// client looks for what it knows, such as a dial that failed, and would blame the broker.
type failure struct{ text string }

func (f *failure) Error() string { return f.text }

// Temporary tells the Kafka client to try again.
func (f *failure) Temporary() bool { return true }
