package audit

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// HeaderSource says which input an output was made from, as
	// topic/partition/offset/output/outputs/topic-id/group: pipeline.Config.SourceHeaders writes
	// it. Its first version was topic/partition/offset/output, with or without /topic-id. Of
	// several headers the last counts: the others came with the input, from a pipeline before this
	// one.
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
	count     int32  // how many outputs the input has; 0: not said
	group     string // that made it; empty: not said
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
	if !s.parse(string(text)) {
		return source{incident: s.incident}, parsedMalformed
	}
	return s, parsedOK
}

// Fields of the two versions. What is behind the fields of the second is the group, which may have
// slashes of its own.
const (
	fieldsPlain   = 4
	fieldsWithID  = 5
	fieldsVersion = 7
)

// parse takes the text of either version apart; false: it is of neither.
func (s *source) parse(text string) bool {
	fields := strings.SplitN(text, "/", fieldsVersion)
	id, ok := "", true
	switch len(fields) {
	case fieldsPlain:
	case fieldsWithID:
		id = fields[4]
		ok = id != ""
	case fieldsVersion:
		var count int64
		count, ok = decimal(fields[4], 32)
		s.count, id, s.group = int32(count), fields[5], fields[6]
		ok = ok && count > 0 && s.group != ""
	default:
		return false
	}
	if id != "" {
		var err error
		if s.topicID, err = base64.RawURLEncoding.DecodeString(id); err != nil || len(s.topicID) != 16 {
			return false
		}
	}
	p, okP := decimal(fields[1], 32)
	o, okO := decimal(fields[2], 64)
	n, okN := decimal(fields[3], 32)
	if fields[3] == DeadLetter {
		n, okN = deadLetterOutput, true
	}
	s.topic, s.partition, s.offset, s.output = fields[0], int32(p), o, int32(n)
	return ok && okP && okO && okN && s.topic != "" && (s.count == 0 || s.output < s.count)
}

// decimal takes what strconv.AppendInt writes for numbers that are not negative.
func decimal(text string, bits int) (int64, bool) {
	if len(text) == 0 || text[0] < '0' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, bits)
	return n, err == nil
}
