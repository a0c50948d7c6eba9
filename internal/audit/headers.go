package audit

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// HeaderSource says which input an output was made from, as topic/partition/offset/output or topic/partition/offset/output/topic-id: pipeline.Config.SourceHeaders
	// writes it. Of several the last counts: the others came with the input, from a pipeline before this one.
	HeaderSource = "ackmark-source"
	// HeaderIncident is optional: what an output was sent again for.
	HeaderIncident = "ackmark-incident"
	// DeadLetter is the number of an output that is its input's dead letter.
	DeadLetter = "dl"
)

// Numbers of outputs that are none.
const (
	inputItself      = -2
	deadLetterOutput = -1
)

// source is what an output's headers say.
type source struct {
	topicID   []byte // empty: not said
	topic     string
	partition int32
	offset    int64
	output    int32
	incident  string
}

type parsed uint8

const (
	parsedNone      parsed = iota // no source header
	parsedMalformed               // it is not what it should be
	parsedOK
)

func parseSource(headers []kgo.RecordHeader) (s source, how parsed) {
	var text []byte
	for i := range headers {
		switch headers[i].Key {
		case HeaderSource:
			text, how = headers[i].Value, parsedMalformed
		case HeaderIncident:
			s.incident = string(headers[i].Value)
		}
	}
	if how == parsedNone {
		return s, how
	}
	topic, rest, _ := strings.Cut(string(text), "/")
	partition, rest, _ := strings.Cut(rest, "/")
	offset, rest, _ := strings.Cut(rest, "/")
	output, id, identified := strings.Cut(rest, "/")
	p, okP := decimal(partition, 32)
	o, okO := decimal(offset, 64)
	n, okN := decimal(output, 32)
	if output == DeadLetter {
		n, okN = deadLetterOutput, true
	}
	if identified {
		var err error
		if s.topicID, err = base64.RawURLEncoding.DecodeString(id); err != nil || len(s.topicID) != 16 {
			return s, parsedMalformed
		}
	}
	if !okP || !okO || !okN || topic == "" {
		return s, parsedMalformed
	}
	s.topic, s.partition, s.offset, s.output = topic, int32(p), o, int32(n)
	return s, parsedOK
}

// decimal takes what strconv.AppendInt writes for numbers that are not negative.
func decimal(text string, bits int) (int64, bool) {
	if len(text) == 0 || text[0] < '0' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, bits)
	return n, err == nil
}
