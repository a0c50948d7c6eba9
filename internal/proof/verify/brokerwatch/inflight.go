package brokerwatch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

// InFlight returns a hook for a client's options that tells the checker when a commit is sent and
// answered (S3). The embedded broker cannot see two commits in flight: it reads a connection's next
// request when the last one is answered.
func InFlight(checker *verify.Checker, client string) kgo.Hook {
	return &inFlight{checker: checker, client: client}
}

// inFlight judges a commit when it is over, not when the next one is written: kgo repeats a request
// whose connection died, and tells about that death after the repetition is on its way. Two commits
// were in flight together if the first one was answered after the second one was written. The
// answer to a commit whose context ended is awaited by kgo all the same, so a commit that follows
// it is seen to overlap.
type inFlight struct {
	checker *verify.Checker
	client  string

	mu        sync.Mutex
	written   []*commitOnItsWay // in the order of writing
	unwritten int               // writes that failed, and whose end is still to come
}

type commitOnItsWay struct {
	broker   int32
	followed bool // another one was written meanwhile
}

var (
	_ kgo.HookBrokerWrite = (*inFlight)(nil)
	_ kgo.HookBrokerE2E   = (*inFlight)(nil)
)

// OnBrokerWrite implements kgo.HookBrokerWrite. It runs before the response is awaited.
func (h *inFlight) OnBrokerWrite(b kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key != int16(kmsg.OffsetCommit) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.unwritten++
		return
	}
	for _, c := range h.written {
		c.followed = true
	}
	h.written = append(h.written, &commitOnItsWay{broker: b.NodeID})
}

// OnBrokerE2E implements kgo.HookBrokerE2E. Its WriteErr is also set for a request that was written
// and whose connection died.
func (h *inFlight) OnBrokerE2E(b kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key != int16(kmsg.OffsetCommit) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if e2e.WriteErr != nil && h.unwritten > 0 {
		h.unwritten--
		return
	}
	i := slices.IndexFunc(h.written, func(c *commitOnItsWay) bool { return c.broker == b.NodeID })
	if i < 0 {
		return
	}
	c := h.written[i]
	h.written = slices.Delete(h.written, i, i+1)
	h.checker.CommitSent(h.client)
	if c.followed && e2e.Err() == nil {
		h.checker.CommitSent(h.client)
		h.checker.CommitAnswered(h.client, false)
	}
	h.checker.CommitAnswered(h.client, errors.Is(e2e.ReadErr, context.Canceled) || errors.Is(e2e.ReadErr, context.DeadlineExceeded))
}
