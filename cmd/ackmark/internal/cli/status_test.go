package cli

import (
	"strings"
	"testing"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// What apps, groups and brokers are called is shown, and not obeyed: by the table and by the JSON.
func TestStatusIsOnlyShown(t *testing.T) {
	evil := "\x1b]0;owned\a\u009b2J\u202e"
	resp := &sidecarpb.StatusResponse{
		State: "serving", KafkaError: evil, Refusals: []*sidecarpb.RefusalCount{{Reason: evil}},
		Sessions:   []*sidecarpb.SessionStatus{{App: evil, Group: evil, NoWill: evil}},
		Partitions: []*sidecarpb.PartitionQueue{{Topic: evil}},
	}
	var table, text strings.Builder
	if err := printStatus(&table, resp); err != nil {
		t.Fatal(err)
	}
	if err := printJSON(&text, resp.ProtoReflect()); err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{table.String(), text.String()} {
		if strings.ContainsAny(got, "\x1b\a\u009b\u202e") || strings.Count(got, "owned") != 6 {
			t.Errorf("a terminal obeys, or something is missing:\n%q", got)
		}
	}
}

// The table and the JSON say how often what was refused.
func TestStatusShowsRefusals(t *testing.T) {
	resp := &sidecarpb.StatusResponse{State: "serving", Refusals: []*sidecarpb.RefusalCount{{Reason: "app or token", Count: 3}, {Reason: "topic", Count: 40}}}
	var table, text strings.Builder
	if err := printStatus(&table, resp); err != nil {
		t.Fatal(err)
	}
	if err := printJSON(&text, resp.ProtoReflect()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"3 times: app or token", "40 times: topic"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in\n%s", want, table.String())
		}
	}
	for _, want := range []string{`"refusals"`, `"app or token"`, `40`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %s in\n%s", want, text.String())
		}
	}
}

// Exactly-once has a line of its own, where there are transactions.
func TestStatusShowsTransactions(t *testing.T) {
	of := func(x *sidecarpb.TransactionStatus) string {
		var table strings.Builder
		if err := printStatus(&table, &sidecarpb.StatusResponse{Transactions: x}); err != nil {
			t.Fatal(err)
		}
		return table.String()
	}
	x := &sidecarpb.TransactionStatus{TransactionalId: "orders-0", State: "closing", Committed: 9, Aborted: 2, Unknown: 1, TakenAnew: 1, AgeMs: 12_345}
	want := "orders-0 is closing: 9 transactions committed, 2 aborted, 1 with an unknown end, taken anew 1 times; units wait for a commit for 12.3s"
	if got := of(x); !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
	x.AgeMs = 0
	if got := of(x); !strings.Contains(got, "; nothing waits") {
		t.Errorf("%s", got)
	}
	if got := of(nil); strings.Contains(got, "exactly-once") {
		t.Errorf("%s", got)
	}
}
