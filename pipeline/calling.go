package pipeline

import (
	"context"
	"sync/atomic"

	"github.com/ackmark/ackmark/consumer"
)

// calling is the handler call that runs, which the watchdog may end. It is under the lane's mu.
type calling struct {
	timedOut  atomic.Bool // the watchdog cancelled the call that runs; read without mu
	running   *consumer.Message
	cancel    context.CancelCauseFunc // ends the call that runs
	cancelOf  *work                   // whose cancel that is; nil: of one call alone
	calls     uint64                  // handler calls begun, so that the watchdog tells one from the next
	abandoned bool                    // the pipeline went on without it: it must not touch anything any more
}

// leaveIt gives up on the call that runs, and returns its input.
func (c *calling) leaveIt() *consumer.Message {
	m := c.running
	c.abandoned, c.running = true, nil
	return m
}
