package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/internal/kept"
)

// shop hands out numbered credentials, or fails, or is slow.
type shop struct {
	mu    sync.Mutex
	count int
	life  time.Duration
	err   error
	slow  time.Duration
}

func (s *shop) fetch(ctx context.Context) (lease[int], error) {
	s.mu.Lock()
	s.count++
	n, life, err, slow := s.count, s.life, s.err, s.slow
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return lease[int]{}, context.Cause(ctx)
	case <-time.After(slow):
	}
	l := lease[int]{value: n}
	if life > 0 {
		l.until = time.Now().Add(life)
	}
	return l, err
}

func (s *shop) set(change func(*shop)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *shop) fetched() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

func newRenewing(s *shop, log *strings.Builder) *renewing[int] {
	return &renewing[int]{
		what: "the shop", fetch: s.fetch, timeout: 20 * time.Second, retries: Retries{100 * time.Millisecond, 10 * time.Second},
		log: slog.New(slog.NewTextHandler(log, nil)),
	}
}

func want(t *testing.T, r *renewing[int], n int) {
	t.Helper()
	if got, err := r.current(t.Context()); err != nil || got != n {
		t.Errorf("%d, %v; want credential %d", got, err, n)
	}
}

// A credential is used until four fifths of its life, then the next one is fetched: beside the work
// while the old one lasts long, and only once however many ask.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{life: time.Hour, slow: time.Second}
		r := newRenewing(s, new(strings.Builder))
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { want(t, r, 1) })
		}
		all.Wait()
		time.Sleep(47 * time.Minute)
		want(t, r, 1)
		synctest.Wait()
		if n := s.fetched(); n != 1 {
			t.Fatalf("%d fetches before four fifths of the life", n)
		}
		time.Sleep(2 * time.Minute)
		began := time.Now()
		for range 50 {
			want(t, r, 1)
		}
		if time.Since(began) != 0 {
			t.Error("a fetch was waited for while the old credential lasts")
		}
		time.Sleep(2 * time.Second)
		want(t, r, 2)
		if n := s.fetched(); n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
	})
}

// One that lasts for seconds only is replaced before it is handed out once more.
func TestShortLivesAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{life: 5 * time.Second, slow: 100 * time.Millisecond}
		r := newRenewing(s, new(strings.Builder))
		want(t, r, 1)
		time.Sleep(2300 * time.Millisecond)
		want(t, r, 1)
		time.Sleep(300 * time.Millisecond) // Kafka would end the session before the client may authenticate again
		want(t, r, 2)
	})
}

// While no new one comes, the old one is used to its end, and not after it; the log says it once.
// What fails is tried again after pauses that grow, and not by each who asks.
func TestTheOldOneIsUsedWhileItLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{life: 10 * time.Minute}
		var log strings.Builder
		r := newRenewing(s, &log)
		stale := kept.Stale()
		want(t, r, 1)
		s.set(func(s *shop) { s.err = errors.New("answers 503") })
		time.Sleep(8 * time.Minute)
		for range 115 {
			want(t, r, 1)
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if n := s.fetched(); n < 10 || n > 25 {
			t.Errorf("%d fetches in two minutes, want one for about ten seconds, and more at first", n)
		}
		time.Sleep(3 * time.Second) // two are left: too few to be used
		_, err := r.current(t.Context())
		if err == nil || err.Error() != "the shop answers 503" {
			t.Errorf("after its end: %v", err)
		}
		if f, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err); !ok || !f.Temporary() {
			t.Error("the Kafka client would not try again")
		}
		if n := strings.Count(log.String(), "\n"); n != 1 || !strings.Contains(log.String(), "the ones before stay in force while they last") {
			t.Errorf("%d lines in the log, want 1:\n%s", n, log.String())
		}
		if n := kept.Stale() - stale; n != 1 {
			t.Errorf("%d are stale, want 1: an alert goes by it", n)
		}
		s.set(func(s *shop) { s.err = nil })
		time.Sleep(11 * time.Second)
		if got, err := r.current(t.Context()); err != nil || got < 3 {
			t.Errorf("healed: %d, %v", got, err)
		}
		if !strings.Contains(log.String(), "renewed again") {
			t.Errorf("the log does not say that it is well:\n%s", log.String())
		}
		if n := kept.Stale() - stale; n != 0 {
			t.Errorf("%d are stale after it healed", n)
		}
	})
}

// A fetch that hangs ends, and holds up nobody while the old credential lasts.
func TestAFetchThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{life: time.Hour}
		r := newRenewing(s, new(strings.Builder))
		want(t, r, 1)
		s.set(func(s *shop) { s.slow = 24 * time.Hour })
		time.Sleep(59 * time.Minute)
		began := time.Now()
		want(t, r, 1)
		if waited := time.Since(began); waited > 0 {
			t.Errorf("waited %s for a fetch that hangs, with a minute left", waited)
		}
		time.Sleep(time.Minute)
		began = time.Now()
		_, err := r.current(t.Context())
		if err == nil || !strings.Contains(err.Error(), "no answer within 20s") || time.Since(began) > 20*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// Who closes its client ends its fetch, and is no failure for another client with the same
// credentials.
func TestAnotherClientsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{life: time.Hour, slow: time.Second}
		var log strings.Builder
		r := newRenewing(s, &log)
		closing, closed := context.WithCancel(t.Context())
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := r.current(closing); !errors.Is(err, context.Canceled) {
				t.Errorf("the one that was closed: %v", err)
			}
		})
		synctest.Wait()
		both.Go(func() { want(t, r, 2) })
		synctest.Wait()
		closed()
		both.Wait()
		if log.Len() > 0 {
			t.Error(log.String())
		}
	})
}

// A credential that a broker refuses is fetched anew, unless it is new: nothing is fetched again
// and again for a broker that refuses all of them.
func TestRefusedCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{life: time.Hour}
		r := newRenewing(s, new(strings.Builder))
		want(t, r, 1)
		is := func(n int) func(int) bool { return func(m int) bool { return m == n } }
		if r.refused(is(1)) {
			t.Error("one that was fetched just now is to blame")
		}
		want(t, r, 1)
		time.Sleep(time.Minute)
		for range 2 {
			if !r.refused(is(1)) {
				t.Error("an old one is not to blame")
			}
		}
		want(t, r, 2)
		if !r.refused(is(1)) {
			t.Error("there is a newer one than the one that was refused")
		}
		want(t, r, 2)
		s.set(func(s *shop) { s.life = time.Second })
		time.Sleep(time.Minute)
		r.refused(is(2))
		want(t, r, 3)
		if !r.refused(is(3)) {
			t.Error("one that ends now is not to blame")
		}
	})
}

// What does not say how long it lasts is asked for each minute, and kept when that fails.
func TestUnknownLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{}
		r := newRenewing(s, new(strings.Builder))
		want(t, r, 1)
		time.Sleep(59 * time.Second)
		want(t, r, 1)
		time.Sleep(2 * time.Second)
		want(t, r, 1)
		synctest.Wait()
		want(t, r, 2)
		s.set(func(s *shop) { s.err = fmt.Errorf("gone") })
		time.Sleep(24 * time.Hour)
		want(t, r, 2)
		synctest.Wait()
		want(t, r, 2)
	})
}

// Without a credential, an endpoint that fails for a moment fails nobody who asks: some requests of
// the Kafka client are made once. One that fails for longer is an error in bounded time.
func TestAMomentWithoutCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shop{life: time.Hour, err: errors.New("answers 503")}
		r := newRenewing(s, new(strings.Builder))
		r.patience = patience
		began := time.Now()
		if _, err := r.current(t.Context()); err == nil || time.Since(began) > patience {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		time.Sleep(time.Minute)
		go func() {
			time.Sleep(time.Second)
			s.set(func(s *shop) { s.err = nil })
		}()
		s.set(func(s *shop) { s.count = 0 })
		r.mu.Lock()
		r.failed = 0
		r.mu.Unlock()
		if got, err := r.current(t.Context()); err != nil || got < 4 {
			t.Errorf("%d, %v: want one of the later fetches", got, err)
		}
		closing, closed := context.WithCancel(t.Context())
		s.set(func(s *shop) { s.err = errors.New("answers 503") })
		time.Sleep(time.Hour)
		r.mu.Lock()
		r.failed = 0
		r.mu.Unlock()
		go closed()
		if _, err := r.current(closing); err == nil {
			t.Error("no error for a client that is closed")
		}
		synctest.Wait()
	})
}
