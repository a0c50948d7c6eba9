package outlet

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// refusal is what a produce response says of a partition whose batch was refused.
type refusal struct {
	topic     string
	partition int32
	err       error
	places    []int // of the guilty records in the batch (KIP-467); nil: not named
	written   int32 // records of the batch, and of those of the partition that are on their way; 0: not known
	message   string
}

// sentBatch is a batch of a produce request.
type sentBatch struct {
	at     partitionID // without the topic where its name is not known
	id     batchID
	n      int32 // records
	number bool  // it has an id: the producer is idempotent, and the topic is known
}

// batches are those of a produce request, header included. mu is held.
func (t *tap) batches(b []byte, version int16) (list []sentBatch) {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(version)
	b = b[sizeKeyVersionID:]
	if len(b) < 2 {
		return nil
	}
	if client := int(int16(binary.BigEndian.Uint16(b))); client > 0 {
		b = b[min(len(b), 2+client):]
	} else {
		b = b[2:]
	}
	if req.IsFlexible() {
		if len(b) == 0 || b[0] != 0 { // tags of the header: kgo writes none
			return nil
		}
		b = b[1:]
	}
	if req.UnsafeReadFrom(b) != nil { // its names are within b
		return nil
	}
	for i := range req.Topics {
		topic := t.keep(t.nameOf(version, req.Topics[i].Topic, req.Topics[i].TopicID))
		for j := range req.Topics[i].Partitions {
			p := &req.Topics[i].Partitions[j]
			list = append(list, batchOf(partitionID{topic, p.Partition}, p.Records))
		}
	}
	return list
}

// batchOf reads the head of a batch (KIP-98's format; it is never compressed).
func batchOf(at partitionID, b []byte) sentBatch {
	const magic, producer, epoch, sequence, records, end = 16, 43, 51, 53, 57, 61
	s := sentBatch{at: at}
	if len(b) < end || b[magic] != 2 {
		return s
	}
	s.id = batchID{int64(binary.BigEndian.Uint64(b[producer:])), int16(binary.BigEndian.Uint16(b[epoch:])), int32(binary.BigEndian.Uint32(b[sequence:]))}
	s.n = int32(binary.BigEndian.Uint32(b[records:]))
	s.number = s.id.producer >= 0 && at.topic != ""
	return s
}

// topicsByID is the first version of Produce that names topics by id (KIP-516).
const topicsByID = 13

// nameOf is the name of a topic of a request, or of its response; "" if it is not known.
func (t *tap) nameOf(version int16, name string, id [16]byte) string {
	if version < topicsByID {
		return name
	}
	if t.names == nil {
		return ""
	}
	return t.names.of(id)
}

// keep copies a name once. mu is held.
func (t *tap) keep(topic string) string {
	kept, ok := t.known[topic]
	if !ok {
		if kept = strings.Clone(topic); t.known == nil {
			t.known = map[string]string{}
		}
		t.known[kept] = kept
	}
	return kept
}

// failed tells of a batch that is sent again.
func (t *tap) failed(s *sentBatch, err error) {
	if t.retried != nil {
		t.retried(s.at.topic, err)
	}
	if t.tries != nil && s.number {
		t.tries.fail(s.at, s.id)
	}
}

// answered looks at a produce response.
func (t *tap) answered(of asked) {
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(of.version)
	body := t.body
	if resp.IsFlexible() {
		if len(body) == 0 || body[0] != 0 { // tags of the header: none are known
			return
		}
		body = body[1:]
	}
	if resp.ReadFrom(body) != nil {
		return
	}
	waits := t.tries != nil && t.tries.waits()
	var batches map[partitionID]*sentBatch // made for the first that is asked for
	batch := func(at partitionID) *sentBatch {
		if batches == nil {
			batches = make(map[partitionID]*sentBatch, len(of.batches))
			for i := range of.batches {
				batches[of.batches[i].at] = &of.batches[i]
			}
		}
		if s := batches[at]; s != nil {
			return s
		}
		return &sentBatch{at: at} // nobody asks, or it could not be read
	}
	for i := range resp.Topics {
		topic := t.nameOf(of.version, resp.Topics[i].Topic, resp.Topics[i].TopicID)
		for j := range resp.Topics[i].Partitions {
			p := &resp.Topics[i].Partitions[j]
			err := kerr.ErrorForCode(p.ErrorCode)
			if err == nil && !waits {
				continue
			}
			s := batch(partitionID{topic, p.Partition})
			switch {
			case err == nil, errors.Is(err, kerr.DuplicateSequenceNumber): // kgo takes it for acknowledged, as it is
				if waits && s.number {
					t.tries.ack(s.at, s.id, p.BaseOffset, s.n)
				}
			case passes(err):
				t.failed(s, err)
			default:
				if t.tries != nil && s.number {
					t.tries.giveUp(s.at, s.id)
				}
				if t.refused != nil && isVerdict(err) {
					r := refusalOf(topic, p, err)
					r.written = s.n + t.behind(s.at)
					t.refused(r)
				}
			}
		}
	}
}

// behind is how many records of a partition are in requests without an answer.
func (t *tap) behind(at partitionID) (n int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, of := range t.asked {
		for i := range of.batches {
			if of.batches[i].at == at {
				n += of.batches[i].n
			}
		}
	}
	return n
}

func refusalOf(topic string, p *kmsg.ProduceResponseTopicPartition, err error) refusal {
	r := refusal{topic: topic, partition: p.Partition, err: err}
	for _, e := range p.ErrorRecords {
		r.places = append(r.places, int(e.RelativeOffset))
		if r.message == "" && e.ErrorMessage != nil {
			r.message = shortened(*e.ErrorMessage)
		}
	}
	if r.message == "" && p.ErrorMessage != nil {
		r.message = shortened(*p.ErrorMessage)
	}
	return r
}

func shortened(s string) string {
	const most = 300
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// topicNames are the names of topics by id, of one client, as brokers tell them.
type topicNames struct {
	mu   sync.Mutex
	byID map[[16]byte]string
}

// maxNames bounds them: topics that are created anew have new ids.
const maxNames = 10_000

func newTopicNames() *topicNames { return &topicNames{byID: map[[16]byte]string{}} }

// learn reads the ids out of a metadata response, header included but for the correlation id.
func (n *topicNames) learn(body []byte, version int16) {
	resp := kmsg.NewPtrMetadataResponse()
	resp.SetVersion(version)
	if resp.IsFlexible() {
		if len(body) == 0 || body[0] != 0 {
			return
		}
		body = body[1:]
	}
	if resp.ReadFrom(body) != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.Topic == nil || t.TopicID == [16]byte{} {
			continue
		}
		if _, known := n.byID[t.TopicID]; known {
			continue
		}
		if len(n.byID) >= maxNames {
			clear(n.byID)
		}
		n.byID[t.TopicID] = strings.Clone(*t.Topic)
	}
}

// of is the name of a topic, "" if it is not known.
func (n *topicNames) of(id [16]byte) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.byID[id]
}
