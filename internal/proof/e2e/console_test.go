package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/pipeline"
)

// console is a reader that shares nothing with Ackmark: Kafka's own console consumer, which reads
// committed records of the output topic while the scenario goes on.
type console struct {
	s *scenario
	p *childproc.Process

	mu      sync.Mutex
	at      map[string]bool            // partitions and offsets of what was seen: it may read again
	seen    map[string]int             // outputs, by their input as topic/partition/offset
	ends    map[string]map[string]bool // by name, in which partitions it was seen
	strange []string                   // lines that are neither, and not of records without an input
	judged  int
}

const (
	// endHeader is that of the records that judge writes behind all others.
	endHeader = "end"
	noHeaders = "NO_HEADERS" // of a record that has none: what is emitted without an input
)

func (s *scenario) console() *console {
	s.Helper()
	c := &console{s: s, at: map[string]bool{}, seen: map[string]int{}, ends: map[string]map[string]bool{}}
	c.p = s.kafka.Console(s.output, filepath.Join(s.dir, "console.log"), c.hear)
	return c
}

func (c *console) hear(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fields := strings.SplitN(line, "\t", 3)
	if len(fields) < 3 {
		c.strange = append(c.strange, line)
		return
	}
	partition, headers := fields[0], fields[2]
	at := partition + fields[1]
	if c.at[at] || headers == noHeaders {
		return
	}
	c.at[at] = true
	for header := range strings.SplitSeq(headers, ",") {
		switch name, value, _ := strings.Cut(header, ":"); name {
		case pipeline.HeaderSource:
			if of := strings.SplitN(value, "/", 4); len(of) == 4 {
				c.seen[strings.Join(of[:3], "/")]++
				return
			}
		case endHeader:
			if c.ends[value] == nil {
				c.ends[value] = map[string]bool{}
			}
			c.ends[value][partition] = true
			return
		}
	}
	c.strange = append(c.strange, line)
}

// judge waits until the reader has seen all that is committed, and tells which inputs have no
// output and which have more than one. Behind everything it writes a record to each partition,
// which nobody sees as long as a transaction before it is open.
func (c *console) judge() (lost, repeated []string) {
	c.s.Helper()
	c.judged++
	end := strconv.Itoa(c.judged)
	for p := range int32(partitions) {
		c.plant(c.s.output, p, kgo.RecordHeader{Key: endHeader, Value: []byte(end)})
	}
	c.s.await("the console consumer to see all of the outputs", func() error {
		if !c.p.Running() {
			c.s.Fatalf("the console consumer ended: %s\n%s", c.p.State(), tail(c.p, 20))
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := len(c.ends[end]); n < partitions {
			return fmt.Errorf("%d outputs so far, and the end of %d partitions", len(c.seen), n)
		}
		return nil
	})
	ends, err := c.s.kafka.Admin().ListEndOffsets(c.s.Context(), c.s.input)
	if err != nil {
		c.s.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	inputs := map[string]bool{}
	for p, o := range ends[c.s.input] {
		for offset := range o.Offset {
			source := fmt.Sprintf("%s/%d/%d", c.s.input, p, offset)
			inputs[source] = true
			switch n := c.seen[source]; {
			case n == 0:
				lost = append(lost, source)
			case n > 1:
				repeated = append(repeated, source)
			}
		}
	}
	for source := range c.seen {
		if !inputs[source] {
			c.strange = append(c.strange, source)
		}
	}
	if len(c.strange) > 0 {
		c.s.Errorf("the console consumer saw %d records of no input: %q", len(c.strange), c.strange[:min(5, len(c.strange))])
	}
	c.s.Logf("the console consumer, of %d inputs: %d lost, %d repeated", len(inputs), len(lost), len(repeated))
	return lost, repeated
}

// sawOnce wants an output of each input, once. Then it sees to it that a loss and a repeat would
// have been found: nobody is there any more to handle one more input, and an output is written once
// more.
func (c *console) sawOnce() {
	c.s.Helper()
	lost, repeated := c.judge()
	if len(lost)+len(repeated) > 0 {
		c.s.Errorf("lost %q, repeated %q", lost[:min(5, len(lost))], repeated[:min(5, len(repeated))])
	}
	more := c.plant(c.s.input, 0)
	again := fmt.Sprintf("%s/0/0", c.s.input)
	c.plant(c.s.output, 1, kgo.RecordHeader{Key: pipeline.HeaderSource, Value: []byte(again + "/0/" + c.s.group)})
	nowLost, nowRepeated := c.judge()
	if !slices.Contains(nowLost, fmt.Sprintf("%s/0/%d", c.s.input, more)) || len(nowLost) != len(lost)+1 ||
		!slices.Contains(nowRepeated, again) || len(nowRepeated) != len(repeated)+1 {
		c.s.Errorf("with a loss and a repeat planted it says: lost %q, repeated %q", nowLost, nowRepeated)
	}
}

// plant writes a record of these headers and nothing else, and returns its offset.
func (c *console) plant(topic string, partition int32, headers ...kgo.RecordHeader) int64 {
	c.s.Helper()
	ctx, cancel := context.WithTimeout(c.s.Context(), time.Minute)
	defer cancel()
	r, err := c.s.plain(kgo.RecordPartitioner(kgo.ManualPartitioner())).ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: partition, Headers: headers}).First()
	if err != nil {
		c.s.Fatal(err)
	}
	return r.Offset
}
