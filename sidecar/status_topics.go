package sidecar

import (
	"context"
	"slices"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// checkTopics tells which topics the app that asks may not write to, and asks a broker which of the
// others are there. A topic without an answer is left out: nothing is known of it. A question is no
// attempt: what it finds forbidden is not counted as a refusal.
func (s *statuses) checkTopics(ctx context.Context, status *sidecarpb.StatusRequest) ([]*sidecarpb.TopicCheck, error) {
	names := status.GetCheckTopics()
	if len(names) == 0 {
		return nil, nil
	}
	names = names[:min(len(names), wire.MaxTopicsChecked)]
	var out []*sidecarpb.TopicCheck
	if name := status.GetApp(); name != "" {
		a, err := s.apps.Admit(ctx, name, status.GetToken())
		if err != nil {
			return nil, err
		}
		defer a.Leave()
		names = slices.DeleteFunc(slices.Clone(names), func(topic string) bool {
			why := a.RefuseTopic(topic)
			if why != nil {
				out = append(out, &sidecarpb.TopicCheck{Topic: topic, Error: why.GetCode(), Message: why.GetMessage()})
			}
			return why != nil
		})
	}
	return append(out, s.brokers.FindTopics(ctx, names)...), nil
}
