package route

import (
	"maps"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Route{
		"direct": {}, "direct:90": {Share: 10}, "direct:0": {Share: 100}, "sidecar": {Share: 100}, "sidecar:10": {Share: 10},
		"sidecar:0": {}, "fallback": {100, true}, "fallback:25": {25, true}, "fallback:0": {},
	} {
		got, err := Parse(text)
		if err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v; want %v", text, got, err, want)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("%v is written as %q, which is read as %v, %v", got, got.String(), again, err)
		}
	}
	for _, text := range []string{"", "Direct", "sidecar:", "sidecar:101", "sidecar:-1", "sidecar:+5", "sidecar:007", "sidecar:1:2", "sidecar:10%", "sidecar:9999999999999999999"} {
		if r, err := Parse(text); err == nil {
			t.Errorf("Parse(%q) = %v", text, r)
		}
	}
}

func TestParseList(t *testing.T) {
	got, err := ParseList("orders=sidecar:10, audit.v1=fallback ,*=direct,")
	want := Routes{"orders": {Share: 10}, "audit.v1": {100, true}, All: {}}
	if err != nil || !maps.Equal(got, want) {
		t.Fatalf("%v, %v", got, err)
	}
	if r, ok := got.Of("orders"); !ok || r.Share != 10 {
		t.Error("a topic that is named has its own route")
	}
	if r, ok := got.Of("other"); !ok || r.Share != 0 {
		t.Error("one that is not has that of *")
	}
	for _, text := range []string{"orders", "=direct", "or ders=direct", "orders=direct,orders=sidecar", "orders=up", strings.Repeat("x", 250) + "=direct", tooMany()} {
		if r, err := ParseList(text); err == nil {
			t.Errorf("ParseList(%.40q) = %v", text, r)
		}
	}
}

func tooMany() string {
	var b strings.Builder
	for i := range MaxRoutes + 1 {
		b.WriteString(strings.Repeat("x", i%200+1) + strings.Repeat("y", i/200) + "=direct,")
	}
	return b.String()
}
