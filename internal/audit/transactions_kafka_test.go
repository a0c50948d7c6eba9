package audit_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/audit"
	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

// hands makes transactions by hand on real brokers: a group's commits by its member, outputs with
// source headers.
type hands struct {
	*testing.T
	kafka      *kafkatest.Cluster
	in, out    string
	group      string
	id         [16]byte // of the input topic
	member     string
	generation int32
	consumer   *kgo.Client
}

const handInputs = 20

func newHands(t *testing.T, kafka *kafkatest.Cluster) *hands {
	h := &hands{T: t, kafka: kafka, in: kafka.CreateTopic("in", 1, nil), out: kafka.CreateTopic("out", 2, nil), group: kafka.Name("g")}
	feed := kafka.Client(kgo.DefaultProduceTopic(h.in))
	for i := range handInputs {
		h.must(feed.ProduceSync(t.Context(), &kgo.Record{Value: fmt.Appendf(nil, "%d", i)}).FirstErr())
	}
	topics, err := kafka.Admin().ListTopics(t.Context(), h.in)
	h.must(err)
	h.id = topics[h.in].ID
	h.consumer = kafka.Client(kgo.ConsumerGroup(h.group), kgo.ConsumeTopics(h.in), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for seen := 0; seen < handInputs; {
		seen += h.consumer.PollFetches(t.Context()).NumRecords()
	}
	h.member, h.generation = h.consumer.GroupMetadata()
	return h
}

func (h *hands) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// window is a twin: windows of one transactional id, one after the other.
type window struct {
	*hands
	id string
	cl *kgo.Client
}

func (h *hands) twin(opts ...kgo.Opt) *window {
	id := h.kafka.Name("x")
	return &window{h, id, h.kafka.Client(append(opts, kgo.TransactionalID(id), kgo.DefaultProduceTopic(h.out), kgo.MetadataMinAge(25*time.Millisecond),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))...)}
}

// source is an input's n-th output of so many.
func (w *window) source(offset int64, n string, of int) kgo.RecordHeader {
	return kgo.RecordHeader{Key: audit.HeaderSource, Value: fmt.Appendf(nil, "%s/0/%d/%s/%d/%s/%s", w.in, offset, n, of, base64.RawURLEncoding.EncodeToString(w.hands.id[:]), w.group)}
}

func (w *window) begin() { w.Helper(); w.must(w.cl.BeginTransaction()) }

// write writes the only output of each input.
func (w *window) write(offsets ...int64) {
	w.Helper()
	for _, o := range offsets {
		w.put(o, "0", 1)
	}
}

func (w *window) put(offset int64, n string, of int) {
	w.Helper()
	w.must(w.cl.ProduceSync(w.Context(), &kgo.Record{Partition: int32(offset % 2), Value: []byte("x"), Headers: []kgo.RecordHeader{w.source(offset, n, of)}}).FirstErr())
}

// offset commits in the open transaction, with what is done above.
func (w *window) offset(offset int64, done ...donemeta.Run) {
	w.Helper()
	producer, epoch, err := w.cl.ProducerID(w.Context())
	w.must(err)
	w.offsetBy(producer, epoch, w.id, offset, done...)
}

func (w *window) offsetBy(producer int64, epoch int16, id string, offset int64, done ...donemeta.Run) {
	w.Helper()
	text, _ := donemeta.Append(nil, donemeta.Binding{TopicID: w.hands.id, Base: offset, LeaderEpoch: -1}, done)
	metadata := string(text)
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.ProducerID, req.ProducerEpoch, req.Generation, req.MemberID = id, w.group, producer, epoch, w.generation, w.member
	topic := kmsg.NewTxnOffsetCommitRequestTopic()
	topic.Topic, topic.TopicID = w.in, w.hands.id
	part := kmsg.NewTxnOffsetCommitRequestTopicPartition()
	part.Offset, part.LeaderEpoch, part.Metadata = offset, -1, &metadata
	topic.Partitions = append(topic.Partitions, part)
	req.Topics = append(req.Topics, topic)
	for {
		resp, err := req.RequestWith(w.Context(), w.cl)
		w.must(err)
		code := resp.Topics[0].Partitions[0].ErrorCode
		if code == 0 {
			return
		}
		if code != kerr.ConcurrentTransactions.Code { // the one before is still being ended
			w.Fatal(kerr.ErrorForCode(code))
		}
	}
}

func (w *window) commit() { w.Helper(); w.must(w.cl.EndTransaction(w.Context(), kgo.TryCommit)) }

// third commits offsets without records, under an id of its own.
func (w *window) third(offset int64) {
	w.Helper()
	id := w.id + "-o"
	init := kmsg.NewPtrInitProducerIDRequest()
	init.TransactionalID, init.TransactionTimeoutMillis, init.ProducerID, init.ProducerEpoch = &id, 15_000, -1, -1
	given, err := init.RequestWith(w.Context(), w.cl)
	w.must(err)
	w.must(kerr.ErrorForCode(given.ErrorCode))
	w.offsetBy(given.ProducerID, given.ProducerEpoch, id, offset)
	end := kmsg.NewPtrEndTxnRequest()
	end.TransactionalID, end.ProducerID, end.ProducerEpoch, end.Commit = id, given.ProducerID, given.ProducerEpoch, true
	ended, err := end.RequestWith(w.Context(), w.cl)
	w.must(err)
	w.must(kerr.ErrorForCode(ended.ErrorCode))
}

// compare reads it all as the proof does after each of its faults.
func (h *hands) compare(filtered bool) ([]audit.Torn, audit.TransactionCounts) {
	h.Helper()
	c, err := reader.Transactions(h.Context(), []kgo.Opt{kgo.SeedBrokers(h.kafka.Addrs()...)}, h.in, h.out, audit.TransactionOptions{Group: h.group, Filtered: filtered})
	h.must(err)
	return c.Torn, c.TransactionCounts
}

// What is in two logs of a real broker, each in its own order, is told apart by producer and epoch:
// right transactions correlate, also after aborts and after an id was taken again, and each way to
// break one is named.
func TestTransactionsOnRealBrokers(t *testing.T) {
	kafka := kafkatest.Start(t, kafkatest.Config{})
	for _, c := range []struct {
		name     string
		filtered bool
		play     func(w *window)
		want     string
		count    int64 // transactions
	}{
		{"two twins, aborts, a done-set, a successor", false, func(w *window) {
			other := w.twin()
			w.begin()
			w.write(0, 1)
			w.offset(2)
			w.commit()
			other.begin()
			other.write(2, 3)
			other.offset(4)
			w.must(other.cl.EndTransaction(w.Context(), kgo.TryAbort))
			w.begin()
			w.write(3, 5)
			w.offset(2, donemeta.Run{First: 3, Last: 3}, donemeta.Run{First: 5, Last: 5})
			w.commit()
			other.begin()
			other.write(2, 4)
			other.offset(6)
			other.commit()
			w.begin() // what a successor finds open is aborted
			w.write(6)
			w.offset(7)
			successor := &window{w.hands, w.id, w.kafka.Client(kgo.TransactionalID(w.id), kgo.DefaultProduceTopic(w.out), kgo.RecordPartitioner(kgo.ManualPartitioner()))}
			successor.begin()
			successor.write(6)
			successor.put(7, "0", 2)
			successor.put(7, "1", 2)
			successor.put(8, "dl", 1)
			successor.offset(9)
			successor.commit()
		}, "", 4},
		{"filtered inputs, by a third id", true, func(w *window) {
			w.begin()
			w.write(0)
			w.offset(2)
			w.commit()
			w.third(5)
		}, "", 2},
		{"an offset without its output", false, func(w *window) {
			w.begin()
			w.write(0)
			w.offset(2)
			w.commit()
		}, "offset without its outputs 1", 1},
		{"one of two outputs", false, func(w *window) {
			w.begin()
			w.put(0, "0", 2)
			w.offset(1)
			w.commit()
		}, "offset without its outputs 0", 1},
		{"an output without its offset", false, func(w *window) {
			w.begin()
			w.write(0, 1)
			w.offset(1)
			w.commit()
		}, "outputs without their offset 1", 1},
		{"the output and its offset in two transactions", false, func(w *window) {
			w.begin()
			w.write(0, 1)
			w.offset(1)
			w.commit()
			w.third(2)
		}, "offset without its outputs 1, outputs without their offset 1", 2},
		{"an output twice", false, func(w *window) {
			w.begin()
			w.write(0)
			w.offset(1)
			w.commit()
			w.begin()
			w.write(0, 1)
			w.offset(2)
			w.commit()
		}, "output twice 0, outputs without their offset 0", 2},
		{"an offset goes back", false, func(w *window) {
			w.begin()
			w.write(0, 1)
			w.offset(2)
			w.commit()
			w.begin()
			w.write(2)
			w.offset(1, donemeta.Run{First: 2, Last: 2})
			w.commit()
		}, "offset went back 1", 2},
		{"a plain commit beside", false, func(w *window) {
			w.begin()
			w.write(0)
			w.offset(1)
			w.commit()
			w.consumer.CommitOffsetsSync(w.Context(), map[string]map[int32]kgo.EpochOffset{w.in: {0: {Epoch: -1, Offset: 3}}}, nil)
			w.begin()
			w.write(1, 2, 3)
			w.offset(4)
			w.commit()
		}, "outputs without their offset 1, outputs without their offset 2", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHands(t, kafka)
			c.play(h.twin())
			torn, counts := h.compare(c.filtered)
			var got []string
			for _, x := range torn {
				got = append(got, fmt.Sprintf("%s %d", x.Problem, x.Offset))
			}
			slices.Sort(got)
			if s := strings.Join(got, ", "); s != c.want || counts.Transactions != c.count {
				t.Errorf("found %q in %+v, want %q in %d\n%v", s, counts, c.want, c.count, torn)
			}
		})
	}
}
