package pipeline

import (
	"strconv"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/producer"
)

// Headers that [Config.SourceHeaders] adds to every output and dead letter, behind its own: which input it was made from. `ackmark audit` reads them. Where
// an input had them already (a pipeline behind a pipeline), the last one of a name is the newest.
const (
	HeaderSourceTopicID   = "ackmark-topic-id"  // Kafka's topic id, 16 bytes; not there when the brokers are too old to have one
	HeaderSourceTopic     = "ackmark-topic"     // text
	HeaderSourcePartition = "ackmark-partition" // decimal
	HeaderSourceOffset    = "ackmark-offset"    // decimal
	HeaderSourceOutput    = "ackmark-output"    // decimal: which of the input's outputs it is, 0, 1, 2 …; SourceDeadLetter for a dead letter
	SourceDeadLetter      = "dl"
)

// sourceHeaders are those that all outputs of one stay share. Their values are shared, too: nobody writes to them.
func sourceHeaders(a *consumer.Assignment) []producer.Header {
	var list []producer.Header
	if a.TopicID != ([16]byte{}) {
		list = append(list, producer.Header{Key: HeaderSourceTopicID, Value: a.TopicID[:]})
	}
	return append(list,
		producer.Header{Key: HeaderSourceTopic, Value: []byte(a.Topic)},
		producer.Header{Key: HeaderSourcePartition, Value: strconv.AppendInt(nil, int64(a.Partition), 10)})
}

const (
	maxOffsetText = 20 // characters of an int64
	offsetChunk   = 1 << 10
)

// offsetText writes an offset behind those written before: outputs may refer to them for as long as they like.
func (f *flight) offsetText(offset int64) []byte {
	if cap(f.text)-len(f.text) < maxOffsetText {
		f.text = make([]byte, 0, offsetChunk)
	}
	begin := len(f.text)
	f.text = strconv.AppendInt(f.text, offset, 10)
	return f.text[begin:len(f.text):len(f.text)]
}

// stamp puts the source headers on an input's outputs. It costs one slice of headers for each input.
func stamp(shared []producer.Header, offset []byte, outputs []producer.Record, dead bool) {
	n := 0
	for i := range outputs {
		n += len(outputs[i].Headers) + len(shared) + 2
	}
	all := make([]producer.Header, 0, n)
	for i := range outputs {
		begin := len(all)
		all = append(all, outputs[i].Headers...)
		all = append(all, shared...)
		all = append(all, producer.Header{Key: HeaderSourceOffset, Value: offset}, producer.Header{Key: HeaderSourceOutput, Value: outputNumber(i, dead)})
		outputs[i].Headers = all[begin:len(all):len(all)]
	}
}

// numbers are the texts of the first outputs: few inputs have more.
var numbers = func() (all [16][]byte) {
	for i := range all {
		all[i] = strconv.AppendInt(nil, int64(i), 10)
	}
	return all
}()

var deadLetterNumber = []byte(SourceDeadLetter)

func outputNumber(i int, dead bool) []byte {
	switch {
	case dead:
		return deadLetterNumber
	case i < len(numbers):
		return numbers[i]
	}
	return strconv.AppendInt(nil, int64(i), 10)
}
