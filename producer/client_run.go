package producer

import (
	"errors"
	"io/fs"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/ackmark/ackmark/internal/neterr"
	"github.com/ackmark/ackmark/internal/wire"
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

// run keeps a stream to the sidecar until Close or a refusal that no retry can change.
func (c *client) run() {
	defer close(c.stopped)
	bo := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstBackoff), backoff.WithMaxInterval(maxBackoff), backoff.WithMaxElapsedTime(0))
	log := reasonLog{client: c}
	c.noStream()
	for c.done.Err() == nil {
		if reason, yes := c.goDirect(); yes {
			c.detour(reason)
			bo.Reset()
			continue
		}
		s, err := c.connect()
		served := err == nil
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
		if c.ended(err) {
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

// noStream begins the time without a stream.
func (c *client) noStream() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fall.breaker.lost(time.Now(), 0)
}

// pause waits between two attempts. Check cuts it short.
func (c *client) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.retry:
	case <-c.done.Done():
	}
}

// ended notes why there is no stream, and tells whether that is for good.
func (c *client) ended(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastErr = err
	c.attempts++
	c.fall.breaker.lost(time.Now(), min(stable, c.cfg.Fallback.After))
	if c.session.gone = isGone(err); c.session.gone {
		c.letGo() // it may be back all the same, behind a proxy that refused: then the session goes on
	}
	defer c.announce()
	if fatal, ok := errors.AsType[*Error](err); ok && !fatal.Retryable {
		c.fatal = fatal
		for _, fn := range c.onRefused {
			c.tasks.Go(func() { fn(fatal) })
		}
		c.cfg.Logger.Error("the sidecar refuses this producer for good", "target", c.cfg.Target, "error", fatal)
		return true
	}
	return c.leaving || c.done.Err() != nil
}

// isGone tells that nobody listens at the sidecar's address: its process has ended, and its
// sessions with it.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || neterr.Refused(err)
}

// failRest fails what is left when there will be no stream any more: by Close, or by a refusal.
func (c *client) failRest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	why := errClosed()
	if c.fatal != nil {
		why = c.fatal
	}
	c.win.failWhere(0, func(slotInfo) *Error { return why })
	c.lost()
}

// reasonLog says what is wrong when it changes, and now and then while it lasts.
type reasonLog struct {
	*client
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
