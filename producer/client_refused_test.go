package producer_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// An app that may not speak for its group is told so for good, without an input: it does not connect again and again.
func TestARefusedGroupEndsTheClient(t *testing.T) {
	b := newBroker(t, "t")
	sc := sidecartest.Start(t, b.ListenAddrs(), func(c *sidecar.Config) { c.Apps = []sidecar.App{{Name: "app", Groups: []string{"mine"}}} })
	p := producer.DialConfig{Target: sc.Target, App: "app", Logger: slog.New(slog.DiscardHandler)}.New()
	defer p.Close()
	if err := p.Assign(t.Context(), producer.Membership{Group: "other", MemberID: "m", Generation: 1}, []producer.Assignment{{Epoch: 1, Topic: "t"}}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(producertest.Patience); ; time.Sleep(5 * time.Millisecond) {
		err := p.Check(t.Context())
		if e, ok := errors.AsType[*producer.Error](err); ok && !e.Retryable {
			if e.Code != producer.CodeUnauthorized || !strings.Contains(e.Error(), "GROUP_NOT_ALLOWED") || !strings.Contains(e.Error(), `"other"`) {
				t.Errorf("it says %v", err)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Check says %v", err)
		}
	}
}
