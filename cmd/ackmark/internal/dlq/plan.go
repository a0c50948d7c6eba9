package dlq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
	"github.com/ackmark/ackmark/internal/topicread"
)

// Plan is what would be done: nothing was written yet.
type Plan struct {
	Chosen  int64                    `json:"chosen"`
	Bytes   int64                    `json:"bytes"`
	Nulls   int64                    `json:"tombstones"` // chosen letters with a null value
	Largest int                      `json:"largest"`
	Targets map[string]int64         `json:"targets,omitempty"`
	Waiting map[letters.Reason]int64 `json:"waiting"`
	Done    int64                    `json:"done"` // above the mark, earlier
	Ends    []int64                  `json:"ends"` // nothing at or above is looked at

	partitions map[string]int // of the targets
}

// maxTargets bounds how many topics letters may name.
const maxTargets = 1000

// MakePlan reads what waits, and decides. Targets that do not exist are an error.
func MakePlan(ctx context.Context, t *Topic, rule *letters.Rule, progress *topicread.Progress) (*Plan, error) {
	p := &Plan{Targets: map[string]int64{}, Waiting: map[letters.Reason]int64{}, Ends: t.Ends(), partitions: map[string]int{}}
	err := t.Each(ctx, false, progress, func(l *letters.Letter, done bool) {
		if done {
			p.Done++
			return
		}
		to, stays := rule.Decide(l)
		if stays != "" {
			p.Waiting[stays]++
			return
		}
		p.Chosen++
		p.Bytes += int64(l.Size())
		p.Largest = max(p.Largest, l.Size())
		if l.Value == nil {
			p.Nulls++
		}
		if _, known := p.Targets[to]; to != "" && (known || len(p.Targets) <= maxTargets) {
			p.Targets[to]++
		}
	})
	if err != nil {
		return nil, err
	}
	if len(p.Targets) > maxTargets {
		return nil, fmt.Errorf("the letters name more than %d topics; choose some with --source, or one topic with --to", maxTargets)
	}
	return p, p.checkTargets(ctx, t, rule)
}

func (p *Plan) checkTargets(ctx context.Context, t *Topic, rule *letters.Rule) error {
	for _, to := range slices.Sorted(maps.Keys(p.Targets)) {
		details, err := describe(ctx, kadm.NewClient(t.client), to)
		if missing, ok := errors.AsType[*MissingTopicError](err); ok && rule.To == "" {
			return fmt.Errorf("%d of the letters are from a topic that does not exist: \"%s\"; leave them out with --source, or send them to another topic with --to", p.Targets[to], letters.Printable(missing.Topic))
		}
		if err != nil {
			return err
		}
		p.partitions[to] = len(details.Partitions)
	}
	return nil
}

// TargetNames are the topics that are written to.
func (p *Plan) TargetNames() []string { return slices.Sorted(maps.Keys(p.Targets)) }

// Below is Ends as a flag has them: 0:120,1:98.
func (p *Plan) Below() string {
	parts := make([]string, len(p.Ends))
	for i, end := range p.Ends {
		parts[i] = fmt.Sprintf("%d:%d", i, end)
	}
	return strings.Join(parts, ",")
}
