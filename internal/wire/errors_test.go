package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
	"unicode/utf8"

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
		{kerr.UnknownTopicID, "UNKNOWN_TOPIC_ID", false},
		{kerr.InvalidProducerEpoch, "INVALID_PRODUCER_EPOCH", true},
		{kerr.UnknownProducerID, "UNKNOWN_PRODUCER_ID", true},
		{kerr.InvalidProducerIDMapping, "INVALID_PRODUCER_ID_MAPPING", true},
		{context.Canceled, wire.CodeDraining, true},
		{kgo.ErrAborting, wire.CodeDraining, true},
		{kgo.ErrMaxBuffered, wire.CodeFull, true},
		{kgo.ErrClientClosed, wire.CodeDraining, true},
		{context.DeadlineExceeded, "REQUEST_TIMED_OUT", true},
		{io.EOF, "NETWORK_EXCEPTION", true},
		{errors.New("bad \xff bytes"), wire.CodeDelivery, false},
	} {
		got := wire.FromKafka(c.err)
		if got.GetCode() != c.code || got.GetRetryable() != c.retry || got.GetMessage() == "" || !utf8.ValidString(got.GetMessage()) {
			t.Errorf("%v: got %v, want code %s, retryable %v", c.err, got, c.code, c.retry)
		}
	}
	if wire.FromKafka(nil) != nil {
		t.Error("nil is not a failure")
	}
}

// What a client may put into one frame, a sidecar takes: a frame of the smallest headers and one
// more unit's. A header takes two bytes.
func TestFramesKeepTheBoundOfHeaders(t *testing.T) {
	if most := wire.MaxFrameBytes/2 + wire.MaxUnitHeaders; most > wire.MaxMessageHeaders {
		t.Errorf("a frame may have %d headers, a message %d", most, wire.MaxMessageHeaders)
	}
}

// Kafka's client counts in nanoseconds: both ends come back as they went in, and one more does not.
func TestTimesThatSurvive(t *testing.T) {
	survives := func(ms int64) bool { return time.Unix(0, time.UnixMilli(ms).UnixNano()).UnixMilli() == ms }
	for _, end := range []struct{ ms, beyond int64 }{{wire.MinTimeMs, wire.MinTimeMs - 1}, {wire.MaxTimeMs, wire.MaxTimeMs + 1}} {
		if !survives(end.ms) || survives(end.beyond) {
			t.Errorf("%d: %t, %d: %t", end.ms, survives(end.ms), end.beyond, survives(end.beyond))
		}
	}
}
