package cli

import (
	"strings"
	"testing"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

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
