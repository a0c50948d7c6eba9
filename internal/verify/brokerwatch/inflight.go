package brokerwatch

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/verify"
)

// InFlight returns a hook for a client's options that tells the checker when a commit is sent and answered (S3). The embedded broker
// cannot see two commits in flight: it reads a connection's next request when the last one is answered.
func InFlight(checker *verify.Checker, client string) kgo.Hook { return &inFlight{checker, client} }

type inFlight struct {
	checker *verify.Checker
	client  string
}

var (
	_ kgo.HookBrokerWrite = (*inFlight)(nil)
	_ kgo.HookBrokerE2E   = (*inFlight)(nil)
)

// OnBrokerWrite implements kgo.HookBrokerWrite. It runs before the response is awaited, so a commit is sent before it is answered.
func (h *inFlight) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == int16(kmsg.OffsetCommit) && err == nil {
		h.checker.CommitSent(h.client)
	}
}

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (h *inFlight) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	if key == int16(kmsg.OffsetCommit) && e2e.WriteErr == nil {
		cancelled := errors.Is(e2e.ReadErr, context.Canceled) || errors.Is(e2e.ReadErr, context.DeadlineExceeded)
		h.checker.CommitAnswered(h.client, cancelled)
	}
}
