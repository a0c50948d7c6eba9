package devbroker

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Rules of a topic that Kafka holds records to, and kfake does not.
type Rules struct {
	// Compacted: a record needs a key (cleanup.policy=compact).
	Compacted bool
	// After is how far ahead of the broker's clock a record's timestamp may be
	// (message.timestamp.after.max.ms); 0: as far as it likes.
	After time.Duration
	// Unnamed: the response does not say which records are to blame, like brokers before KIP-467.
	Unnamed bool
}

// ByDefault are Kafka's rules for a topic without configuration of its own.
func ByDefault(string) Rules { return Rules{After: time.Hour} }

// Validate makes the cluster refuse batches as Kafka does (LogValidator): one record that breaks a
// rule takes its whole batch with it, and the response names it. rules is asked for each batch,
// from the cluster's goroutine; a client that names topics by their ids only gets the rules of "".
//
// A request is answered at once for all its partitions: those that are not refused are told to try
// again.
func Validate(c *kfake.Cluster, rules func(topic string) Rules) {
	c.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req, ok := kreq.(*kmsg.ProduceRequest)
		if !ok {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ProduceResponse)
		refused := false
		for _, t := range req.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.BaseOffset = p.Partition, -1
				rp.ErrorCode = kerr.NotLeaderForPartition.Code
				if err := rules(t.Topic).check(p.Records, time.Now(), &rp); err != nil {
					rp.ErrorCode = err.Code
					refused = true
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, refused
	})
}

func (r Rules) check(raw []byte, now time.Time, rp *kmsg.ProduceResponseTopicPartition) *kerr.Error {
	if r == (Rules{Unnamed: r.Unnamed}) {
		return nil
	}
	batch := kmsg.NewRecordBatch()
	if batch.ReadFrom(raw) != nil {
		return nil //nolint:nilerr // kfake says what is wrong with it
	}
	if !r.Compacted && !time.UnixMilli(batch.MaxTimestamp).After(now.Add(r.After)) {
		return nil // no record is later
	}
	records, err := readRecords(&batch)
	if err != nil {
		return kerr.CorruptMessage
	}
	var verdict *kerr.Error
	for i := range records {
		message := ""
		switch at := time.UnixMilli(batch.FirstTimestamp + records[i].TimestampDelta64); {
		case r.Compacted && records[i].Key == nil:
			verdict, message = kerr.InvalidRecord, "Compacted topic cannot accept message without key."
		case r.After > 0 && at.After(now.Add(r.After)):
			verdict, message = kerr.InvalidTimestamp, "Timestamp is too far in the future."
		default:
			continue
		}
		if !r.Unnamed {
			e := kmsg.NewProduceResponseTopicPartitionErrorRecord()
			e.RelativeOffset, e.ErrorMessage = int32(i), &message
			rp.ErrorRecords = append(rp.ErrorRecords, e)
		}
	}
	return verdict
}

var errShort = errors.New("the batch ends within a record")

func readRecords(b *kmsg.RecordBatch) ([]kmsg.Record, error) {
	raw := b.Records
	if codec := b.Attributes & 7; codec != 0 {
		var err error
		if raw, err = kgo.DefaultDecompressor().Decompress(raw, kgo.CompressionCodecType(codec)); err != nil {
			return nil, err
		}
	}
	records := make([]kmsg.Record, 0, max(0, min(int(b.NumRecords), len(raw))))
	for range b.NumRecords {
		length, n := binary.Varint(raw)
		if n <= 0 || length < 0 || length > int64(len(raw)-n) {
			return nil, errShort
		}
		r := kmsg.NewRecord()
		if err := r.ReadFrom(raw[:n+int(length)]); err != nil {
			return nil, err
		}
		raw = raw[n+int(length):]
		records = append(records, r)
	}
	return records, nil
}
