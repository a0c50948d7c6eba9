package txn

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

// Twins are used in turn, and one alone while the other is set aside; an id without a client is
// used until it is.
func TestIDsInTurn(t *testing.T) {
	d := newIDs(&Config{ID: "id", Number: 1}, newLife(), nil, func() {})
	used := func() string {
		id := d.useTwin().id
		d.nextTwin()
		return id
	}
	if a, b, c := used(), used(), used(); a != "id-2" || b != "id-3" || c != a {
		t.Errorf("twins in turn are %s, %s, %s", a, b, c)
	}
	d.otherTwin().aside = make(chan error)
	if a, b := used(), used(); a != "id-3" || b != a {
		t.Errorf("the twin that is left is %s, and %s after that", a, b)
	}
	if a, b := d.useBare().id, d.useBare().id; a != "id-o1" || b != a {
		t.Errorf("windows without outputs use %s, and %s after that", a, b)
	}
	d.useBare().aside = make(chan error)
	if a, b := d.useBare().id, d.useBare().id; a != "id-o9" || b != a {
		t.Errorf("windows without outputs use %s, and %s, while one is set aside", a, b)
	}
}

// An id is set aside when its end is decided and its markers are not written, in time; where the
// outcome is asked for, it has to be told as well.
func TestHowLongMarkersAreWaitedFor(t *testing.T) {
	for _, c := range []struct {
		wait   markers
		state  string
		end    ending
		waited time.Duration
		stuck  bool
	}{
		{untilWritten, "PrepareCommit", wasCommitted, time.Hour, false},
		{aWhile, "PrepareCommit", untold, asideAfter, true}, {aWhile, "PrepareAbort", untold, asideAfter - 1, false}, {aWhile, "CompleteCommit", wasCommitted, time.Hour, false},
		{onceTold, "PrepareAbort", wasAborted, asideAfter, true}, {onceTold, "PrepareAbort", untold, time.Hour, false}, {onceTold, "PrepareCommit", wasCommitted, 0, false},
		{noMore, "PrepareCommit", untold, 0, true}, {noMore, "Ongoing", wasOpen, time.Hour, false},
	} {
		s := &kmsg.DescribeTransactionsResponseTransactionState{State: c.state}
		if got := c.wait.isStuck(s, c.end, c.waited); got != c.stuck {
			t.Errorf("%v after %s in %s, the end told as %v: %v", c.wait, c.waited, c.state, c.end, got)
		}
	}
}

// A taking that is broken off, since the process ends, is no warning; one that failed is.
func TestATakingThatIsBrokenOffIsNoWarning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		d := newIDs(&Config{ID: "id", Log: slog.New(slog.NewTextHandler(&said, nil))}, newLife(), nil, func() {})
		if err := d.afterInit(t.Context(), "id-0", kerr.CoordinatorNotAvailable); err != nil || !strings.Contains(said.String(), "COORDINATOR_NOT_AVAILABLE") {
			t.Errorf("%v; the log: %q", err, said.String())
		}
		said.Reset()
		over := errors.New("over")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(over)
		if err := d.afterInit(ctx, "id-0", ctx.Err()); !errors.Is(err, over) || said.Len() > 0 {
			t.Errorf("%v; the log: %q", err, said.String())
		}
	})
}

// What somebody has to change is said with what to do, also where it is not about transactions.
func TestSetupErrorsHaveARemedy(t *testing.T) {
	cfg := &Config{ID: "id"}
	of := &refusal{member: groupcommit.Member{Group: "orders"}, err: kerr.GroupAuthorizationFailed}
	for want, err := range map[string]error{
		"check the credentials": kerr.SaslAuthenticationFailed, "grant IDEMPOTENT_WRITE on the cluster": kerr.ClusterAuthorizationFailed, `group "orders"`: of.named(),
	} {
		if got := cfg.setupError("id-0", err); !strings.Contains(got.Error(), want) || !errors.Is(got, err) || strings.Contains(got.Error(), "broker's log") {
			t.Errorf("%v: want %q", got, want)
		}
	}
}

// An idle lane does not look at an id that is taken again beside it: that one moves by our own
// hand, while the lane knows what it was, and it is written to meanwhile.
func TestAnIDAsideIsNotLookedAt(t *testing.T) {
	d := newIDs(&Config{ID: "id", Log: slog.New(slog.DiscardHandler)}, newLife(), nil, func() {})
	if got := d.inHand(); len(got) != 2 || got[0].id != "id-o0" || got[1].id != "id-o8" {
		t.Errorf("it looks at %v", got)
	}
	taken := make(chan struct{})
	b := &d.bares[0]
	b.aside = d.setAside(b.id, func() error { b.epoch++; close(taken); return nil })
	if got := d.inHand(); len(got) != 1 || got[0].id != "id-o8" {
		t.Errorf("it looks at %v, and %s is taken again", got, b.id)
	}
	<-taken
	d.running.Wait()
}
