package groupcommit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/groupcommit"
)

var id = [16]byte{1}

func TestVerdicts(t *testing.T) {
	for want, errs := range map[groupcommit.Verdict][]error{
		groupcommit.Accepted:  {nil},
		groupcommit.Recreated: {kerr.UnknownTopicID, kerr.InconsistentTopicID},
		groupcommit.Refused:   {kerr.UnknownServerError, kerr.InvalidTopicException, kgo.ErrClientClosed, kerr.InvalidCommitOffsetSize, kerr.TopicAuthorizationFailed},
		groupcommit.Again: {
			kerr.RebalanceInProgress, kerr.OffsetMetadataTooLarge, kerr.CoordinatorLoadInProgress, kerr.NotCoordinator,
			kerr.CoordinatorNotAvailable, kerr.UnknownTopicOrPartition, kerr.StaleMemberEpoch, groupcommit.ErrStale, io.EOF,
			context.DeadlineExceeded,
		},
		groupcommit.Ousted: {kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.FencedMemberEpoch},
		groupcommit.Forbidden: {
			kerr.FencedInstanceID, kerr.UnreleasedInstanceID, kerr.GroupAuthorizationFailed,
			kerr.ClusterAuthorizationFailed, kerr.InvalidGroupID, kerr.InconsistentGroupProtocol, kerr.GroupMaxSizeReached,
			kerr.InvalidSessionTimeout,
		},
	} {
		for _, err := range errs {
			if got := groupcommit.Judge(err); got != want {
				t.Errorf("%v is %v, want %v", err, got, want)
			}
			if err == nil {
				continue
			}
			if got := groupcommit.Judge(fmt.Errorf("committing in/0: %w", err)); got != want {
				t.Errorf("%v, wrapped, is %v, want %v", err, got, want)
			}
		}
	}
}

// Who is forbidden something must be told what to change.
func TestEveryForbiddenErrorHasARemedy(t *testing.T) {
	for code := int16(1); code < 200; code++ {
		err := kerr.ErrorForCode(code)
		if groupcommit.Judge(err) != groupcommit.Forbidden && code != kerr.TopicAuthorizationFailed.Code {
			continue
		}
		if text := groupcommit.Remedy(err, groupcommit.Who{InstanceID: "i"}); text == "see the broker's log" {
			t.Errorf("%v has no remedy", err)
		}
	}
}

func TestWorse(t *testing.T) {
	for _, c := range []struct{ a, b, want error }{
		{nil, nil, nil},
		{nil, kerr.UnknownTopicID, kerr.UnknownTopicID},
		{kerr.IllegalGeneration, kerr.RebalanceInProgress, kerr.IllegalGeneration},
		{kerr.UnknownTopicID, kerr.GroupAuthorizationFailed, kerr.GroupAuthorizationFailed},
		{kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.UnknownMemberID},
	} {
		if got := groupcommit.Worse(c.a, c.b); !errors.Is(got, c.want) {
			t.Errorf("Worse(%v, %v) is %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// What a request says is what its answer is looked up by, whatever names the broker's version uses.
func TestAnswersFindTheirPoints(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var points []groupcommit.Point
		for topic := range rnd.IntN(4) {
			for p := range rnd.IntN(5) {
				points = append(points, groupcommit.Point{
					Topic: fmt.Sprintf("t%d", topic), TopicID: [16]byte{byte(topic + 1)}, Partition: int32(p), Offset: rnd.Int64N(1000), LeaderEpoch: -1,
					Metadata: strings.Repeat("m", p),
				})
			}
		}
		rnd.Shuffle(len(points), func(i, j int) { points[i], points[j] = points[j], points[i] })
		member := groupcommit.Member{Group: "g", MemberID: "m", Generation: 7}
		req := groupcommit.Request(&member, points)
		byID := rnd.IntN(2) == 0
		resp, want := kmsg.NewPtrOffsetCommitResponse(), map[int]error{}
		said := 0
		for _, rt := range req.Topics {
			st := kmsg.NewOffsetCommitResponseTopic()
			if byID {
				st.TopicID = rt.TopicID
			} else {
				st.Topic = rt.Topic
			}
			for _, rp := range rt.Partitions {
				said++
				sp := kmsg.NewOffsetCommitResponseTopicPartition()
				sp.Partition = rp.Partition
				if rnd.IntN(3) == 0 {
					sp.ErrorCode = kerr.IllegalGeneration.Code
				}
				for i := range points {
					if points[i].Topic == rt.Topic && points[i].Partition == rp.Partition {
						want[i] = kerr.ErrorForCode(sp.ErrorCode)
						if rp.Offset != points[i].Offset || *rp.Metadata != points[i].Metadata || rp.LeaderEpoch != points[i].LeaderEpoch {
							t.Fatalf("the request says %+v of %+v", rp, points[i])
						}
					}
				}
				st.Partitions = append(st.Partitions, sp)
			}
			stranger := kmsg.NewOffsetCommitResponseTopicPartition()
			stranger.Partition = 99
			st.Partitions = append(st.Partitions, stranger)
			resp.Topics = append(resp.Topics, st)
		}
		if said != len(points) {
			t.Fatalf("%d of %d points are in the request", said, len(points))
		}
		for i, err := range groupcommit.Answers(points, resp) {
			if w, ok := want[i]; !ok || !errors.Is(err, w) {
				t.Fatalf("point %d: %v, want %v", i, err, w)
			}
			delete(want, i)
		}
		if len(want) > 0 {
			t.Fatalf("no answer for %v", want)
		}
	}
}

func TestRequestOfAMember(t *testing.T) {
	points := []groupcommit.Point{{Topic: "in", TopicID: id, Offset: 5, LeaderEpoch: 3}}
	for _, c := range []struct {
		member groupcommit.Member
		valid  bool
	}{
		{groupcommit.Member{Group: "g", MemberID: "m", Generation: 0}, true},
		{groupcommit.Member{Group: "g", MemberID: "m", InstanceID: "i", Generation: 3}, true},
		{groupcommit.Member{Group: "g", MemberID: "m", Generation: -1}, false},
		{groupcommit.Member{Group: "g", Generation: 3}, false},
	} {
		if c.member.Valid() != c.valid {
			t.Errorf("%+v is valid: %v", c.member, c.member.Valid())
		}
		req := groupcommit.Request(&c.member, points)
		if req.Group != "g" || req.MemberID != c.member.MemberID || req.Generation != c.member.Generation ||
			(req.InstanceID == nil) != (c.member.InstanceID == "") {
			t.Errorf("%+v makes %+v", c.member, req)
		}
	}
}

func TestPartsFitABroker(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		points := make([]groupcommit.Point, rnd.IntN(2000))
		for i := range points {
			points[i] = groupcommit.Point{Topic: strings.Repeat("t", rnd.IntN(249)), Metadata: strings.Repeat("m", rnd.IntN(4097))}
		}
		if len(points) > 0 && rnd.IntN(3) == 0 {
			points[rnd.IntN(len(points))].Metadata = strings.Repeat("m", groupcommit.MaxRequest)
		}
		at := 0
		for first, end := range groupcommit.Parts("group", points) {
			if first != at || end <= first {
				t.Fatalf("a part from %d to %d, behind %d", first, end, at)
			}
			at = end
			sum := 0
			for _, pt := range points[first:end] {
				sum += len("group") + len(pt.Topic) + len(pt.Metadata)
			}
			if sum > groupcommit.MaxRequest && end-first > 1 {
				t.Fatalf("%d points of %d bytes in one part", end-first, sum)
			}
		}
		if at != len(points) {
			t.Fatalf("%d of %d points are in a part", at, len(points))
		}
	}
}
