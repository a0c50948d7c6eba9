package producer_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// heirs makes a script that knows Inherit, and answers none: it hands the questions to the test.
func heirs(x *script) (asked chan uint64) {
	asked = make(chan uint64, 4)
	x.hello = func(*sidecarpb.Hello) (*sidecarpb.Welcome, error) {
		return &sidecarpb.Welcome{Version: 1, Features: []string{"inherit"}, Credit: &sidecarpb.Credit{Bytes: 1 << 20, Records: 1000}}, nil
	}
	x.control = func(s *session, m *sidecarpb.DeliveryStreamRequest) error {
		switch in := m.GetInherit(); {
		case m.GetGoodbye() != nil:
			s.closing <- nil
		case in.GetGroup() == "g" && in.GetInstanceId() == "i":
			asked <- in.GetRequestId()
		}
		return nil
	}
	return asked
}

func inherit(t *testing.T, p producer.Producer) chan error {
	done := make(chan error, 1)
	go func() { done <- p.(producer.Heir).Inherit(t.Context(), "g", "i") }()
	return done
}

// The client waits for the sidecar's word; across a broken stream it asks again.
func TestClientInherits(t *testing.T) {
	var asked chan uint64
	bubble(t, func(x *script) { asked = heirs(x) }, func(t *testing.T, x *script, p producer.Producer) {
		done := inherit(t, p)
		first := <-asked
		time.Sleep(time.Hour)
		select {
		case err := <-done:
			t.Fatalf("Inherit returned %v before it was answered", err)
		default:
		}
		x.session(0).closing <- errCut
		var second uint64
		select {
		case second = <-asked:
		case <-time.After(time.Minute):
			t.Fatal("the next stream is not asked")
		}
		if first != second {
			t.Errorf("asked as %d, then as %d", first, second)
		}
		s := x.session(1)
		s.down(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Inherited{Inherited: &sidecarpb.Inherited{RequestId: 99}}})
		s.down(&sidecarpb.DeliveryStreamResponse{Kind: &sidecarpb.DeliveryStreamResponse_Inherited{Inherited: &sidecarpb.Inherited{RequestId: second}}})
		if err := <-done; err != nil {
			t.Errorf("Inherit: %v", err)
		}
	})
}

// Nobody waits where nobody will answer.
func TestClientInheritsNothing(t *testing.T) {
	t.Run("an older sidecar", func(t *testing.T) {
		bubble(t, func(*script) {}, func(t *testing.T, x *script, p producer.Producer) {
			if err := <-inherit(t, p); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("no sidecar", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x := newScript(t)
			x.died = true
			p := x.config().New()
			defer p.Close()
			if err := <-inherit(t, p); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("the context ends", func(t *testing.T) {
		var asked chan uint64
		bubble(t, func(x *script) { asked = heirs(x) }, func(t *testing.T, x *script, p producer.Producer) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := p.(producer.Heir).Inherit(ctx, "g", "i"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Inherit: %v", err)
			}
			x.session(0).closing <- errCut // and it asks no more
			time.Sleep(time.Minute)
			if n := len(asked); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	})
	t.Run("closed", func(t *testing.T) {
		var asked chan uint64
		bubble(t, func(x *script) { asked = heirs(x) }, func(t *testing.T, x *script, p producer.Producer) {
			done := inherit(t, p)
			<-asked
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			if err := <-done; !errors.Is(err, producer.ErrClosed) {
				t.Errorf("Inherit: %v", err)
			}
		})
	})
}
