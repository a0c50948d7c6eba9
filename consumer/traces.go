package consumer

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/groupcommit"
	"github.com/ackmark/ackmark/internal/tracing"
)

// traced makes a span of a commit.
func (c *committer) traced(send func(Membership, due) error) func(Membership, due) error {
	return func(m Membership, d due) error {
		topic := d.points[0].Topic
		for i := range d.points {
			if d.points[i].Topic != topic {
				topic = ""
				break
			}
		}
		span := c.cfg.tracer.Commit(topic, m.Group, len(d.points))
		err := send(m, d)
		tracing.End(span, commitKind(err))
		return err
	}
}

// commitKind is what went wrong with a commit, as error.type.
func commitKind(err error) string {
	if err == nil {
		return ""
	}
	if errors.Is(err, groupcommit.ErrStale) {
		return "stale"
	}
	if e, ok := errors.AsType[*kerr.Error](err); ok {
		return e.Message
	}
	return "unavailable"
}
