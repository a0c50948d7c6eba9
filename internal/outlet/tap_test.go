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

// Each batch of a request that gets no answer, or half of one, is told with its topic, whatever the
// version; those of a client that is being closed are not sent again.
func TestBatchesWithoutAnAnswerAreTold(t *testing.T) {
	for version := int16(3); version <= 12; version++ {
		for _, how := range []string{"closed there", "closed here", "half an answer", "the client is being closed"} {
			t.Run(fmt.Sprintf("version %d, %s", version, how), func(t *testing.T) {
				near, far := net.Pipe()
				var told []string
				closing := false
				heard := &listener{
					retried: func(topic string, _ error) { told = append(told, topic) }, closing: func() bool { return closing }, tries: newTries(true),
				}
				dial := heard.dialer(func(context.Context, string, string) (net.Conn, error) { return near, nil })
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
				switch how {
				case "half an answer":
					go func() {
						_, _ = far.Write([]byte{0, 0, 0, 99, 0, 0, 0, 1, 7, 7, 7}) // to the second one
						_ = far.Close()
					}()
				case "closed here":
				default:
					closing = how != "closed there"
					_ = far.Close()
				}
				if how != "closed here" {
					if _, err := io.Copy(io.Discard, conn); err != nil {
						t.Fatal(err)
					}
				}
				_ = conn.Close()                               // as the client does with what is broken: nothing is told twice
				want := []string{"a", "a", "a", "a", "b", "b"} // of two partitions each
				if closing {
					want = nil
				}
				if slices.Sort(told); !slices.Equal(told, want) {
					t.Errorf("told %q, want %q", told, want)
				}
			})
		}
	}
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
