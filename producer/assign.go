package producer

import (
	"google.golang.org/protobuf/proto"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// Progress is where an assignment is: what a sidecar must know that did not see its beginning, to
// commit for this process if it dies. Its fields are Index (uint64) of the first input that is not
// done, Offset (int64) of it, the ack mark, with its LeaderEpoch (int32); Done ([]DoneRun), the
// inputs above Index that are done already, in order; and DoneSet, the commit metadata that belongs
// to Offset, "" for none. A consumer's Assignment.Progress returns it.
type Progress = assignment.Progress

// DoneRun is Count inputs with the indices Index, Index+1 … and the offsets Offset, Offset+1 …; all
// three are numbers of 64 bits.
type DoneRun = assignment.DoneRun

// maxDoneRuns bounds what an assignment may add to an Assign message; the mark stays below what is
// left out.
const maxDoneRuns = 4096

// maxAssignBytes is below what any gRPC peer takes if it is not told otherwise (4 MiB).
const maxAssignBytes = 1 << 20

// assignMessages announces assignments that the sidecar has not heard of, as they are now: in one
// message, or in as many as it takes to keep each below limit (0: the sidecar names none). Assign
// adds to what is known, and a message that is too large would break this stream and every one
// after it.
func assignMessages(m Membership, added []Assignment, limit int) []*sidecarpb.DeliveryStreamRequest {
	if limit == 0 || limit > maxAssignBytes {
		limit = maxAssignBytes
	}
	protocol := sidecarpb.GroupProtocol_GROUP_PROTOCOL_UNSPECIFIED
	if m.Protocol == ConsumerProtocol {
		protocol = sidecarpb.GroupProtocol_GROUP_PROTOCOL_CONSUMER
	}
	bare := func() *sidecarpb.Assign {
		return &sidecarpb.Assign{Protocol: protocol, Group: m.Group, MemberId: m.MemberID, Generation: m.Generation, InstanceId: m.InstanceID,
			ClusterId: m.ClusterID, Consumer: m.Consumer}
	}
	a := bare()
	a.More = true
	room := limit - proto.Size(a)
	a.More = false
	left := room
	var list []*sidecarpb.DeliveryStreamRequest
	end := func() {
		list = append(list, &sidecarpb.DeliveryStreamRequest{Kind: &sidecarpb.DeliveryStreamRequest_Assign{Assign: a}})
		a, left = bare(), room
	}
	for _, p := range added {
		ap := describe(p)
		size := proto.Size(ap) + fieldHead
		for size > room && len(ap.Done) > 0 {
			ap.Done = ap.Done[:len(ap.Done)/2]
			size = proto.Size(ap) + fieldHead
		}
		if size > left && len(a.Partitions) > 0 {
			a.More = true
			end()
		}
		a.Partitions = append(a.Partitions, ap)
		left -= size
	}
	end()
	return list
}

// fieldHead is what a message costs where it stands in another one, at most: its tag and its
// length.
const fieldHead = 8

func describe(p Assignment) *sidecarpb.AssignedPartition {
	at := Progress{Offset: p.Start, DoneSet: p.DoneSet}
	if p.Progress != nil {
		at = p.Progress()
	}
	ap := &sidecarpb.AssignedPartition{Epoch: p.Epoch, Topic: p.Topic, TopicId: p.TopicID[:], Partition: p.Partition, LeaderEpoch: p.LeaderEpoch,
		StartOffset: at.Offset, StartIndex: at.Index, DoneSet: at.DoneSet}
	for _, r := range at.Done[:min(len(at.Done), maxDoneRuns)] {
		ap.Done = append(ap.Done, &sidecarpb.DoneRun{Index: r.Index, Offset: r.Offset, Count: r.Count})
	}
	return ap
}
