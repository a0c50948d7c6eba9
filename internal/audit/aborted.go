package audit

import (
	"context"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/topicread"
)

// readAborted reads the outputs once more, up to the same ends, with what was aborted: what is more
// than before is that.
func (a *audit) readAborted(ctx context.Context) error {
	all := map[*OutputReport]*atomic.Int64{}
	var tasks []*topicread.Task
	for _, out := range a.plan.outputs {
		n := all[out.report]
		if n == nil {
			n = new(atomic.Int64)
			all[out.report] = n
		}
		tasks = append(tasks, &topicread.Task{
			Topic: out.topic, ID: out.id, Partition: out.partition, Next: out.start, End: out.end, Skipped: func() {},
			Take: func(records []*kgo.Record) error { n.Add(int64(len(records))); return nil },
		})
		a.opts.Progress.Offsets.Add(max(out.end-out.start, 0))
	}
	r := &topicread.Reader{Client: a.opts.Client, ReadUncommitted: true, Progress: &a.opts.Progress.Progress}
	if err := r.Run(ctx, tasks); err != nil {
		return err
	}
	for report, n := range all {
		report.Aborted = max(n.Load()-report.Records, 0) // retention may have come in between
	}
	return nil
}

// isOnce tells whether each output is there, and once.
func isOnce(r *Report) bool {
	return r.Verdict == VerdictClean && r.Counts.Duplicated == 0 && r.Counts.Surplus == 0
}
