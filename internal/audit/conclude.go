package audit

import (
	"fmt"
	"strings"
)

// conclude adds up, and says in words what a reader of the figures should know.
func (j *judge) conclude() {
	r := j.report
	for _, t := range r.Inputs {
		r.Counts.add(t.Counts())
	}
	r.Verdict = VerdictClean
	switch c := &r.Counts; {
	case c.Lost > 0:
		r.Verdict = VerdictLost
	case c.Undecided > 0, c.Done == 0, j.blind, j.plan.unhandled:
		r.Verdict = VerdictUndecided
	}
	if j.opts.ExactlyOnce {
		once := isOnce(r)
		r.ExactlyOnce = &once
	}
	r.Notes = append(r.Notes, j.plan.warnings...)
	note := func(holds bool, text string) {
		if holds {
			r.Notes = append(r.Notes, text)
		}
	}
	note(r.Counts.Done == 0, "no input that was looked at is done, so there is nothing to prove yet")
	if r.Counts.Undecided > 0 && !j.blind {
		r.From = j.gone.from()
		r.Notes = append(r.Notes, j.gone.notes()...)
	}
	note(j.blind, "no output has source headers, so nothing can be decided: set pipeline.Config.SourceHeaders, or check --output")
	note(r.Nameless > 0, fmt.Sprintf("%d outputs have source headers that name no group and no number of outputs (before version 2, or written by hand): another group's "+
		"outputs of the same inputs would be taken for this group's, and an input's last output could be missing without being noticed", r.Nameless))
	note(r.Unknown.OtherGroup > 0 && r.Counts.Lost > 0, "outputs of other groups do not count: if this group took over from another one, name that with --also-group, or audit what came since with --from TIME")
	note(r.Also > 0, fmt.Sprintf("%d outputs of %s count as this group's (--also-group)", r.Also, strings.Join(r.AlsoGroups, ", ")))
	for number := range j.absent {
		a := &j.absent[number]
		where := "none of any input is in these topics: is one missing in --output?"
		if len(a.topics) > 0 {
			where = "those of other inputs are in " + strings.Join(a.topics, ", ")
		}
		note(a.missing > 0, fmt.Sprintf("output %d is missing of %d inputs; %s", number, a.missing, where))
	}
	note(!j.blind && r.Unknown.NoHeaders > 0 && r.Counts.Lost > 0,
		"some outputs have no source headers: if they are from before the headers were turned on, audit what came since with --from TIME")
	note(r.Counts.Lost > 0 && j.opts.Expect.Min > 0,
		"an input without outputs counts as lost; if handlers may filter, allow it with --expect 0..; outputs in topics that --output does not name count as missing")
	note(r.Unknown.OtherTopicID > 0, "some outputs were made from a deleted topic of the same name")
	note(r.Counts.Reordered > 0 && j.opts.Order == OrderKey,
		"order is judged by the outputs' keys: handlers that give outputs another key than their input, and pipeline.Unordered, promise none (--order none)")
}
