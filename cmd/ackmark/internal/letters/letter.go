// Package letters knows dead letters: what their headers say, which are chosen, where a position in
// their topic stands, what a letter that goes back looks like, and how any of it is shown. It asks
// nobody: no clock, no I/O.
package letters

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/pipeline"
)

// HeaderRedriven is on a record that was a letter: how often it was given back, 1, 2 …
const HeaderRedriven = "ackmark.dlq.redriven"

// maxRounds bounds what a header may count.
const maxRounds = 1 << 53

// Letter is a record of a dead-letter topic, and what it says about itself. Nothing of that is
// certain: whoever may write to the topic may write any header.
type Letter struct {
	Partition int32
	Offset    int64
	Written   time.Time // the record's timestamp
	Key       []byte
	Value     []byte // nil: the input was a tombstone
	Headers   []kgo.RecordHeader

	// Source is the input's topic; empty: the letter does not say, it is another program's.
	Source          string
	SourcePartition int32 // -1: not said
	SourceOffset    int64 // -1: not said
	Group           string
	Error           string
	Code            string
	Attempts        string
	Rejected        time.Time // Written, where it is not said
	// Rounds is how often it was given back already.
	Rounds int64
}

// Of reads a letter. Of several headers of a name the last counts: those before came with the
// input.
func Of(rec *kgo.Record) Letter {
	l := Letter{
		Partition: rec.Partition, Offset: rec.Offset, Written: rec.Timestamp, Key: rec.Key, Value: rec.Value, Headers: rec.Headers,
		SourcePartition: -1, SourceOffset: -1, Rejected: rec.Timestamp,
	}
	rejections, redriven := int64(0), int64(0)
	var bare []byte
	for _, h := range rec.Headers {
		switch h.Key {
		case pipeline.HeaderTopic:
			l.Source = string(h.Value)
		case pipeline.HeaderPartition:
			l.SourcePartition = int32(number(h.Value, 1<<31-1))
		case pipeline.HeaderOffset:
			l.SourceOffset = number(h.Value, 1<<63-1)
		case pipeline.HeaderGroup:
			l.Group = string(h.Value)
		case pipeline.HeaderError:
			l.Error = string(h.Value)
		case pipeline.HeaderCode:
			l.Code = string(h.Value)
		case pipeline.HeaderAttempts:
			l.Attempts = string(h.Value)
		case pipeline.HeaderTime:
			if at, err := time.Parse(time.RFC3339, string(h.Value)); err == nil {
				l.Rejected = at
			}
		case pipeline.HeaderCount:
			rejections = number(h.Value, maxRounds)
		case HeaderRedriven:
			redriven = number(h.Value, maxRounds)
		case pipeline.HeaderSource:
			bare = h.Value
		}
	}
	if l.Source == "" {
		l.fromSource(bare)
	}
	if l.Source == "" {
		l.fromSpring()
	}
	l.Rounds = max(rejections-1, redriven, 0)
	return l
}

// fromSource reads the one header that the smallest letters have.
func (l *Letter) fromSource(text []byte) {
	fields := bytes.SplitN(text, []byte("/"), 5)
	if len(fields) < 4 || string(fields[3]) != pipeline.SourceDeadLetter {
		return
	}
	l.Source = string(fields[0])
	l.SourcePartition = int32(number(fields[1], 1<<31-1))
	l.SourceOffset = number(fields[2], 1<<63-1)
}

// fromSpring reads what other programs write by the names of Spring's, if it says where it came
// from.
func (l *Letter) fromSpring() {
	if !slices.ContainsFunc(l.Headers, func(h kgo.RecordHeader) bool { return h.Key == pipeline.HeaderSpringTopic }) {
		return
	}
	for _, h := range l.Headers {
		switch h.Key {
		case pipeline.HeaderSpringTopic:
			l.Source = string(h.Value)
		case pipeline.HeaderSpringPartition:
			if len(h.Value) == 4 {
				l.SourcePartition = max(int32(binary.BigEndian.Uint32(h.Value)), -1)
			}
		case pipeline.HeaderSpringOffset:
			if len(h.Value) == 8 {
				l.SourceOffset = max(int64(binary.BigEndian.Uint64(h.Value)), -1)
			}
		case pipeline.HeaderSpringGroup:
			l.Group = string(h.Value)
		case pipeline.HeaderSpringMessage:
			l.Error = string(h.Value)
		case pipeline.HeaderSpringClass:
			l.Code = string(h.Value)
		}
	}
}

// number is -1 for what is none.
func number(text []byte, most int64) int64 {
	if len(text) > 20 {
		return -1
	}
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 || n > most {
		return -1
	}
	return n
}

// Size is about what it takes in a batch.
func (l *Letter) Size() int {
	n := 64 + len(l.Key) + len(l.Value)
	for _, h := range l.Headers {
		n += len(h.Key) + len(h.Value) + 4
	}
	return n
}

// Back is the record that goes back: key, value and headers byte for byte, but for the count of its
// rounds and the one source header, which names the letter it was made from. Without that, an audit
// of those who wrote the input would take it for a repeat of theirs.
func (l *Letter) Back(to string, source []byte) *kgo.Record {
	headers := make([]kgo.RecordHeader, 0, len(l.Headers)+2)
	for _, h := range l.Headers {
		switch h.Key {
		case pipeline.HeaderSource, pipeline.HeaderIncident, HeaderRedriven:
		default:
			headers = append(headers, h)
		}
	}
	headers = append(headers,
		kgo.RecordHeader{Key: HeaderRedriven, Value: strconv.AppendInt(nil, l.Rounds+1, 10)},
		kgo.RecordHeader{Key: pipeline.HeaderSource, Value: source})
	return &kgo.Record{Topic: to, Key: l.Key, Value: l.Value, Headers: headers}
}
