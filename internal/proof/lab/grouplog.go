package lab

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// logGroup writes what the brokers are asked to do with the group's members and offsets into what a
// failure shows, at the moment that they begin with it. A request may be much older than that: it
// waited in a network that lost nothing.
func (l *Lab) logGroup() {
	l.Cluster.ControlKey(-1, func(req kmsg.Request) (kmsg.Response, error, bool) {
		switch req := req.(type) {
		case *kmsg.OffsetCommitRequest:
			l.log.printf("broker: commit %s", l.commitText(req))
		case *kmsg.LeaveGroupRequest:
			for _, m := range req.Members {
				reason := ""
				if m.Reason != nil {
					reason = *m.Reason
				}
				l.log.printf("broker: leave %s (%s)", m.MemberID, reason)
			}
		case *kmsg.JoinGroupRequest:
			l.log.printf("broker: join %s", nameOf(req.MemberID, req.InstanceID))
		case *kmsg.ConsumerGroupHeartbeatRequest:
			if req.MemberEpoch <= 0 || req.Topics != nil {
				l.log.printf("broker: heartbeat %s epoch %d, holds %v", nameOf(req.MemberID, req.InstanceID), req.MemberEpoch, held(req))
			}
		case *kmsg.SyncGroupRequest:
			l.log.printf("broker: sync %s generation %d", nameOf(req.MemberID, req.InstanceID), req.Generation)
		}
		return nil, nil, false
	})
}

// held lists what a heartbeat says that its member has; nil: it does not say.
func held(req *kmsg.ConsumerGroupHeartbeatRequest) (all []int32) {
	for _, t := range req.Topics {
		all = append(all, t.Partitions...)
	}
	return all
}

func nameOf(member string, instance *string) string {
	if instance != nil {
		return fmt.Sprintf("%q instance %s", member, *instance)
	}
	return fmt.Sprintf("%q", member)
}

func (l *Lab) commitText(req *kmsg.OffsetCommitRequest) string {
	var b strings.Builder
	fmt.Fprintf(&b, "by %s generation %d:", nameOf(req.MemberID, req.InstanceID), req.Generation)
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			done := 0
			if p.Metadata != nil {
				done = len(*p.Metadata)
			}
			fmt.Fprintf(&b, " %d→%d (%d characters)", p.Partition, p.Offset, done)
		}
	}
	return b.String()
}
