package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/topicread"
)

// Run audits. An error means that there is no answer: an *OptionError, or why something could not
// be read.
func Run(ctx context.Context, o Options) (*Report, error) {
	began := time.Now()
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	report := &Report{Group: o.Group, AlsoGroups: o.AlsoGroups, Expect: o.Expect.String(), Order: o.Order, First: map[Kind][]Finding{}, Notes: []string{}, Bursts: []Burst{}}
	p, err := makePlan(ctx, &o, report)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.TempDir, "ackmark-audit-")
	if err != nil {
		return nil, &OptionError{Option: "--temp-dir", Problem: "cannot be written: " + err.Error()}
	}
	defer os.RemoveAll(dir)
	a := &audit{opts: o, plan: p, report: report}
	if err := a.run(ctx, dir); err != nil {
		if pathErr, ok := errors.AsType[*os.PathError](err); ok {
			return nil, fmt.Errorf("%w; sorted files need about 6 bytes of disk for an input and 35 for an output: choose a larger disk with --temp-dir", pathErr)
		}
		return nil, err
	}
	report.Took = time.Since(began).Seconds()
	return report, nil
}

// audit is one Run.
type audit struct {
	opts     Options
	plan     *plan
	report   *Report
	sources  *sorter
	attached atomic.Int64 // outputs that belong to an input
	entries  atomic.Int64

	causes incidents
}

func (a *audit) run(ctx context.Context, dir string) (err error) {
	// While the sources are merged, the other two are filled: a half and two quarters.
	if a.sources, err = newSorter(dir, "sources", a.opts.Memory/2, bySource); err != nil {
		return err
	}
	j := &judge{audit: a}
	if j.order, err = newSorter(dir, "order", a.opts.Memory/4, byKey); err != nil {
		return err
	}
	if j.repeats, err = newSorter(dir, "repeats", a.opts.Memory/4, byTime); err != nil {
		return err
	}
	if err := a.read(ctx); err != nil {
		return err
	}
	if a.opts.ExactlyOnce {
		if err := a.readAborted(ctx); err != nil {
			return err
		}
	}
	a.opts.Progress.Entries.Store(a.entries.Load())
	return j.judge(ctx)
}

// read reads all topics to the ends that the plan has.
func (a *audit) read(ctx context.Context) error {
	r := &topicread.Reader{Client: a.opts.Client, ReadUncommitted: a.opts.ReadUncommitted, Progress: &a.opts.Progress.Progress}
	var tasks []*topicread.Task
	add := func(topic string, id kadm.TopicID, partition int32, start, end int64, take func([]*kgo.Record) error, skipped func()) {
		tasks = append(tasks, &topicread.Task{Topic: topic, ID: id, Partition: partition, Next: start, End: end, Take: take, Skipped: skipped})
		a.opts.Progress.Offsets.Add(max(end-start, 0))
	}
	for i, in := range a.plan.inputs {
		add(in.topic, in.id, in.partition, in.start, in.end, func(records []*kgo.Record) error { return a.takeInputs(int32(i), records) }, func() {
			r.Note("%s/%d: inputs were deleted while they were read", in.topic, in.partition)
		})
	}
	for i, out := range a.plan.outputs {
		add(out.topic, out.id, out.partition, out.start, out.end, func(records []*kgo.Record) error { return a.takeOutputs(int32(i), out, records) }, func() {
			out.cut.truncated, out.cut.first = true, nil
			r.Note("%s/%d: outputs were deleted while they were read", out.topic, out.partition)
		})
	}
	err := r.Run(ctx, tasks)
	for i, t := range tasks[len(a.plan.inputs):] {
		a.plan.outputs[i].cut.holes = t.Holes()
	}
	a.plan.warnings = append(a.plan.warnings, r.Notes()...)
	return err
}

// stampOf says when a record was, and whether the broker says so: else it is what its producer
// wrote, which may be anything.
func stampOf(rec *kgo.Record) stamp {
	return stamp{ms: rec.Timestamp.UnixMilli(), byBroker: rec.Attrs.TimestampType() == 1}
}

func (a *audit) takeInputs(part int32, records []*kgo.Record) error {
	batch := make([]entry, 0, len(records))
	for _, rec := range records {
		at := stampOf(rec)
		batch = append(batch, entry{part: part, offset: rec.Offset, output: inputItself, time: at.ms, stamped: at.byBroker})
	}
	a.entries.Add(int64(len(batch)))
	return a.sources.add(batch...)
}

// takeOutputs is called by one goroutine at a time for each partition; partitions of one topic
// share a report.
func (a *audit) takeOutputs(outPart int32, out *output, records []*kgo.Record) error {
	if out.cut.first == nil {
		first := stampOf(records[0])
		out.cut.first = &first
	}
	var unknown Unknown
	nameless, also := int64(0), int64(0)
	batch := make([]entry, 0, len(records))
	for _, rec := range records {
		s, how := parseSource(rec.Headers)
		part := int32(-1)
		switch how {
		case parsedNone:
			unknown.NoHeaders++
		case parsedMalformed:
			unknown.Malformed++
		case parsedOK:
			part = a.inputOf(&s, &unknown)
		}
		if part < 0 {
			continue
		}
		switch s.group {
		case "":
			nameless++
		case a.opts.Group:
		default:
			also++
		}
		e := entry{part: part, offset: s.offset, output: s.output, count: s.count, outPart: outPart, at: rec.Offset, time: rec.Timestamp.UnixMilli()}
		if a.opts.Order == OrderKey {
			e.key = keyOf(rec.Key)
		}
		if s.incident != "" {
			e.cause = a.causes.number(s.incident)
		}
		batch = append(batch, e)
	}
	a.causes.mu.Lock() // any lock would do
	out.report.Records += int64(len(records))
	out.report.Unknown.add(unknown)
	out.report.Nameless += nameless
	out.report.Also += also
	a.causes.mu.Unlock()
	a.attached.Add(int64(len(batch)))
	a.entries.Add(int64(len(batch)))
	return a.sources.add(batch...)
}

// inputOf is the input that an output of this group was made from, or of one that it took over
// from.
func (a *audit) inputOf(s *source, unknown *Unknown) int32 {
	if s.group != "" && s.group != a.opts.Group && !slices.Contains(a.opts.AlsoGroups, s.group) {
		unknown.OtherGroup++
		return -1
	}
	return a.plan.inputOf(s, unknown)
}

// inputOf finds the input partition that an output was made from, or counts why there is none: -1.
func (p *plan) inputOf(s *source, unknown *Unknown) int32 {
	index, ok := p.byTopic[s.topic]
	if !ok {
		unknown.OtherTopic++
		return -1
	}
	var none kadm.TopicID
	if id := p.topicID(index); len(s.topicID) == 16 && id != none && kadm.TopicID(s.topicID) != id {
		unknown.OtherTopicID++
		return -1
	}
	if int(s.partition) >= len(index) {
		unknown.Malformed++ // partitions are never removed
		return -1
	}
	part := index[s.partition]
	if in := p.inputs[part]; s.offset < in.low || s.offset >= in.high {
		unknown.Outside++
		return -1
	}
	return part
}

func (p *plan) topicID(index []int32) (id kadm.TopicID) {
	if len(index) > 0 {
		id = p.inputs[index[0]].id
	}
	return id
}

// incidents numbers the texts of incident headers. What comes after the first maxIncidents shares
// one number.
type incidents struct {
	mu     sync.Mutex
	texts  []string
	byText map[string]int32
}

const (
	maxIncidents     = 1000
	maxIncidentBytes = 256
	otherIncidents   = "(others)"
)

func (c *incidents) number(text string) int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(text) > maxIncidentBytes {
		text = text[:maxIncidentBytes]
	}
	if n, ok := c.byText[text]; ok {
		return n
	}
	if len(c.texts) >= maxIncidents {
		text = otherIncidents
		if n, ok := c.byText[text]; ok {
			return n
		}
	}
	if c.byText == nil {
		c.byText = map[string]int32{}
	}
	c.texts = append(c.texts, text)
	c.byText[text] = int32(len(c.texts))
	return int32(len(c.texts))
}

func (c *incidents) text(n int32) string {
	if n == 0 {
		return ""
	}
	return c.texts[n-1]
}
