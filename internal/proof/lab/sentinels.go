package lab

import (
	"context"
	"fmt"

	"github.com/ackmark/ackmark"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/internal/sentinel"
)

// SentinelName is what the lab calls what a sentinel of the product found.
func SentinelName(k sentinel.Kind) verify.Name { return verify.Name("sentinel " + k.String()) }

// sentinels are what those of the apps found, the killed ones included: they agree with the
// checker, so where it finds nothing they must not either.
func (l *Lab) sentinels() (found []verify.Violation) {
	say := func(who string, s ackmark.Sentinels) {
		for k, n := range map[sentinel.Kind]uint64{
			sentinel.CommitBeyond: s.CommitBeyond, sentinel.OrderInverted: s.OrderInverted, sentinel.InputSkipped: s.InputSkipped, sentinel.ClosedAdmitted: s.ClosedAdmitted,
		} {
			if n > 0 {
				found = append(found, verify.Violation{Name: SentinelName(k), Detail: fmt.Sprintf("%s counts %d", who, n)})
			}
		}
	}
	for _, a := range l.apps {
		say(a.Name, a.State().Sentinels)
	}
	for i, p := range l.gone {
		if s, err := p.server.Status(context.Background()); err == nil {
			n := s.GetSentinels()
			say(fmt.Sprintf("sidecar %d", i+1), ackmark.Sentinels{CommitBeyond: n.GetCommitBeyond(), ClosedAdmitted: n.GetClosedAdmitted()})
		}
	}
	return found
}
