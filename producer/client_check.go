package producer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// checkTimeout bounds Check.
const checkTimeout = 10 * time.Second

// Validate implements Validator.
func (c *client) Validate() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.life.refusal; e != nil && e.Code == CodeInvalidConfig {
		return e
	}
	return nil
}

// Check implements Producer: the sidecar must be connected, not stopping, and reach Kafka.
func (c *client) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s, direct, err := c.connected(ctx)
	if err != nil {
		return err
	}
	if direct != nil {
		return direct.Check(ctx)
	}
	st, err := s.status(ctx, &sidecarpb.StatusRequest{})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return nil // a sidecar without it is as good as its stream
	case err != nil:
		return fmt.Errorf("producer: the sidecar at %s is connected, but does not answer: %w; see its log", c.cfg.Target, err)
	case st.GetKafkaError() != "":
		return fmt.Errorf("producer: the sidecar at %s cannot reach Kafka: %s; check its brokers and credentials", c.cfg.Target, st.GetKafkaError())
	case st.GetState() == "draining":
		return fmt.Errorf("producer: the sidecar at %s is stopping: wait for its successor", c.cfg.Target)
	}
	return nil
}

// CheckTopics implements TopicChecker. It asks the sidecar, which never creates one.
func (c *client) CheckTopics(ctx context.Context, topics ...string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s, direct, err := c.connected(ctx)
	if err != nil {
		return err
	}
	if direct != nil {
		return direct.CheckTopics(ctx, topics...)
	}
	var errs []error
	var unknown error
	for some := range slices.Chunk(topics, wire.MaxTopicsChecked) {
		if err := c.checkSome(ctx, s, some); errors.Is(err, errors.ErrUnsupported) {
			unknown = err
		} else if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) == 0 {
		return unknown
	}
	return errors.Join(errs...)
}

func (c *client) checkSome(ctx context.Context, s *stream, topics []string) error {
	resp, err := s.status(ctx, &sidecarpb.StatusRequest{CheckTopics: topics, App: c.cfg.App, Token: c.cfg.Token})
	switch {
	case status.Code(err) == codes.Unimplemented, err == nil && len(resp.GetTopics()) == 0:
		return fmt.Errorf("producer: the sidecar at %s does not tell of topics: %w", c.cfg.Target, errors.ErrUnsupported)
	case status.Code(err) == codes.PermissionDenied:
		return c.cfg.unauthorized(err, status.Convert(err).Message())
	case err != nil:
		return fmt.Errorf("producer: the sidecar at %s is connected, but does not answer: %w", c.cfg.Target, err)
	}
	var errs []error
	for _, t := range resp.GetTopics() {
		if code := t.GetError(); code != "" {
			errs = append(errs, &Error{Code: code, Topic: t.GetTopic(), Partition: -1, Message: cmp.Or(t.GetMessage(), wire.CodeOf(code).Remedy)})
		}
	}
	return errors.Join(errs...)
}

// connected returns the stream, or the direct producer that is used instead, or why there is
// neither: of an attempt that ended after the call came.
func (c *client) connected(ctx context.Context) (*stream, *direct, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	attempts := c.link.attempts
	c.link.retryNow()
	for {
		if err := c.ready(); err != nil {
			return nil, nil, err
		}
		if d := c.fall.detour; d != nil {
			return nil, d.direct, nil
		}
		if c.link.stream != nil {
			return c.link.stream, nil, nil
		}
		if c.link.attempts > attempts {
			return nil, nil, c.link.lastErr
		}
		changed := c.link.changed
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		c.mu.Lock()
		if ctx.Err() != nil && c.link.stream == nil && c.fall.detour == nil {
			return nil, nil, fmt.Errorf("producer: not connected to the sidecar at %s yet: %w", c.cfg.Target, context.Cause(ctx))
		}
	}
}
