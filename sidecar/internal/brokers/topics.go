package brokers

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	maxTopicName = 249
	findTimeout  = 3 * time.Second
)

// FindTopics asks a broker which of the topics are there.
func (b *Brokers) FindTopics(ctx context.Context, names []string) []*sidecarpb.TopicCheck {
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names {
		if len(name) <= maxTopicName {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = kmsg.StringPtr(name)
			req.Topics = append(req.Topics, t)
		}
	}
	if len(req.Topics) == 0 { // an empty list would be asked about all
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	resp, err := req.RequestWith(ctx, b.client)
	if err != nil {
		return nil
	}
	var out []*sidecarpb.TopicCheck
	for _, t := range resp.Topics {
		if t.Topic == nil {
			continue
		}
		check := &sidecarpb.TopicCheck{Topic: *t.Topic}
		if ke := kerr.TypedErrorForCode(t.ErrorCode); ke != nil && !ke.Retriable || t.ErrorCode == kerr.UnknownTopicOrPartition.Code {
			check.Error = ke.Message
		}
		out = append(out, check)
	}
	return out
}
