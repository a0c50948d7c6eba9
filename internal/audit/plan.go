package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/donemeta"
)

// input is one input partition.
type input struct {
	topic     string
	id        kadm.TopicID
	partition int32
	// low and high bound the sources that are looked at: by From and Until, else everything.
	low, high int64
	// start and end bound the inputs that are read: what is there, within low and high.
	start, end int64
	// committed is -1 when the group has none.
	committed int64
	done      []donemeta.Run
	// beyondEnd says that the commit cannot be of this log: it is beyond its end.
	beyondEnd bool
	report    *PartitionReport
}

// output is one output partition.
type output struct {
	topic      string
	id         kadm.TopicID
	partition  int32
	start, end int64
	report     *OutputReport
	cut        cut
}

// cut says which records of an output partition are gone.
type cut struct {
	truncated bool   // those before the first one that is left
	first     *stamp // that one, nil: none was read
	holes     int64  // some between others: compaction took them
}

// stamp is the time that a record carries, in ms.
type stamp struct {
	ms       int64
	byBroker bool // the topic's message.timestamp.type was LogAppendTime
}

// plan is what was decided before the first record is read.
type plan struct {
	inputs    []*input
	outputs   []*output
	byTopic   map[string][]int32 // input topic → partition → index into inputs, -1: not there
	unhandled bool               // inputs were deleted before the group had committed them
	warnings  []string
}

func (p *plan) warn(format string, args ...any) {
	p.warnings = append(p.warnings, fmt.Sprintf(format, args...))
}

// makePlan asks for the committed offsets, then the ends of the inputs, then those of the outputs:
// see the package comment for why in this order.
func makePlan(ctx context.Context, o *Options, report *Report) (*plan, error) {
	admin := kadm.NewClient(o.Client)
	commits, err := admin.FetchOffsets(ctx, o.Group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		commits, err = nil, nil // a group that has nothing
	}
	if err != nil {
		return nil, fmt.Errorf("read the committed offsets of group %s: %w; check --brokers and the permission to describe the group", o.Group, err)
	}
	if len(commits) == 0 {
		return nil, &OptionError{Option: "--group", Problem: fmt.Sprintf("is %q, which has no committed offsets, so nothing is known to be done; check its name", o.Group)}
	}
	if len(o.Inputs) == 0 {
		o.Inputs = slices.Sorted(maps.Keys(commits))
	}
	for _, topic := range o.Outputs {
		if slices.Contains(o.Inputs, topic) {
			return nil, &OptionError{Option: "--output", Problem: fmt.Sprintf("has %q, which group %s reads; name the topics it writes, and choose its inputs with --input", topic, o.Group)}
		}
	}
	topics, err := describe(ctx, admin, o)
	if err != nil {
		return nil, err
	}
	p := &plan{byTopic: map[string][]int32{}}
	if err := p.addInputs(ctx, admin, o, topics, commits, report); err != nil {
		return nil, err
	}
	return p, p.addOutputs(ctx, admin, o, topics, report)
}

// describe finds all topics, or says which does not exist.
func describe(ctx context.Context, admin *kadm.Client, o *Options) (kadm.TopicDetails, error) {
	topics, err := admin.ListTopics(ctx, slices.Concat(o.Inputs, o.Outputs)...)
	if err != nil {
		return nil, fmt.Errorf("describe the topics: %w", err)
	}
	check := func(option string, names []string) error {
		for _, name := range names {
			d, ok := topics[name]
			switch {
			case !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition):
				bad := &OptionError{Option: option, Topic: name, Problem: fmt.Sprintf("has %q: there is no such topic", name)}
				if all, err := admin.ListTopics(ctx); err == nil {
					bad.Known = all.Names()
				}
				return bad
			case d.Err != nil:
				return fmt.Errorf("describe topic %s: %w", name, d.Err)
			}
		}
		return nil
	}
	return topics, errors.Join(check("--input", o.Inputs), check("--output", o.Outputs))
}

func (p *plan) addInputs(ctx context.Context, admin *kadm.Client, o *Options, topics kadm.TopicDetails, commits kadm.OffsetResponses, report *Report) error {
	spans, err := listSpans(ctx, admin, o, o.Inputs, o.From, o.Until)
	if err != nil {
		return err
	}
	for _, topic := range o.Inputs {
		details := topics[topic]
		group := &TopicReport{Topic: topic, TopicID: details.ID.String()}
		report.Inputs = append(report.Inputs, group)
		index := make([]int32, len(details.Partitions))
		anyCommit := false
		for i := range index {
			index[i] = int32(len(p.inputs))
			in := &input{topic: topic, id: details.ID, partition: int32(i), committed: -1, high: math.MaxInt64, report: &PartitionReport{Partition: int32(i)}}
			group.Partitions = append(group.Partitions, in.report)
			s := spans[topic][int32(i)]
			in.start, in.end = max(s.start, s.from), min(s.end, s.until)
			if !o.From.IsZero() {
				in.low = s.from
			}
			if !o.Until.IsZero() {
				in.high = s.until
			}
			if commit, ok := commits.Lookup(topic, in.partition); ok {
				if commit.Err != nil {
					return fmt.Errorf("committed offset of %s/%d: %w", topic, i, commit.Err)
				}
				p.committed(in, commit, s)
			}
			if in.committed >= 0 && s.start > in.committed && s.from == s.start {
				p.unhandled = true
				p.warn("%s/%d is committed at %d, but its first record is %d: what was between was deleted before it was done, so it is not CLEAN", topic, i, in.committed, s.start)
			}
			anyCommit = anyCommit || in.committed >= 0
			p.inputs = append(p.inputs, in)
		}
		p.byTopic[topic] = index
		if !anyCommit {
			return &OptionError{Option: "--input", Problem: fmt.Sprintf("has %q, for which group %s has no committed offset, so nothing is known to be done; check --group and --input", topic, o.Group)}
		}
	}
	return nil
}

// committed takes a partition's commit apart.
func (p *plan) committed(in *input, commit kadm.OffsetResponse, s span) {
	if commit.At < 0 {
		return
	}
	in.committed = commit.At
	in.report.Committed = &in.committed
	if commit.At > s.end {
		in.beyondEnd = true
		p.warn("%s/%d is committed at %d, beyond its end %d: the topic was recreated or truncated, or transactions are open, so an input that misses an output is undecided", in.topic, in.partition, commit.At, s.end)
	}
	binding := donemeta.Binding{TopicID: in.id, Base: commit.At, LeaderEpoch: commit.LeaderEpoch}
	runs, err := donemeta.Parse(commit.Metadata, binding, nil)
	if err != nil && donemeta.Ours(commit.Metadata) {
		p.warn("%s/%d: its done-set does not belong to its commit (%v): inputs above the committed offset count as in flight", in.topic, in.partition, err)
	}
	in.done = runs
	for _, r := range runs {
		in.report.DoneSet += r.Last - r.First + 1
	}
}

func (p *plan) addOutputs(ctx context.Context, admin *kadm.Client, o *Options, topics kadm.TopicDetails, report *Report) error {
	// Where in the outputs a time begins is known only if they carry true ones.
	var from time.Time
	if o.TrustClocks && !o.From.IsZero() {
		from = o.From.Add(-ClockSkew)
	}
	spans, err := listSpans(ctx, admin, o, o.Outputs, from, time.Time{})
	if err != nil {
		return err
	}
	for _, topic := range o.Outputs {
		group := &OutputReport{Topic: topic}
		report.Outputs = append(report.Outputs, group)
		for i := range topics[topic].Partitions {
			s := spans[topic][i]
			out := &output{topic: topic, id: topics[topic].ID, partition: i, start: max(s.start, s.from), end: s.end, report: group}
			out.cut.truncated = s.start > 0 && out.start == s.start
			p.outputs = append(p.outputs, out)
		}
	}
	slices.SortFunc(p.outputs, func(a, b *output) int { return compareOutputs(a, b) })
	return nil
}
