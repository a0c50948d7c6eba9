package sidecar

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

const checkTopicTimeout = 3 * time.Second

// checkTopics tells which topics the app that asks may not write to, and asks a broker which of the
// others are there. A topic without an answer is left out: nothing is known of it. A question is no
// attempt: what it finds forbidden is not counted as a refusal.
func (s *Server) checkTopics(ctx context.Context, status *sidecarpb.StatusRequest) ([]*sidecarpb.TopicCheck, error) {
	names := status.GetCheckTopics()
	if len(names) == 0 {
		return nil, nil
	}
	names = names[:min(len(names), wire.MaxTopicsChecked)]
	var out []*sidecarpb.TopicCheck
	if name := status.GetApp(); name != "" {
		a, err := s.admitApp(ctx, name, status.GetToken())
		if err != nil {
			return nil, err
		}
		defer a.leave()
		names = slices.DeleteFunc(slices.Clone(names), func(topic string) bool {
			why := a.refuse(topic)
			if why != nil {
				out = append(out, &sidecarpb.TopicCheck{Topic: topic, Error: why.GetCode(), Message: why.GetMessage()})
			}
			return why != nil
		})
	}
	return append(out, s.findTopics(ctx, names)...), nil
}

// findTopics asks a broker which of the topics are there.
func (s *Server) findTopics(ctx context.Context, names []string) []*sidecarpb.TopicCheck {
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
	ctx, cancel := context.WithTimeout(ctx, checkTopicTimeout)
	defer cancel()
	resp, err := req.RequestWith(ctx, s.client)
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
