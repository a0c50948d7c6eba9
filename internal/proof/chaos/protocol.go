package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// LackError is something that was asked for, and that the brokers do not serve.
type LackError struct{ Flag, Lacks, Remedy string }

// Error implements error.
func (e *LackError) Error() string { return e.Flag + ": " + e.Lacks + "; " + e.Remedy }

// lacks tells what the brokers do not serve of what was asked for, as a *LackError. Without it
// every row would wait for a group that nobody can join, and call that a broken promise.
func (e *Env) lacks(ctx context.Context) error {
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, e.client)
	if err != nil {
		return err
	}
	if e.Protocol == consumer.ConsumerProtocol && !slices.ContainsFunc(resp.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool {
		return k.ApiKey == int16(kmsg.ConsumerGroupHeartbeat) && k.MaxVersion >= 1
	}) {
		return &LackError{"--protocol consumer", "the brokers do not serve groups of the consumer protocol (KIP-848)", "leave it out, or take brokers of Kafka 4.3 or later"}
	}
	if e.ExactlyOnce && !slices.ContainsFunc(resp.FinalizedFeatures, func(f kmsg.ApiVersionsResponseFinalizedFeature) bool {
		return f.Name == "transaction.version" && f.MaxVersionLevel >= 2
	}) {
		return &LackError{"--exactly-once", "the brokers do not serve transactions of version 2 (KIP-890)",
			"leave it out, or take Kafka 4.0 or later with kafka-features.sh upgrade --feature transaction.version=2"}
	}
	return nil
}

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
