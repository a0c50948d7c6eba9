package audit

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// stored is a record as a reader gets it from a log: who wrote it, and whether in a transaction.
func stored(t *testing.T, topic string, by Writer, transactional bool, r kmsg.Record) *kgo.Record {
	t.Helper()
	r.Length = int32(len(r.AppendTo(nil)) - 1)
	body := r.AppendTo(nil)
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, ProducerID: by.Producer, ProducerEpoch: by.Epoch, NumRecords: 1, Records: body,
	}
	if transactional {
		b.Attributes = 1 << 4
	}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	b.CRC = int32(crc32.Checksum(b.AppendTo(nil)[21:], crc32.MakeTable(crc32.Castagnoli)))
	rp := kmsg.NewFetchResponseTopicPartition()
	rp.RecordBatches = b.AppendTo(nil)
	fp, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: topic}, &rp, kgo.DefaultDecompressor(), nil)
	if fp.Err != nil || len(fp.Records) != 1 {
		t.Fatalf("%d records: %v", len(fp.Records), fp.Err)
	}
	return fp.Records[0]
}

// logs are what a case has written.
type logs struct {
	t   *testing.T
	all *Transactions
}

func (l logs) output(by Writer, offset int64, n string, of int) {
	source := fmt.Sprintf("in/0/%d/%s/%d/%s/g", offset, n, of, "AAAAAAAAAAAAAAAAAAAAAA")
	r := kmsg.Record{Headers: []kmsg.Header{{Key: HeaderSource, Value: []byte(source)}}}
	l.all.Output(stored(l.t, "out", by, by.Producer > 0, r))
}

func (l logs) offset(by Writer, group string, offset int64, done ...donemeta.Run) {
	key := kmsg.OffsetCommitKey{Version: 1, Group: group, Topic: "in"}
	text, _ := donemeta.Append(nil, donemeta.Binding{TopicID: [16]byte{1}, Base: offset, LeaderEpoch: -1}, done)
	value := kmsg.OffsetCommitValue{Version: 4, Offset: offset, LeaderEpoch: -1, Metadata: string(text)}
	l.all.Offset(stored(l.t, OffsetsTopic, by, by.Producer > 0, kmsg.Record{Key: key.AppendTo(nil), Value: value.AppendTo(nil)}))
}

func TestTransactionsAreCompared(t *testing.T) {
	plain, a, b, c := Writer{}, Writer{7, 1}, Writer{7, 2}, Writer{8, 1}
	for _, test := range []struct {
		name     string
		filtered bool
		write    func(l logs)
		want     string
	}{
		{"right, in two logs", false, func(l logs) {
			l.offset(a, "g", 2)
			l.offset(b, "g", 2, donemeta.Run{First: 3, Last: 3})
			l.offset(c, "g", 5)
			for _, o := range []int64{1, 0} {
				l.output(a, o, "0", 1)
			}
			l.output(c, 2, "0", 1)
			l.output(b, 3, "1", 2)
			l.output(b, 3, "0", 2)
			l.output(c, 4, "dl", 1)
		}, ""},
		{"another epoch's output", false, func(l logs) {
			l.offset(a, "g", 1)
			l.output(b, 0, "0", 1)
		}, "offset without its outputs 0, outputs without their offset 0"},
		{"a done-set's input without output", false, func(l logs) { l.offset(a, "g", 0, donemeta.Run{First: 2, Last: 2}) }, "offset without its outputs 2"},
		{"an input that may be filtered", true, func(l logs) { l.offset(a, "g", 1) }, ""},
		{"of one output of two", true, func(l logs) {
			l.offset(a, "g", 1)
			l.output(a, 0, "0", 2)
		}, "offset without its outputs 0"},
		{"offsets without records in the input", false, func(l logs) { l.offset(a, "g", 0); l.offset(b, "g", 0, donemeta.Run{First: 100, Last: 200}) }, ""},
		{"the last offset of a transaction counts", false, func(l logs) {
			l.offset(a, "g", 1)
			l.offset(a, "g", 2)
			l.output(a, 0, "0", 1)
			l.output(a, 1, "0", 1)
		}, ""},
		{"another group's", false, func(l logs) { l.offset(a, "h", 5) }, ""},
		{"a dead letter without its offset", false, func(l logs) { l.output(a, 0, "dl", 1) }, "outputs without their offset 0"},
		{"what was at least once before", false, func(l logs) {
			l.output(plain, 0, "0", 1)
			l.offset(plain, "g", 1)
			l.offset(a, "g", 2)
			l.output(a, 1, "0", 1)
		}, ""},
		{"an output of no transaction for its offset in one", false, func(l logs) {
			l.output(plain, 0, "0", 1)
			l.offset(a, "g", 1)
		}, "offset without its outputs 0"},
		{"an output again", false, func(l logs) {
			l.offset(a, "g", 1)
			l.output(a, 0, "0", 1)
			l.output(a, 0, "0", 1)
		}, "output twice 0"},
		{"an offset that goes back", false, func(l logs) {
			l.offset(plain, "g", 3)
			l.offset(a, "g", 2)
		}, "offset went back 2"},
		{"of an input that is gone nothing is said", false, func(l logs) { l.output(a, -5, "0", 1) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := logs{t, NewTransactions(TransactionOptions{Group: "g", Filtered: test.filtered, TopicIDs: map[string][16]byte{"in": {1}}})}
			for offset := range int64(6) {
				l.all.Input(&kgo.Record{Topic: "in", Offset: offset})
			}
			test.write(l)
			torn, _ := l.all.Compare()
			var got []string
			for _, x := range torn {
				got = append(got, fmt.Sprintf("%s %d", x.Problem, x.Offset))
			}
			slices.Sort(got)
			if s := strings.Join(got, ", "); s != test.want {
				t.Errorf("found %q, want %q\n%v", s, test.want, torn)
			}
		})
	}
}

func TestWhatCannotBeReadIsSaid(t *testing.T) {
	all := NewTransactions(TransactionOptions{Group: "g"})
	l := logs{t, all}
	key := kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "in"}
	value := kmsg.OffsetCommitValue{Version: 4, Offset: 1, LeaderEpoch: -1, Metadata: "am1.AAAA"}
	for _, r := range []kmsg.Record{{Key: key.AppendTo(nil), Value: value.AppendTo(nil)}, {Key: key.AppendTo(nil), Value: []byte{0}}, {Key: []byte{0, 1, 0, 9}, Value: []byte{}}} {
		all.Offset(stored(l.t, OffsetsTopic, Writer{7, 1}, true, r))
	}
	all.Offset(stored(t, OffsetsTopic, Writer{}, false, kmsg.Record{Key: []byte{0, 2, 0, 0}, Value: []byte{0}})) // a group's metadata
	torn, _ := all.Compare()
	if len(torn) != 3 || torn[0].Problem != OffsetUnread || torn[1].Problem != OffsetUnread || torn[2].Problem != OffsetUnread {
		t.Errorf("%v", torn)
	}
}
