package txn

import (
	"testing"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// What a group has of a partition says that a transaction was committed if it is what that was to
// commit; that it was not if it is less, as what it had before is; and nothing if only a next owner
// can have committed it.
func TestVerdictOf(t *testing.T) {
	topic := [16]byte{1}
	text := func(epoch int32, runs ...donemeta.Run) string {
		set, kept := donemeta.Append(nil, donemeta.Binding{TopicID: topic, Base: 10, LeaderEpoch: epoch}, runs)
		if kept != len(runs) {
			t.Fatalf("%d of %v", kept, runs)
		}
		return string(set)
	}
	run := func(first, last int64) donemeta.Run { return donemeta.Run{First: first, Last: last} }
	plan := text(-1, run(12, 14), run(20, 20))
	for name, c := range map[string]struct {
		planned string
		offset  int64
		set     string
		want    verdict
	}{
		"as planned":                         {plan, 10, plan, isIn},
		"as planned, nothing above":          {"", 10, "", isIn},
		"lower":                              {plan, 9, plan, isOut},
		"lower, nothing above":               {"", 9, "", isOut},
		"lower, more above":                  {"", 9, text(-1, run(12, 30)), isOut},
		"higher":                             {plan, 11, "", isOpen},
		"higher, nothing planned above":      {"", 11, "", isOpen},
		"less above":                         {plan, 10, text(-1, run(12, 14)), isOut},
		"less above, of a consumer":          {plan, 10, text(3, run(12, 14)), isOut},
		"less of a run":                      {plan, 10, text(-1, run(12, 13), run(20, 20)), isOut},
		"nothing above":                      {plan, 10, "", isOut},
		"text that is no done-set":           {plan, 10, "text", isOut},
		"more above":                         {plan, 10, text(-1, run(12, 14), run(20, 21)), isOpen},
		"more below a run":                   {plan, 10, text(-1, run(11, 14), run(20, 20)), isOpen},
		"more at one place, less at another": {plan, 10, text(-1, run(12, 14), run(22, 22)), isOpen},
		"as much, by a consumer":             {plan, 10, text(3, run(12, 14), run(20, 20)), isOpen},
		"something, nothing planned above":   {"", 10, plan, isOpen},
		"other text, nothing planned above":  {"", 10, "text", isOpen},
	} {
		planned := groupcommit.Point{TopicID: topic, Offset: 10, Metadata: c.planned}
		if got := verdictOf(&planned, &groupcommit.Point{Offset: c.offset, Metadata: c.set}); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
