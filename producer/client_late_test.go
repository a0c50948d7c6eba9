package producer_test

import (
	"testing"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What the sidecar did not begin is sent again, in order, and is nobody's failure: who delivered it
// could only deliver it again behind what came after it (S7).
func TestClientSendsAgainWhatWasNotBegun(t *testing.T) {
	for _, code := range []string{"EXPIRED", "DRAINING"} {
		for _, outlives := range []bool{true, false} {
			refused := false
			bubble(t, func(x *script) {
				if outlives {
					x.outlive()
				}
				x.units = func(s *session, u *sidecarpb.Units) error {
					if refused {
						s.writeAndAck(u)
						return nil
					}
					refused = true
					r := new(sidecarpb.DeliveryReports)
					for i := range u.GetUnits() {
						r.Failed = append(r.Failed, &sidecarpb.UnitFailure{Sequence: u.GetFirstSequence() + uint64(i),
							Partition: -1, Error: &sidecarpb.Error{Code: code, Retryable: true}})
					}
					s.report(r)
					return nil
				}
			}, func(t *testing.T, x *script, p producer.Producer) {
				r := deliver(t, p, numbered(20)...)
				wait(t, r)
				for i, f := range r.Fates() {
					if f.Err != nil {
						t.Fatalf("%s, outlives %v: unit %d: %v", code, outlives, i, f.Err)
					}
				}
				x.mu.Lock()
				defer x.mu.Unlock()
				if !refused || len(x.log["t"]) != 20 {
					t.Fatalf("%s: refused %v, %d of 20 are written", code, refused, len(x.log["t"]))
				}
			})
		}
	}
}
