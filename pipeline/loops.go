package pipeline

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
)

// Loops says what becomes of an output into a topic that the pipeline reads itself. Its record
// comes back as an input; where each input has such an output, that goes on for ever.
type Loops uint8

const (
	// LoopsByName takes an output whose topic is one of Consumer.Topics, and warns at the first
	// one; where only Consumer.Regex matches the topic, which nobody wrote there, the pipeline
	// stops with a *LoopError.
	LoopsByName Loops = iota
	// LoopsAllowed takes them all without a word.
	LoopsAllowed
	// LoopsRefused stops the pipeline at the first one, with a *LoopError.
	LoopsRefused
)

func (l Loops) String() string {
	switch l {
	case LoopsByName:
		return "by name"
	case LoopsAllowed:
		return "allowed"
	case LoopsRefused:
		return "refused"
	}
	return fmt.Sprintf("Loops(%d)", uint8(l))
}

// LoopError stops the pipeline, in a *FatalError: an output's topic is one that the pipeline reads.
// The output was not written.
type LoopError struct {
	Topic string
	// Regex is Consumer.Regex where that matches the topic.
	Regex string
}

func (e *LoopError) Error() string {
	if e.Regex != "" {
		return fmt.Sprintf("pipeline: the output topic %q is matched by Consumer.Regex %q: outputs would come back as inputs for ever; "+
			"anchor the expression (^…$) or write elsewhere, or set Config.Loops to LoopsAllowed if that is meant", e.Topic, e.Regex)
	}
	return fmt.Sprintf("pipeline: the output topic %q is one of Consumer.Topics: outputs would come back as inputs for ever; "+
		"write elsewhere, or set Config.Loops to LoopsAllowed if that is meant", e.Topic)
}

// outputTopics looks at each topic that a handler writes to when it is first seen.
type outputTopics struct {
	loops Loops
	sink  bool // there is no producer
	regex string
	named []string
	reads func(topic string) bool // nil: nobody can tell
	log   *slog.Logger

	seen  sync.Map // topics that were let through
	known atomic.Int64
}

// maxKnownTopics bounds what is remembered of handlers that write to ever new topics.
const maxKnownTopics = 10_000

// check returns why no output may go to the topic. A lane asks when the topic is another one than
// that of its last output.
func (o *outputTopics) check(topic string) error {
	if _, ok := o.seen.Load(topic); ok {
		return nil
	}
	if o.sink {
		return &ConfigError{Config: configName, Field: "Producer",
			Remedy: fmt.Sprintf("the handler returned an output (for topic %q), and there is nothing to write it with: set Producer", topic)}
	}
	if err := o.loop(topic); err != nil {
		return err
	}
	if o.known.Load() < maxKnownTopics {
		if _, before := o.seen.LoadOrStore(topic, struct{}{}); !before {
			o.known.Add(1)
		}
	}
	return nil
}

func (o *outputTopics) loop(topic string) error {
	if o.loops == LoopsAllowed || o.reads == nil || !o.reads(topic) {
		return nil
	}
	named := slices.Contains(o.named, topic)
	if o.loops == LoopsRefused || !named {
		e := &LoopError{Topic: topic}
		if !named {
			e.Regex = o.regex
		}
		return e
	}
	o.log.Warn("an output goes to a topic that this pipeline reads: it will come back as an input; "+
		"set Config.Loops to LoopsAllowed if that is meant, or LoopsRefused to stop at it", "topic", topic)
	return nil
}
