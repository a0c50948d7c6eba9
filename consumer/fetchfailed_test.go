package consumer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A connection that fails says nothing of what is in a partition: it halts none. What cannot be
// read does.
func TestWhatHaltsAPartition(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		halts bool
	}{
		"a connection that was reset":   {syscall.ECONNRESET, false},
		"the same, from the system":     {&net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}, false},
		"the same, wrapped":             {fmt.Errorf("unable to list offsets: %w", syscall.ECONNRESET), false},
		"nobody listens":                {&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, false},
		"no way leads there":            {syscall.EHOSTUNREACH, false},
		"a time-out":                    {os.ErrDeadlineExceeded, false},
		"a broker that hangs up":        {&kgo.ErrFirstReadEOF{}, false},
		"no such host":                  {&net.DNSError{Err: "no such host", IsNotFound: true}, false},
		"not the leader":                {kerr.NotLeaderForPartition, false},
		"a batch that cannot be read":   {errors.New("batch CRC mismatch"), true},
		"one that ends before its end":  {io.ErrUnexpectedEOF, true},
		"a codec that nobody knows":     {errors.New("unknown compression codec 7"), true},
		"a message that Kafka calls so": {kerr.CorruptMessage, false},
		"an offset out of range":        {kerr.OffsetOutOfRange, true},
		"a topic that is not ours":      {kerr.TopicAuthorizationFailed, true},
		"a topic that is another":       {kerr.UnknownTopicID, true},
	} {
		cfg := minimal()
		consumer, err := New(cfg)
		wantNil(t, err)
		p := newPartition(consumer.around, &Assignment{Topic: "t", Epoch: 1}, -1)
		fp := &kgo.FetchPartition{Err: c.err, LogStartOffset: 0}
		if e := consumer.reader.haltFor(p, fp); (e != nil) != c.halts {
			t.Errorf("%s: %v", name, e)
		}
	}
}
