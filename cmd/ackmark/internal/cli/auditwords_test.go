package cli

import (
	"bytes"
	"errors"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/internal/audit"
)

// number fills every count of a struct with a number that occurs nowhere else.
func number(v reflect.Value, next *int64) {
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int64:
			*next += 1009
			f.SetInt(*next)
		case reflect.Struct:
			number(f, next)
		}
	}
}

// Every number of a report is printed under a word, and the help explains every word that is
// printed.
func TestNoWordLacksItsExplanation(t *testing.T) {
	next := int64(10_000)
	out := &audit.OutputReport{Topic: "out"}
	r := &audit.Report{
		Verdict: audit.VerdictLost, Inputs: []*audit.TopicReport{{Topic: "in", Partitions: []*audit.PartitionReport{{}}}}, Outputs: []*audit.OutputReport{out},
		First: map[audit.Kind][]audit.Finding{},
	}
	counts := &r.Inputs[0].Partitions[0].Counts
	number(reflect.ValueOf(counts).Elem(), &next)
	number(reflect.ValueOf(out).Elem(), &next)
	number(reflect.ValueOf(&r.Unknown).Elem(), &next)
	out.Nameless, out.Gone, out.Newer = 0, 0, 0 // told for all outputs together
	for _, kind := range audit.Kinds {
		f := audit.Finding{Kind: kind, Topic: "in", Inputs: 1, Outputs: new(int32), Behind: new(int64), At: new(audit.Place), First: new(audit.Place)}
		r.First[kind] = []audit.Finding{f}
	}
	var text bytes.Buffer
	if err := printAudit(&text, r, "", false); err != nil {
		t.Fatal(err)
	}
	printed := func(v reflect.Value) {
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Int64 && f.Int() != 0 && !strings.Contains(text.String(), strconv.FormatInt(f.Int(), 10)) {
				t.Errorf("%s (%d) is not printed", v.Type().Field(i).Name, f.Int())
			}
		}
	}
	printed(reflect.ValueOf(*counts))
	printed(reflect.ValueOf(out.Unknown))
	r.Unknown = audit.Unknown{Gone: r.Unknown.Gone, Newer: r.Unknown.Newer}
	printed(reflect.ValueOf(r.Unknown))

	help := NewAuditCommand().Long
	explained := func(title string) {
		t.Helper()
		if !regexp.MustCompile(`(?m)^  ` + title + `  +\S`).MatchString(help) {
			t.Errorf("%s has no explanation in the help", title)
		}
	}
	for line := range strings.Lines(text.String()) {
		titles := regexp.MustCompile(`  +`).Split(strings.TrimSpace(line), -1)
		switch {
		case titles[0] == "INPUT" || titles[0] == "OUTPUT":
			for _, title := range titles[1:] {
				explained(title)
			}
		case regexp.MustCompile(`^[A-Za-z ]+: \d+`).MatchString(line): // LOST: 3 inputs; in flight: 5; GONE: 7 …
			title, _, _ := strings.Cut(line, ":")
			explained(strings.ToUpper(title))
		}
	}
	for _, verdict := range []audit.Verdict{audit.VerdictClean, audit.VerdictLost, audit.VerdictUndecided} {
		for _, strict := range []bool{false, true} {
			var text bytes.Buffer
			r.Verdict, r.Counts.Duplicated = verdict, 1
			if err := printAudit(&text, r, "", strict); err != nil {
				t.Fatal(err)
			}
			title, _, _ := strings.Cut(text.String(), ":")
			explained(title)
		}
	}
}

// The first word of the report and the exit code say the same, for every verdict, with and without
// --strict.
func TestTheVerdictAndTheExitCodeAgree(t *testing.T) {
	codes := map[string]int{clean: ExitClean, notStrict: ExitFailed, lost: ExitFailed, undecided: ExitUsage}
	for _, verdict := range []audit.Verdict{audit.VerdictClean, audit.VerdictLost, audit.VerdictUndecided} {
		for _, counts := range []audit.Counts{{}, {Duplicated: 1}, {Reordered: 1}, {Surplus: 1}} {
			for _, nameless := range []int64{0, 1} {
				for _, strict := range []bool{false, true} {
					r := &audit.Report{Verdict: verdict, Counts: counts, Nameless: nameless}
					var text bytes.Buffer
					if err := printAudit(&text, r, "", strict); err != nil {
						t.Fatal(err)
					}
					f := auditFlags{strict: strict}
					err := f.verdict(r)
					title, _, _ := strings.Cut(text.String(), ":")
					want, known := codes[title]
					if got := exitCode(err); !known || got != want {
						t.Errorf("%s %+v strict %t: it says %q and exits with %d (%v)", verdict, counts, strict, title, got, err)
					}
					if strict && verdict == audit.VerdictClean && counts != (audit.Counts{}) && title != notStrict {
						t.Errorf("%+v is strictly %q", counts, title)
					}
				}
			}
		}
	}
	if exitCode(errors.New("x")) != ExitFailed {
		t.Error("an error without a code is no failure")
	}
}
