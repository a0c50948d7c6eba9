package producer

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ackmark/ackmark/internal/neterr"
	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer/internal/resend"
)

// The waits between attempts to connect: jittered, so that the processes of a pod do not all come
// at the same moment.
const (
	firstBackoff = 50 * time.Millisecond
	// A session outlives its stream by a second: with this several attempts fall into it.
	maxBackoff = 250 * time.Millisecond
	retrySoon  = 10 * time.Millisecond // before the first attempt
	stable     = 5 * time.Second       // a stream that lived so long starts the backoff anew; one that breaks at once does not
	repeatLog  = 30 * time.Second      // how often the same reason is logged again
)

// connector keeps a stream to the sidecar, or a detour around it, until Close or a refusal that no
// retry can change.
type connector struct {
	*shared
	done  context.Context // ends when Close gives up on what is left
	tasks *sync.WaitGroup // for callbacks
}

// run keeps a stream to the sidecar until Close or a refusal that no retry can change.
func (c *connector) run() {
	bo := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstBackoff), backoff.WithMaxInterval(maxBackoff), backoff.WithMaxElapsedTime(0))
	log := reasonLog{cfg: &c.cfg}
	c.begin()
	for c.done.Err() == nil {
		if reason, yes := c.goDirect(); yes {
			c.takeDetour(reason)
			bo.Reset()
			continue
		}
		s, err := connect(c.done, c.shared)
		served := err == nil
		c.tried(served)
		if served {
			log.connected(s)
			since := time.Now()
			err = c.serve(s)
			if time.Since(since) > stable {
				bo.Reset()
			}
		}
		if fenced, ok := asFenced(err); ok {
			c.fenced(fenced)
		}
		if c.disconnected(err) {
			break
		}
		if errors.Is(err, errDeparted) {
			continue
		}
		log.failed(err)
		wait := bo.NextBackOff()
		if served && !strings.Contains(err.Error(), wire.CodeMemberHeld) { // that one is over when the other process is
			wait = min(wait, retrySoon) // the session waits for us, and not for long
		}
		c.pause(wait)
	}
	c.failRest()
}

// begin begins the time without a stream.
func (c *connector) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fall.breaker.Lost(time.Now(), 0)
}

// tried counts an attempt to come to the sidecar.
func (c *connector) tried(served bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if served {
		c.link.opened++
	} else {
		c.link.failed++
	}
}

// pause waits between two attempts. Check cuts it short.
func (c *connector) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.link.retry:
	case <-c.done.Done():
	}
}

// disconnected notes why there is no stream, and tells whether that is for good.
func (c *connector) disconnected(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link.lastErr = err
	c.link.attempts++
	c.fall.breaker.Lost(time.Now(), min(stable, c.cfg.Fallback.After))
	if c.session.gone = isGone(err); c.session.gone {
		c.letGo() // it may be back all the same, behind a proxy that refused: then the session goes on
	}
	defer c.link.announce()
	if fatal, ok := errors.AsType[*Error](err); ok && !fatal.Retryable {
		c.life.refuse(fatal)
		for _, fn := range c.onRefused {
			c.tasks.Go(func() { fn(fatal) })
		}
		c.cfg.Logger.Error("the sidecar refuses this producer for good", "target", c.cfg.Target, "error", fatal)
		return true
	}
	return c.life.isLeaving() || c.done.Err() != nil
}

// isGone tells that nobody listens at the sidecar's address: its process has ended, and its
// sessions with it.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || neterr.Refused(err)
}

// failRest fails what is left when there will be no stream any more: by Close, or by a refusal.
func (c *connector) failRest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	why := errClosed()
	if c.life.refusal != nil {
		why = c.life.refusal
	}
	c.books.queue.FailWhere(0, func(resend.Slot) *Error { return why })
	c.lost()
}

// serve runs the stream until it ends and returns why. It begins with what every new stream must
// know: memberships and live epochs, then every unit that the sidecar does not have, in order,
// before any new one (S7).
func (c *connector) serve(s *stream) error {
	if err := c.attach(s); err != nil {
		s.fail(err)
		_ = s.conn.Close()
		return err
	}
	var wg sync.WaitGroup
	wg.Go(s.write)
	wg.Go(s.read)
	wg.Go(s.watch)
	<-s.ctx.Done()
	c.mu.Lock()
	c.writable.Broadcast() // the writer must see that it is over
	c.mu.Unlock()
	_ = s.conn.Close()
	wg.Wait()
	c.detach(s)
	return context.Cause(s.ctx)
}

// attach makes the stream the one that units go.
func (c *connector) attach(s *stream) error {
	c.reports.awaitQuiet(c.done.Done()) // an input that was reported and is not done yet would be in neither
	c.mu.Lock()
	defer c.mu.Unlock()
	c.books.maxUnit = 0
	if n := int(s.welcome.GetMaxMessageBytes()); n > 0 {
		c.books.maxUnit = max(n-headRoom, 1)
	}
	if err := c.welcomed(s); err != nil {
		return err
	}
	s.tasks = c.tasks
	c.link.stream = s
	c.fall.breaker.Connected(time.Now())
	c.books.setCredit(s.welcome.GetCredit())
	if c.fall.mode == Forced && c.fall.broken == nil {
		s.depart() // it was only for the reports that were missing
	}
	c.link.announce()
	c.afterReports()
	return nil
}

// headRoom is left in a message for what stands beside a single unit: sequence number and lengths.
const headRoom = 64

// detach is called when no goroutine of the stream runs any more.
func (c *connector) detach(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link.stream = nil
	if s.departing {
		c.session = c.session.renewed(c.cfg.SessionID) // a session that said Goodbye is closed
	}
	if !c.session.resumes {
		c.lost() // otherwise the next stream brings the answers and the reports
	}
	c.link.announce()
	c.afterReports()
}

// fenced ends a session that the sidecar has closed. What it had is not taken to another one: the
// partitions may have new owners already. An id that was never welcomed was a former process's, or
// was left behind for the direct way: then nothing of ours was in it.
func (c *connector) fenced(why *fencedError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	begun := c.session.begun
	c.session = c.session.renewed(c.cfg.SessionID)
	if !begun {
		c.cfg.Logger.Info("the sidecar has closed a session of this name before: going on under another one", "session", c.session.id, "reason", why.said)
		return
	}
	c.cfg.Logger.Warn("the sidecar closed this session: its partitions are lost", "target", c.cfg.Target, "reason", why.said, "session", c.session.id)
	c.books.assigned.ReleaseAll()
	c.books.queue.FailWhere(0, func(u resend.Slot) *Error { return errFenced(u.Epoch == 0) })
	c.lost()
	for _, fn := range c.onFenced.all() {
		c.tasks.Go(func() { (*fn)(errFenced(false)) })
	}
}

// reasonLog says what is wrong when it changes, and now and then while it lasts.
type reasonLog struct {
	cfg    *DialConfig
	reason string
	at     time.Time
}

func (l *reasonLog) connected(s *stream) {
	l.reason = ""
	l.cfg.Logger.Info("connected to the sidecar", "target", l.cfg.Target, "sidecar", s.welcome.GetSidecarId(), "version", s.welcome.GetServerVersion())
}

func (l *reasonLog) failed(err error) {
	if err.Error() == l.reason && time.Since(l.at) < repeatLog {
		return
	}
	l.reason, l.at = err.Error(), time.Now()
	l.cfg.Logger.Warn("no connection to the sidecar, trying again", "target", l.cfg.Target, "error", err)
}
