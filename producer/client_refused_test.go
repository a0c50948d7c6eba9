package producer_test

import (
	"errors"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// An app that may not speak for its group is told so for good, without an input: it does not
// connect again and again.
func TestARefusedGroupEndsTheClient(t *testing.T) {
	b := newBroker(t, "t")
	sc := sidecartest.Start(t, b.ListenAddrs(), func(c *sidecar.Config) { c.Apps = []sidecar.App{{Name: "app", Groups: []string{"mine"}}} })
	p := producer.DialConfig{Target: sc.Target, App: "app", Logger: slog.New(slog.DiscardHandler)}.New()
	defer p.Close()
	told := make(chan *producer.Error, 2)
	refuser, ok := p.(producer.Refuser)
	if !ok {
		t.Fatal("the client does not tell of refusals")
	}
	refuser.OnRefused(func(e *producer.Error) { told <- e })
	if err := p.Assign(t.Context(), producer.Membership{Group: "other", MemberID: "m", Generation: 1}, []producer.Assignment{{Epoch: 1, Topic: "t"}}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(producertest.Patience); ; time.Sleep(5 * time.Millisecond) {
		err := p.Check(t.Context())
		if e, ok := errors.AsType[*producer.Error](err); ok && !e.Retryable {
			if e.Code != producer.CodeUnauthorized || !strings.Contains(e.Error(), "GROUP_NOT_ALLOWED") || !strings.Contains(e.Error(), `"other"`) {
				t.Errorf("it says %v", err)
			}
			if got := <-told; got != e {
				t.Errorf("the function was told %v, want %v", got, e)
			}
			refuser.OnRefused(func(e *producer.Error) { told <- e })
			if got := <-told; got != e {
				t.Errorf("a function that came late was told %v, want %v", got, e)
			}
			wantRefusals(t, sc, map[string]uint64{"group": 1})
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Check says %v", err)
		}
	}
}

// The sidecar's status counts refusals by reason. A question about topics is none.
func wantRefusals(t *testing.T, sc *sidecartest.Sidecar, want map[string]uint64) {
	t.Helper()
	st, err := sc.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, r := range st.GetRefusals() {
		got[r.GetReason()] = r.GetCount()
	}
	if !maps.Equal(got, want) {
		t.Errorf("refusals %v, want %v", got, want)
	}
}

// CheckTopics tells the app what the sidecar's list leaves out, in one error with what is missing,
// and does not count as a refusal; an output does.
func TestForbiddenTopicsAreNamed(t *testing.T) {
	b := newBroker(t, "t", "secret")
	sc := sidecartest.Start(t, b.ListenAddrs(), func(c *sidecar.Config) {
		c.Apps = []sidecar.App{{Name: "app", Token: "x", Topics: []string{"t", "nowhere"}}}
	})
	p := producer.DialConfig{Target: sc.Target, App: "app", Token: "x", Logger: slog.New(slog.DiscardHandler)}.New()
	defer p.Close()
	err := p.(producer.TopicChecker).CheckTopics(t.Context(), "t", "nowhere", "secret")
	mustSay(t, err, "UNKNOWN_TOPIC_OR_PARTITION", `"nowhere"`, "TOPIC_NOT_ALLOWED", `app "app"`, `"secret"`, "the app's topics")
	wantRefusals(t, sc, nil)
	if _, err := p.Emit(t.Context(), producer.Record{Topic: "secret"}); err == nil || !strings.Contains(err.Error(), "TOPIC_NOT_ALLOWED") {
		t.Errorf("Emit returned %v", err)
	}
	wantRefusals(t, sc, map[string]uint64{"topic": 1})
}
