package producer_test

import (
	"testing"
	"testing/synctest"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A smaller credit is answered by its number, a larger one is not; what follows keeps it.
func TestClientAnswersASmallerCredit(t *testing.T) {
	var taken chan uint64 // of the bubble
	bubble(t, func(x *script) {
		taken = make(chan uint64, 4)
		x.control = func(s *session, m *sidecarpb.DeliveryStreamRequest) error {
			switch {
			case m.GetGoodbye() != nil:
				s.closing <- nil
			case m.GetCreditTaken() != nil:
				taken <- m.GetCreditTaken().GetNumber()
			}
			return nil
		}
	}, func(t *testing.T, x *script, p producer.Producer) {
		deliver(t, p, numbered(1)...)
		synctest.Wait()
		credit := func(records, number uint64) {
			x.session(0).down(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Credit{
				Credit: &sidecarpb.Credit{Bytes: 1 << 20, Records: records, Number: number},
			}})
		}
		credit(2000, 0)
		credit(100, 7)
		if n := <-taken; n != 7 {
			t.Errorf("the credit of number 7 was answered as %d", n)
		}
		synctest.Wait()
		if len(taken) > 0 {
			t.Errorf("a credit without a number was answered as %d", <-taken)
		}
	})
}
