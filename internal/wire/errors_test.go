package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/wire"
)

func TestFromKafka(t *testing.T) {
	for _, c := range []struct {
		err   error
		code  string
		retry bool
	}{
		{kerr.MessageTooLarge, "MESSAGE_TOO_LARGE", false},
		{fmt.Errorf("%w (uncompressed_bytes=5)", kerr.MessageTooLarge), "MESSAGE_TOO_LARGE", false},
		{kerr.UnknownTopicOrPartition, "UNKNOWN_TOPIC_OR_PARTITION", false},
		{kerr.NotEnoughReplicas, "NOT_ENOUGH_REPLICAS", true},
		{kerr.TopicAuthorizationFailed, "TOPIC_AUTHORIZATION_FAILED", false},
		{kerr.OutOfOrderSequenceNumber, "OUT_OF_ORDER_SEQUENCE_NUMBER", true},
		{kgo.ErrMaxBuffered, wire.CodeFull, true},
		{kgo.ErrClientClosed, wire.CodeDraining, true},
		{context.DeadlineExceeded, "REQUEST_TIMED_OUT", true},
		{io.EOF, "NETWORK_EXCEPTION", true},
		{errors.New("bad \xff bytes"), wire.CodeDelivery, false},
	} {
		got := wire.FromKafka(c.err)
		if got.GetCode() != c.code || got.GetRetryable() != c.retry || got.GetMessage() == "" {
			t.Errorf("%v: got %v, want code %s, retryable %v", c.err, got, c.code, c.retry)
		}
	}
	if wire.FromKafka(nil) != nil {
		t.Error("nil is not a failure")
	}
}
