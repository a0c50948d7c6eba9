package outlet

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Each batch of a request that gets no answer is told with its topic, whatever the version; those
// that the client closed its connection on are not sent again.
func TestBatchesWithoutAnAnswerAreTold(t *testing.T) {
	for version := int16(3); version <= 12; version++ {
		for _, ours := range []bool{false, true} {
			t.Run(fmt.Sprintf("version %d, closed here %v", version, ours), func(t *testing.T) {
				near, far := net.Pipe()
				var told []string
				dial := tapped(func(context.Context, string, string) (net.Conn, error) { return ownClose{near}, nil }, func(refusal) {}, func(topic string, err error) {
					told = append(told, fmt.Sprintf("%s: %v", topic, err))
				})
				conn, err := dial(t.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				go func() { _, _ = io.Copy(io.Discard, far) }()
				for id, topics := range [][]string{{"a", "b"}, {"a"}} {
					if _, err := conn.Write(produceRequest(version, int32(id), topics...)); err != nil {
						t.Fatal(err)
					}
				}
				var want []string
				if ours {
					_ = near.Close()
				} else {
					_ = far.Close()
					want = []string{"a: EOF", "a: EOF", "a: EOF", "a: EOF", "b: EOF", "b: EOF"} // of two partitions each
				}
				for range 2 { // nothing is told twice
					if _, err := conn.Read(make([]byte, 1)); err == nil {
						t.Fatal("something was read from a broken connection")
					}
				}
				if slices.Sort(told); !slices.Equal(told, want) {
					t.Errorf("told %q, want %q", told, want)
				}
			})
		}
	}
}

// ownClose is a pipe with the error of a connection that was closed on this side.
type ownClose struct{ net.Conn }

func (c ownClose) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, closed(err)
}

// produceRequest is one with two partitions of each topic.
func produceRequest(version int16, id int32, topics ...string) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(version)
	for _, topic := range topics {
		of := kmsg.NewProduceRequestTopic()
		of.Topic = topic
		for p := range int32(2) {
			part := kmsg.NewProduceRequestTopicPartition()
			part.Partition, part.Records = p, []byte("not looked at")
			of.Partitions = append(of.Partitions, part)
		}
		req.Topics = append(req.Topics, of)
	}
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("ackmark")).AppendRequest(nil, req, id)
}
