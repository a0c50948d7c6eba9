package txn

import (
	"cmp"
	"slices"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// part is what a window commits for the claims of one holder: one request of the transaction.
type part struct {
	holder Holder
	claims []*Claim
	points []groupcommit.Point
}

// plan makes what a transaction commits of these claims, with what is staged in them: by holder, in
// a fixed order. A point without its claim's done-set would repeat what the set says, so one that
// does not fit is an error.
func plan(claims []*Claim) (parts []part, tooLarge *Claim) {
	at := map[*Claims]map[Holder]int{}
	for _, st := range claims {
		if at[st.of] == nil {
			at[st.of] = map[Holder]int{}
		}
		n, known := at[st.of][st.holder]
		if !known {
			n = len(parts)
			at[st.of][st.holder] = n
			parts = append(parts, part{holder: st.holder})
		}
		st.of.mu.Lock()
		c := st.core.StagedCommit()
		st.of.mu.Unlock()
		if c.Cut > 0 {
			return nil, st
		}
		parts[n].claims = append(parts[n].claims, st)
		parts[n].points = append(parts[n].points, point(st, c))
	}
	return parts, nil
}

func point(st *Claim, c assignment.Commit) groupcommit.Point {
	return groupcommit.Point{
		Topic: st.Topic, TopicID: st.TopicID, Partition: st.Partition, Offset: c.Offset, LeaderEpoch: c.LeaderEpoch, Metadata: c.Set,
	}
}

// byMember is what a part is committed under now. Claims of one holder may have different ones: a
// released one keeps that of its release.
func (p *part) byMember() []request {
	var list []request
	for i, st := range p.claims {
		st.of.mu.Lock()
		m, over := st.member(), st.state == abandoned
		st.of.mu.Unlock()
		n := slices.IndexFunc(list, func(r request) bool { return r.member == m })
		if n < 0 {
			n = len(list)
			list = append(list, request{member: m})
		}
		list[n].claims = append(list[n].claims, st)
		list[n].points = append(list[n].points, p.points[i])
		list[n].abandoned = list[n].abandoned || over
	}
	slices.SortFunc(list, func(a, b request) int { return cmp.Compare(a.member.Generation, b.member.Generation) })
	return list
}

// request is one TxnOffsetCommit.
type request struct {
	member    groupcommit.Member
	claims    []*Claim
	points    []groupcommit.Point
	abandoned bool
}
