package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// FromKafka makes the wire's error from one of kgo's: Kafka's name as the code, and what to do in
// the message. It returns nil for nil.
func FromKafka(err error) *sidecarpb.Error {
	if err == nil {
		return nil
	}
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		text, retryable := withVerdict(err.Error(), ke)
		return &sidecarpb.Error{Code: ke.Message, Message: utf8Only(text), Retryable: retryable}
	}
	code, retry := localCode(err)
	return &sidecarpb.Error{Code: code, Message: utf8Only(err.Error()), Retryable: retry}
}

// withVerdict tells what to do and whether the same record may succeed later: by the table, else by
// Kafka's own word.
func withVerdict(text string, ke *kerr.Error) (message string, retryable bool) {
	text = strings.TrimSuffix(strings.TrimPrefix(text, ke.Message+": "), ".") // the code has the name already
	known, ok := codeByName[ke.Message]
	if !ok {
		return text, ke.Retriable
	}
	return text + ". " + strings.ToUpper(known.Remedy[:1]) + known.Remedy[1:], known.Retryable
}

func localCode(err error) (code string, retry bool) {
	var netErr net.Error
	switch {
	case errors.Is(err, kgo.ErrMaxBuffered):
		return CodeFull, true
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kgo.ErrAborting), errors.Is(err, context.Canceled):
		return CodeDraining, true
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, context.DeadlineExceeded):
		return kerr.RequestTimedOut.Message, true
	case errors.As(err, &netErr), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return kerr.NetworkException.Message, true
	}
	return CodeDelivery, false
}

// utf8Only makes text fit for a protobuf string: an error may quote bytes of a user's record.
func utf8Only(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
