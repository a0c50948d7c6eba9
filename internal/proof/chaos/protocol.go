package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/consumer"
)

// SessionError tells that the brokers do not let a group have the session that it needs.
type SessionError struct {
	session time.Duration
	err     error
}

// Error implements error.
func (e *SessionError) Error() string {
	return fmt.Sprintf("it needs a session of %s, and the brokers refuse it (%v): lower their group.consumer.min.session.timeout.ms", e.session, e.err)
}

// Unwrap returns the brokers' answer.
func (e *SessionError) Unwrap() error { return e.err }

// shareSession tells the brokers how long sessions of the group last. In the consumer protocol they
// decide that, and not the members.
func (s *stage) shareSession() error {
	session := s.app("app-1").Session
	if s.Protocol != consumer.ConsumerProtocol || session == consumer.DefaultSessionTimeout {
		return nil
	}
	return SetSession(s.ctx, s.client, s.name, session)
}

// SetSession tells the brokers how long the sessions of a group of the consumer protocol last.
// A *SessionError says that they refuse it.
func SetSession(ctx context.Context, cl *kgo.Client, name string, session time.Duration) error {
	ms := strconv.FormatInt(session.Milliseconds(), 10)
	set := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	set.Name, set.Value = "consumer.session.timeout.ms", &ms
	group := kmsg.NewIncrementalAlterConfigsRequestResource()
	group.ResourceType, group.ResourceName = kmsg.ConfigResourceTypeGroupConfig, name
	group.Configs = append(group.Configs, set)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, group)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, r := range resp.Resources {
		err = errors.Join(err, kerr.ErrorForCode(r.ErrorCode))
	}
	if err != nil {
		return &SessionError{session, err}
	}
	return nil
}
