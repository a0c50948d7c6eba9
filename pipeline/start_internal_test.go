package pipeline

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/producer"
)

// What no waiting changes is found wherever it stands in a joined error; what may change while the
// pipeline runs is none.
func TestIsRefusal(t *testing.T) {
	forbidden := &producer.Error{Code: wire.CodeTopicNotAllowed}
	missing := &producer.Error{Code: kerr.UnknownTopicOrPartition.Message}
	for _, x := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{missing, false},
		{&producer.Error{Code: kerr.TopicAuthorizationFailed.Message}, false}, // a right can be granted while it runs
		{errors.New("no answer"), false},
		{forbidden, true},
		{fmt.Errorf("field: %w", errors.Join(missing, fmt.Errorf("of two: %w", errors.Join(missing, forbidden)))), true},
		{&producer.Error{Code: producer.CodeUnauthorized}, true},
		{&producer.Error{Code: producer.CodeVersionMismatch}, true},
		{fmt.Errorf("no broker answered: %w", kerr.SaslAuthenticationFailed), true},
	} {
		if got := isRefusal(x.err); got != x.want {
			t.Errorf("%v: %t", x.err, got)
		}
	}
}
