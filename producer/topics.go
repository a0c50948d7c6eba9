package producer

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// topicTable numbers topic names. The numbers stay for the client's life, so encoded units can go
// to another stream; each stream is told the names again.
type topicTable struct {
	names []string
	byID  map[string]uint32
	last  string // of the record before: most neighbours go to the same topic
	lastI uint32
}

// maxTopics is the protocol's limit of topic names per stream.
const maxTopics = 1 << 16

// maxTopicName is Kafka's limit. A longer name must not reach the sidecar: it could be larger than
// a message.
const maxTopicName = 249

func (t *topicTable) index(name string) (uint32, *Error) {
	if name == t.last && len(t.names) > 0 {
		return t.lastI, nil
	}
	i, ok := t.byID[name]
	if !ok {
		if len(name) > maxTopicName {
			return 0, &Error{Code: kerr.InvalidTopicException.Message, Partition: -1,
				Message: fmt.Sprintf("the topic's name %.40q… has %d characters, Kafka takes %d: correct Record.Topic", name, len(name), maxTopicName)}
		}
		if len(t.names) == maxTopics {
			return 0, &Error{Code: CodeInvalidRecord, Topic: name, Partition: -1,
				Message: fmt.Sprintf("this producer has written to %d topics, more names do not fit: use a second producer", maxTopics)}
		}
		if t.byID == nil {
			t.byID = map[string]uint32{}
		}
		name = string(append([]byte(nil), name...)) // the table must not keep a larger string of the user's alive
		i = uint32(len(t.names))
		t.names = append(t.names, name)
		t.byID[name] = i
	}
	t.last, t.lastI = name, i
	return i, nil
}
