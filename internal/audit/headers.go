package audit

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Headers that say which input an output was made from: pipeline.Config.SourceHeaders writes them. Of several with one name the last counts: the others came with the
// input, from a pipeline before this one.
const (
	HeaderTopicID   = "ackmark-topic-id"  // 16 bytes; may be missing
	HeaderTopic     = "ackmark-topic"     // text
	HeaderPartition = "ackmark-partition" // decimal
	HeaderOffset    = "ackmark-offset"    // decimal
	HeaderOutput    = "ackmark-output"    // decimal, or DeadLetter
	HeaderIncident  = "ackmark-incident"  // optional: what an output was sent again for
	DeadLetter      = "dl"
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
	parsedNone      parsed = iota // no source headers at all
	parsedMalformed               // some are missing, or not what they should be
	parsedOK
)

func parseSource(headers []kgo.RecordHeader) (s source, how parsed) {
	var partition, offset, output []byte
	for i := range headers {
		value := headers[i].Value
		switch headers[i].Key {
		case HeaderTopicID:
			s.topicID = value
		case HeaderTopic:
			s.topic = string(value)
		case HeaderPartition:
			partition = value
		case HeaderOffset:
			offset = value
		case HeaderOutput:
			output = value
		case HeaderIncident:
			s.incident = string(value)
		}
	}
	if s.topic == "" && s.topicID == nil && partition == nil && offset == nil && output == nil {
		return s, parsedNone
	}
	p, okP := decimal(partition, 32)
	o, okO := decimal(offset, 64)
	n, okN := decimal(output, 32)
	if string(output) == DeadLetter {
		n, okN = deadLetterOutput, true
	}
	if !okP || !okO || !okN || s.topic == "" || len(s.topicID) != 0 && len(s.topicID) != 16 {
		return s, parsedMalformed
	}
	s.partition, s.offset, s.output = int32(p), o, int32(n)
	return s, parsedOK
}

// decimal takes what strconv.AppendInt writes for numbers that are not negative.
func decimal(text []byte, bits int) (int64, bool) {
	if len(text) == 0 || text[0] < '0' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(text), 10, bits)
	return n, err == nil
}
