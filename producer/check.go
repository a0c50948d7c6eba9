package producer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Validator is implemented by producers that can tell without a connection whether their
// configuration can work: those of [Dial] and [Direct].
type Validator interface {
	// Validate returns the *Error with CodeInvalidConfig that every call would return, or nil.
	Validate() error
}

// TopicChecker is implemented by producers that can ask whether topics are there to be written to:
// those of [Dial] and [Direct].
type TopicChecker interface {
	// CheckTopics returns nil when all of them can be written to, as far as is known, an error that
	// joins an [*Error] for each one that cannot (Kafka's code, or TOPIC_NOT_ALLOWED where the
	// sidecar's list of apps leaves it out), or one that wraps [errors.ErrUnsupported] when nobody
	// can tell (a sidecar of an older version).
	CheckTopics(ctx context.Context, topics ...string) error
}

// Validate implements Validator.
func (c *client) Validate() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fatal != nil && c.fatal.Code == CodeInvalidConfig {
		return c.fatal
	}
	return nil
}

// Validate implements Validator. The client that it makes dials nobody before it is used.
func (d *direct) Validate() error {
	_, err := d.start()
	if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeInvalidConfig {
		return e
	}
	return nil
}

// CheckTopics implements TopicChecker. A topic that the broker would create for the first record is
// none that is missing.
func (d *direct) CheckTopics(ctx context.Context, topics ...string) error {
	out, err := d.start()
	if err != nil {
		return err
	}
	cl := out.Client()
	create, _ := cl.OptValue(kgo.AllowAutoTopicCreation).(bool)
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return fmt.Errorf("producer: topics %q: no answer: %w", topics, err)
	}
	var errs []error
	for _, t := range resp.Topics {
		switch ke := kerr.TypedErrorForCode(t.ErrorCode); {
		case ke == nil || t.Topic == nil:
		case ke == kerr.UnknownTopicOrPartition && create:
		case ke == kerr.UnknownTopicOrPartition || !ke.Retriable:
			errs = append(errs, kafkaError(ke, *t.Topic, -1))
		}
	}
	return errors.Join(errs...)
}

// CheckTopics implements TopicChecker. It asks the sidecar, which never creates one.
func (c *client) CheckTopics(ctx context.Context, topics ...string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	s, w, err := c.connected(ctx)
	if err != nil {
		return err
	}
	if w != nil {
		return w.direct.CheckTopics(ctx, topics...)
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
	resp, err := sidecarpb.NewSidecarClient(s.conn).Status(ctx, &sidecarpb.StatusRequest{CheckTopics: topics, App: c.cfg.App, Token: c.cfg.Token})
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
