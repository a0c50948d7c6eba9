package txn_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/txn"
)

// A window is full after some records, and ends behind the unit that they belong to: no unit is in
// two transactions, and the next one's input is in none yet.
func TestWindowsEndBetweenUnits(t *testing.T) {
	r := newRig(t)
	r.lane.Close()
	r.lane = r.newLane(func(cfg *txn.Config) { cfg.Records = 3 })
	t.Cleanup(r.lane.Close)
	u := r.push(1, 0, 11, value(1)) // of two outputs each
	u.allCommitted()
	r.check(22, map[int32]int64{0: 11})
	if s := r.lane.Stats(); s.Windows != 6 || s.Aborted > 0 {
		t.Errorf("%+v, want windows of two units", s)
	}
}

// A transaction is committed, its answer is lost, and its markers are on their way: until they are
// there the group's offsets are those of before, which say nothing.
func TestMarkersAreOnTheirWay(t *testing.T) {
	r := newRig(t)
	r.push(1, 0, 5, value(1)).allCommitted()
	r.cut.Store(true)
	said, asked := 0, 0
	r.cluster.ControlKey(int16(kmsg.EndTxn), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		if said++; said != 2 {
			return nil, nil, false
		}
		resp := kreq.ResponseKind().(*kmsg.EndTxnResponse)
		resp.ErrorCode = kerr.UnknownServerError.Code
		return resp, nil, true
	})
	r.cluster.ControlKey(int16(kmsg.OffsetFetch), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
		r.cluster.KeepControl()
		req := kreq.(*kmsg.OffsetFetchRequest)
		if asked++; asked > 2 {
			return nil, nil, false
		}
		return beforeTheMarkers(req, 5), nil, true
	})
	r.push(1, 5, 5, value(2)).allCommitted()
	r.check(20, map[int32]int64{0: 10})
	if s := r.lane.Stats(); s.Unknown != 1 || s.Aborted > 0 || s.Windows != 2 || asked < 3 {
		t.Errorf("%+v after %d questions", s, asked)
	}
}

// beforeTheMarkers answers as a coordinator does whose transaction has not ended in its log.
func beforeTheMarkers(req *kmsg.OffsetFetchRequest, offset int64) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	for _, g := range req.Groups {
		rg := kmsg.NewOffsetFetchResponseGroup()
		rg.Group = g.Group
		for _, t := range g.Topics {
			rt := kmsg.NewOffsetFetchResponseGroupTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
				rp.Partition, rp.Offset = p, offset
				if req.RequireStable {
					rp.Offset, rp.ErrorCode = -1, kerr.UnstableOffsetCommit.Code
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			rg.Topics = append(rg.Topics, rt)
		}
		resp.Groups = append(resp.Groups, rg)
	}
	return resp
}
