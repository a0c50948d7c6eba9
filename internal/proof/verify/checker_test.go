package verify

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestHistories(t *testing.T) {
	for _, h := range slices.Concat(histories, deaths, transactions) {
		t.Run(h.name, func(t *testing.T) {
			var told []Violation
			h.cfg.OnViolation = func(v Violation) { told = append(told, v) }
			r := start(h.cfg)
			h.play(r)
			expect(t, r.Checker, h.want)
			if len(told) != len(r.Violations()) {
				t.Errorf("%d violations were told, %d are kept", len(told), len(r.Violations()))
			}
		})
	}
}

func TestFinish(t *testing.T) {
	for _, h := range slices.Concat(finishes, openEnds) {
		t.Run(h.name, func(t *testing.T) {
			r := start(CheckerConfig{})
			h.play(r)
			err := r.Finish()
			expect(t, r.Checker, h.want)
			if (err == nil) != (len(h.want) == 0) {
				t.Errorf("Finish: %v", err)
			}
		})
	}
}

func expect(t *testing.T, c *Checker, want []Name) {
	t.Helper()
	left := map[Name]bool{}
	for _, name := range want {
		left[name] = true
	}
	for _, v := range c.Violations() {
		if !left[v.Name] && !c.Has(v.Name) || !contains(want, v.Name) {
			t.Errorf("not expected: %v", v)
		}
		delete(left, v.Name)
	}
	for name := range left {
		t.Errorf("not found: %s", name)
	}
}

func contains(names []Name, name Name) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

func TestMessagesTellTheStory(t *testing.T) {
	r := start(CheckerConfig{})
	r.handOut(0, 1)
	r.write(0)
	r.ack(1, 0, 0)
	r.commit(in0, 2)
	err := r.Err().Error()
	for _, part := range []string{
		"S1 premature commit (1)", "group g, in[0]", "a (generation 1) committed 2 over 1 inputs", "offset 1 (id=1, 1 of 1 outputs not durable: 0, handed out)",
		"before that:", "p: unit of offset 0 (epoch 1) acked", "output id=0 key=0 seq=0 out=0 durable at out[0] offset 0",
	} {
		if !strings.Contains(err, part) {
			t.Errorf("%q is not in\n%s", part, err)
		}
	}
	if s := r.Summary(); !strings.Contains(s, "13 inputs, 1 outputs durable") || !strings.Contains(s, "VIOLATED: S1 premature commit (1)") {
		t.Errorf("summary:\n%s", s)
	}
}

func TestViolationsAreBounded(t *testing.T) {
	c := NewChecker(CheckerConfig{})
	for range 10 * maxKept {
		c.MemorySample("x", 2, 1)
	}
	if n := len(c.Violations()); n != maxKept || c.violations.Count("") != 10*maxKept || c.violations.Count(MemoryExceeded) != 10*maxKept {
		t.Fatalf("%d kept, %d counted", n, c.violations.Count(""))
	}
}

// TestEveryNameIsFound keeps the checker's teeth complete: a kind of violation that no history
// brings about is not known to be found at all.
func TestEveryNameIsFound(t *testing.T) {
	source, err := os.ReadFile("violation.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[Name]bool{}
	for _, h := range slices.Concat(histories, deaths, transactions) {
		for _, name := range h.want {
			found[name] = true
		}
	}
	for _, h := range slices.Concat(finishes, openEnds) {
		for _, name := range h.want {
			found[name] = true
		}
	}
	names := regexp.MustCompile(`Name\s+= "(S\d+ [^"]+)"`).FindAllSubmatch(source, -1)
	if len(names) < 20 {
		t.Fatalf("only %d names in violation.go", len(names))
	}
	for _, m := range names {
		if name := Name(m[1]); !found[name] {
			t.Errorf("no history breaks %q", name)
		}
		delete(found, Name(m[1]))
	}
	if len(found) > 0 {
		t.Errorf("names that are not in violation.go: %v", found)
	}
}
