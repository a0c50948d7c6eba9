package txn_test

import (
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/txn"
)

// losesTheEnd has the next transaction committed, and its lane not know it; then it is true.
func (r *rig) losesTheEnd() *atomic.Bool {
	r.cut.Store(true)
	lost := new(atomic.Bool)
	said := 0
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if said++; said != 2 {
			return nil, nil, false
		}
		lost.Store(true)
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
	return lost
}

// A next owner has gone on with a partition whose former one has not heard of it, while nobody
// knows how a transaction has ended that had both. What another partition has decides, and the lane
// goes on; and it is waited for, if its group does not answer: to take the transaction for aborted
// would repeat it.
func TestANextOwnerHasGoneOn(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]bool{"and the other's group answers": false, "and the other's group is away": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			o := r.withAnother()
			lost := r.losesTheEnd()
			var asked atomic.Int32
			r.cluster.ControlKey(int16(kmsg.OffsetFetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
				r.cluster.KeepControl()
				req := kreq.(*kmsg.OffsetFetchRequest)
				if !lost.Load() || len(req.Groups) != 1 || len(req.Groups[0].Topics) == 0 { // a member's, or the test's
					return nil, nil, false
				}
				resp := beforeTheMarkers(req, 7).(*kmsg.OffsetFetchResponse)
				switch g := &resp.Groups[0]; {
				case g.Group == "g":
					asked.Add(1)
					g.Topics[0].Partitions[0].Offset, g.Topics[0].Partitions[0].ErrorCode = 7, 0
				case away && asked.Load() < 2: // of the first group
					g.ErrorCode = kerr.UnknownServerError.Code
				default:
					return nil, nil, false
				}
				return resp, nil, true
			})
			gone, ours := r.enter(1, 0, 1, value(1)), o.enter(r, 0, 1, value(2))
			b := &twoClaims{units: &units{r: r, value: value(3), fates: make([]error, 2), left: 2, done: make(chan struct{})}, claims: [2]*txn.Claim{gone.claim, ours.claim}}
			r.lane.Push(txn.Run{Batch: b, From: 0, To: 2})
			b.allCommitted()
			o.push(r, 1, 1, value(4)).allCommitted()
			r.check(6, map[int32]int64{0: 1})
			if s := r.lane.Stats(); s.Unknown != 1 || s.Aborted > 0 || s.Windows != 2 {
				t.Errorf("%+v", s)
			}
		})
	}
}
