package txn

import "testing"

// A taking under its epoch is answered by the next one, by the same one after an abort, by a new
// producer behind the last one, and by a new producer, too, if the id was not known any more.
func TestIsForgottenBy(t *testing.T) {
	for name, tc := range map[string]struct {
		before, now producing
		forgotten   bool
	}{
		"the next epoch":               {producing{pid: 7, epoch: 3}, producing{pid: 7, epoch: 4}, false},
		"after an abort":               {producing{pid: 7, epoch: 3}, producing{pid: 7, epoch: 3}, false},
		"behind the last epoch":        {producing{pid: 7, epoch: lastEpoch}, producing{pid: 8}, false},
		"a new producer":               {producing{pid: 7, epoch: 3}, producing{pid: 8}, true},
		"a new one of the same number": {producing{pid: 7, epoch: 3}, producing{pid: 7}, true},
	} {
		if got := tc.before.isForgottenBy(tc.now.pid, tc.now.epoch); got != tc.forgotten {
			t.Errorf("%s: %v", name, got)
		}
	}
}
