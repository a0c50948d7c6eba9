package pipeline

import (
	"encoding/base64"
	"strconv"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// HeaderSource is the header that [Config.SourceHeaders] adds to every output and dead letter,
// behind its own: which input it was made from. `ackmark audit` reads it. Its value is text,
//
//	topic/partition/offset/output/outputs/topic-id/group
//
// where output is which of the input's outputs it is, 0, 1, 2 …, or [SourceDeadLetter] for a dead
// letter, and outputs is how many there are (1 for a dead letter), so that a missing one is
// noticed. The topic id is as Kafka writes it (base64url, 22 characters), and empty with brokers
// too old to have one. The group is the consumer group that made it, all that is left of the text,
// slashes too: several groups may write into one topic.
//
// The first version of this header was topic/partition/offset/output, with or without /topic-id;
// what is behind its fourth slash is nothing or 22 characters, where the second version has a
// number of at most ten. `ackmark audit` reads both, and says what the first one cannot prove.
//
// Where an input had the header already (a pipeline behind a pipeline), the last one is the newest.
//
// HeaderIncident is added beside it where this process knows why an output may repeat: it had the
// input before, in an assignment that was lost. Its value is why that was lost; the audit groups
// repeats by it.
const (
	HeaderSource     = "ackmark-source"
	HeaderIncident   = "ackmark-incident"
	SourceDeadLetter = "dl"

	maxIncident = 120 // bytes of a reason
)

// sourceText is what the headers of one assignment's outputs have in common: the text before the
// offset, and that behind the output's number.
type sourceText struct {
	begin, end string
	incident   []byte // of inputs below again; nil: none
	again      int64
}

func sourceOf(a *consumer.Assignment, group string) (s sourceText) {
	s.begin = a.Topic + "/" + strconv.Itoa(int(a.Partition)) + "/"
	id := ""
	if a.TopicID != ([16]byte{}) {
		id = base64.RawURLEncoding.EncodeToString(a.TopicID[:])
	}
	s.end = "/" + id + "/" + group
	if a.Again != "" {
		s.incident, s.again = []byte(text(a.Again, maxIncident)), a.AgainUntil
	}
	return s
}

// stamper writes source headers. Its memory is only ever appended to, so that outputs may refer to
// it for as long as they like, also when it is used for others meanwhile: two allocations for many
// outputs.
type stamper struct {
	headers []producer.Header
	text    []byte
}

const (
	headerChunk = 256
	textChunk   = 8 << 10
	maxDecimal  = 20 // characters of an int64
)

// stamp puts the source header on an input's outputs.
func (st *stamper) stamp(s sourceText, offset int64, outputs []producer.Record, letter bool) {
	for i := range outputs {
		own := outputs[i].Headers
		if n := len(own) + 2; cap(st.headers)-len(st.headers) < n {
			st.headers = make([]producer.Header, 0, max(headerChunk, n))
		}
		begin := len(st.headers)
		st.headers = append(st.headers, own...)
		st.headers = append(st.headers, producer.Header{Key: HeaderSource, Value: st.value(s, offset, i, len(outputs), letter)})
		if s.incident != nil && offset < s.again {
			st.headers = append(st.headers, producer.Header{Key: HeaderIncident, Value: s.incident})
		}
		outputs[i].Headers = st.headers[begin:len(st.headers):len(st.headers)]
	}
}

func (st *stamper) value(s sourceText, offset int64, output, count int, letter bool) []byte {
	if n := len(s.begin) + len(s.end) + 3*maxDecimal + 2; cap(st.text)-len(st.text) < n {
		st.text = make([]byte, 0, max(textChunk, n))
	}
	begin, text := len(st.text), st.text
	text = append(text, s.begin...)
	text = strconv.AppendInt(text, offset, 10)
	text = append(text, '/')
	if letter {
		text = append(text, SourceDeadLetter...)
	} else {
		text = strconv.AppendInt(text, int64(output), 10)
	}
	text = append(text, '/')
	text = strconv.AppendInt(text, int64(count), 10)
	text = append(text, s.end...)
	st.text = text
	return text[begin:len(text):len(text)]
}
