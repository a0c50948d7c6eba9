package consumer

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A member that is fenced leaves its group, and is told that the group does not know it, which is
// not so: its heartbeats go on, and its partitions would stay with who does nothing with them
// (S10).
func TestALeaveThatIsNotDone(t *testing.T) {
	inLab(t, 1, func(t *testing.T, l *lab) {
		l.feed(0, 10)
		m := l.start(l.epochs(), nil)
		l.untilCommitted(0, 10)
		l.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ConsumerGroupHeartbeat}, Err: kerr.UnknownMemberID, Count: 2, When: func(req kmsg.Request) bool {
			return req.(*kmsg.ConsumerGroupHeartbeatRequest).MemberEpoch < 0
		}})
		m.Fence(errors.New("the test"))
		l.feed(0, 10)
		l.untilCommitted(0, 20)
		wantNil(t, m.stop())
	})
}
