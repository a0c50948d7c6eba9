package lab

import (
	"fmt"

	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/internal/proof/verify/brokerwatch"
)

// job is what one group does: all read the same input, each writes outputs of its own, and has who
// watches it.
type job struct {
	l                *Lab
	group, out, dead string
	checker          *verify.Checker
	watch            *brokerwatch.Watch
	reaper           *reaper
	stays            stays
}

// newJob makes that of a group by its number; the first has the names that tests know.
func (l *Lab) newJob(n int) *job {
	j := &job{l: l, group: Group, out: Out, dead: DeadLetter, stays: stays{now: map[verify.Partition]*stay{}, lost: map[orphan]bool{}}}
	if n > 0 {
		j.group, j.out, j.dead = fmt.Sprint(Group, n+1), fmt.Sprint(Out, n+1), fmt.Sprint(DeadLetter, n+1)
	}
	j.checker = verify.NewChecker(verify.CheckerConfig{Group: j.group, Expect: l.cfg.Expect, PerInput: l.cfg.PerInput, OnViolation: func(v verify.Violation) {
		l.log.printf("VIOLATION %s", v.Name)
	}})
	return j
}

// begin watches the brokers.
func (j *job) begin() {
	cfg := brokerwatch.Config{Group: j.group, Inputs: []string{In}, Outputs: []string{j.out}, ByWill: byWill, BeatByWill: beatByWill}
	if j.l.cfg.DeadLetter {
		cfg.DeadLetters = []string{j.dead}
	}
	if len(j.l.jobs) == 1 { // or a transaction has parts that this one does not see
		cfg.Taker = taker
	}
	j.watch = brokerwatch.New(j.l.Cluster, j.checker, cfg)
	devbroker.ValidateEpochs(j.l.Cluster, j.watch.Refused)
	j.reaper = newReaper(j)
}

// finish judges all that is there at the end.
func (j *job) finish() {
	j.watch.Settle()
	if !j.l.cfg.Unfinished {
		_ = j.checker.Finish() // end reports it
		j.readCommitted()
	}
	if err := j.watch.Err(); err != nil {
		j.l.problem("the observer of %s did not understand the broker: %v", j.group, err)
	}
}

// lag is how many offsets of the input the group has not committed.
func (j *job) lag() (lag int64) {
	g := j.l.Cluster.GroupInfo(j.group)
	for _, p := range j.l.Cluster.PartitionInfos(In) {
		at := p.LogStartOffset
		if g != nil {
			if c, ok := g.Commits[In][p.Partition]; ok {
				at = c.Offset
			}
		}
		lag += p.HighWatermark - at
	}
	return lag
}
