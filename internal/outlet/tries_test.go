package outlet

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

// A record was sent again if, and only if, its batch had failed before: whatever fails how often in
// which partition, also what is given up, and nothing is kept of what is over.
func TestTriesAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tries := newTries(rapid.Bool().Draw(t, "renumbers"))
		type batch struct {
			id   batchID
			n    int32
			base int64
		}
		next, sequence := map[partitionID]int64{}, map[partitionID]int32{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			at := partitionID{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "topic"), int32(rapid.IntRange(0, 1).Draw(t, "partition"))}
			var line []batch // on their way together
			again := map[int64]bool{}
			for range rapid.IntRange(1, 5).Draw(t, "batches") {
				n := int32(rapid.IntRange(1, 4).Draw(t, "records"))
				b := batch{batchID{0, 0, sequence[at]}, n, next[at]} // Kafka's first producer
				sequence[at] += n
				fails := rapid.IntRange(0, 3).Draw(t, "fails")
				for range fails {
					tries.fail(at, b.id)
				}
				if fails > 0 && rapid.Bool().Draw(t, "given up") {
					continue
				}
				next[at] += int64(n)
				for i := range int64(n) {
					again[b.base+i] = fails > 0
				}
				line = append(line, b)
			}
			for _, b := range line {
				tries.ack(at, b.id, b.base, b.n)
			}
			for _, b := range line {
				for o := b.base; o < b.base+int64(b.n); o++ {
					if got := tries.took(&kgo.Record{Topic: at.topic, Partition: at.partition, Offset: o}); got != again[o] {
						t.Fatalf("offset %d of %v was sent again: %t, want %t", o, at, got, again[o])
					}
				}
			}
			if rapid.IntRange(0, 9).Draw(t, "anew") == 0 {
				tries.forget(at.topic)
				delete(next, at)
			}
		}
		for at, of := range tries.of {
			if len(of.again) > 0 || len(of.failed) > maxTried {
				t.Errorf("of %v %d ranges and %d batches are kept", at, len(of.again), len(of.failed))
			}
		}
		tries.forget("a")
		tries.forget("b")
		if n, m := tries.places.Load(), tries.failed.Load(); len(tries.of) > 0 || n != 0 || m != 0 {
			t.Errorf("all is forgotten, and there are %d partitions, %d with offsets, %d with batches", len(tries.of), n, m)
		}
	})
}

// What Kafka refuses for its numbers is sent again under those of a new epoch, in the same order; a
// transaction never is, nor is what the client gave up.
func TestTriesUnderANewEpoch(t *testing.T) {
	at := partitionID{"t", 0}
	for name, one := range map[string]struct {
		renumbers, givenUp bool
		want               []bool
	}{
		"renumbered":    {renumbers: true, want: []bool{true, true, false}},
		"given up":      {renumbers: true, givenUp: true, want: []bool{false, false, false}},
		"a transaction": {want: []bool{false, false, false}},
	} {
		tries := newTries(one.renumbers)
		tries.fail(at, batchID{1, 0, 10})
		if one.givenUp {
			tries.giveUp(at, batchID{1, 0, 5})
		}
		tries.fail(at, batchID{1, 0, 15})
		for i, want := range one.want {
			tries.ack(at, batchID{1, 1, int32(5 * i)}, int64(100+5*i), 5)
			for o := range int64(5) {
				if got := tries.took(&kgo.Record{Topic: "t", Offset: int64(100+5*i) + o}); got != want {
					t.Errorf("%s: offset %d of batch %d was sent again: %t, want %t", name, o, i, got, want)
				}
			}
		}
		if tries.waits() {
			t.Errorf("%s: it waits for more", name)
		}
	}
}

// A client that names topics by their ids (KIP-516) tells of them by name, as a broker named them
// to it.
func TestTopicsByIDAreToldByName(t *testing.T) {
	near, far := net.Pipe()
	var told []string
	heard := &listener{
		retried: func(topic string, _ error) { told = append(told, topic) }, closing: func() bool { return false }, tries: newTries(false), names: newTopicNames(),
	}
	dial := heard.dialer(func(context.Context, string, string) (net.Conn, error) { return near, nil })
	conn, err := dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, far) }()
	defer func() { _ = far.Close() }()
	known, unknown := [16]byte{1}, [16]byte{2}

	meta := kmsg.NewPtrMetadataRequest()
	meta.SetVersion(12)
	write(t, conn, meta, 7)
	resp := kmsg.NewPtrMetadataResponse()
	resp.SetVersion(12)
	topic := kmsg.NewMetadataResponseTopic()
	topic.Topic, topic.TopicID = kmsg.StringPtr("known"), known
	resp.Topics = append(resp.Topics, topic)
	answer(t, conn, far, 7, resp)

	batch := func(sequence int32) []byte {
		b := make([]byte, 61)
		b[16] = 2
		binary.BigEndian.PutUint64(b[43:], 5) // of producer 5
		binary.BigEndian.PutUint32(b[53:], uint32(sequence))
		binary.BigEndian.PutUint32(b[57:], 3)
		return b
	}
	produce := func(id int32) {
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(13)
		for _, topic := range [][16]byte{known, unknown} {
			of := kmsg.NewProduceRequestTopic()
			of.TopicID = topic
			part := kmsg.NewProduceRequestTopicPartition()
			part.Partition, part.Records = 4, batch(9)
			of.Partitions = append(of.Partitions, part)
			req.Topics = append(req.Topics, of)
		}
		write(t, conn, req, id)
	}
	answered := func(id int32, code int16, base int64) {
		resp := kmsg.NewPtrProduceResponse()
		resp.SetVersion(13)
		for _, topic := range [][16]byte{known, unknown} {
			of := kmsg.NewProduceResponseTopic()
			of.TopicID = topic
			part := kmsg.NewProduceResponseTopicPartition()
			part.Partition, part.ErrorCode, part.BaseOffset = 4, code, base
			of.Partitions = append(of.Partitions, part)
			resp.Topics = append(resp.Topics, of)
		}
		answer(t, conn, far, id, resp)
	}
	produce(8)
	answered(8, 19, -1) // NOT_ENOUGH_REPLICAS
	produce(9)
	answered(9, 0, 100)
	if slices.Sort(told); !slices.Equal(told, []string{"", "known"}) {
		t.Errorf("told %q", told)
	}
	var again []int64
	hook := telling{heard.tries, func(r *kgo.Record) { again = append(again, r.Offset) }}
	for _, r := range []kgo.Record{
		{Topic: "known", Partition: 4, Offset: 99}, {Topic: "known", Partition: 3, Offset: 100}, {Topic: "unknown", Partition: 4, Offset: 100},
		{Topic: "known", Partition: 4, Offset: 100}, {Topic: "known", Partition: 4, Offset: 102}, {Topic: "known", Partition: 4, Offset: 103},
	} {
		hook.OnProduceRecordUnbuffered(&r, nil)
	}
	hook.OnProduceRecordUnbuffered(&kgo.Record{Topic: "known", Partition: 4, Offset: 101}, errors.New("no"))
	if !slices.Equal(again, []int64{100, 102}) {
		t.Errorf("sent again are those at %v", again)
	}
}

func write(t *testing.T, conn net.Conn, req kmsg.Request, id int32) {
	t.Helper()
	if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("ackmark")).AppendRequest(nil, req, id)); err != nil {
		t.Fatal(err)
	}
}

// answer sends a response, which the tap reads.
func answer(t *testing.T, conn, far net.Conn, id int32, resp kmsg.Response) {
	t.Helper()
	body := binary.BigEndian.AppendUint32(nil, uint32(id))
	if resp.IsFlexible() {
		body = append(body, 0)
	}
	body = resp.AppendTo(body)
	frame := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	go func() { _, _ = far.Write(frame) }()
	if _, err := io.ReadFull(conn, make([]byte, len(frame))); err != nil {
		t.Fatal(err)
	}
}
