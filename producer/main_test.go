package producer_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/producer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const badTopic = "no-such-topic"

// The name in Code is enough for errors.Is: a report of the sidecar has no more.
func TestErrorIsKafkas(t *testing.T) {
	var err error = &producer.Error{Code: "MESSAGE_TOO_LARGE"}
	if !errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("%v is %v", err, errors.Unwrap(err))
	}
	if err := errors.Unwrap(&producer.Error{Code: producer.CodeReleased}); err != nil {
		t.Errorf("a code of our own has the cause %v", err)
	}
	if err := errors.Unwrap(&producer.Error{Code: "MESSAGE_TOO_LARGE", Err: producer.ErrFull}); err != producer.ErrFull { //nolint:errorlint // identity is meant
		t.Errorf("the cause is %v", err)
	}
}
