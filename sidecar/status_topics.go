package sidecar

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const (
	maxCheckTopics    = 8
	checkTopicTimeout = 3 * time.Second
)

// checkTopics asks a broker which of the topics are there. A topic without an answer is left out: nothing is known of it.
func (s *Server) checkTopics(ctx context.Context, names []string) []*sidecarpb.TopicCheck {
	if len(names) == 0 {
		return nil
	}
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range names[:min(len(names), maxCheckTopics)] {
		if len(name) <= maxTopicName {
			t := kmsg.NewMetadataRequestTopic()
			t.Topic = kmsg.StringPtr(name)
			req.Topics = append(req.Topics, t)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, checkTopicTimeout)
	defer cancel()
	resp, err := req.RequestWith(ctx, s.client)
	if err != nil || len(req.Topics) == 0 { // an empty list would be asked about all
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
