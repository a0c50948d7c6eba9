package txn

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// A record that is not written since no broker was reached is tried again with all others of its
// window: alone, it would come behind later ones of its key.
func TestNobodyIsToBlameForTheNetwork(t *testing.T) {
	err := fmt.Errorf("unable to dial: %w", &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("no route to host")})
	if got := blameRecord(err); got != ofWindow {
		t.Errorf("%v is blamed on %v", err, got)
	}
	if got := blameRecord(errors.New("no such partition")); got != ofUnit {
		t.Errorf("what the client refuses itself is blamed on %v", got)
	}
}

// Who reads why an offset cannot be committed hears Kafka's error, and what to do about a right
// that is missing.
func TestWhyAnOffsetCannotBeCommitted(t *testing.T) {
	st := &Claim{Topic: "in", Partition: 3, holder: Holder{Group: "orders"}}
	for cause, want := range map[*kerr.Error]string{
		kerr.GroupAuthorizationFailed: `grant READ on the group "orders" to`, kerr.TopicAuthorizationFailed: `grant READ on the topic "in" to`,
		kerr.OffsetMetadataTooLarge: "offset.metadata.max.bytes", kerr.UnknownTopicID: `"in" partition 3 cannot be committed`,
	} {
		err := error(offsetError(st, &answerError{err: fmt.Errorf("offset of it: %w", cause)}))
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), cause.Message) {
			t.Errorf("%v: want %q, and it is %v: %t", err, want, cause, errors.Is(err, cause))
		}
	}
}
