package producer

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

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
	return checkTopics(ctx, out.Client(), topics)
}

func checkTopics(ctx context.Context, cl *kgo.Client, topics []string) error {
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
