package wire_test

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"google.golang.org/grpc/codes"

	"github.com/ackmark/ackmark/internal/wire"
)

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// kafka finds Kafka's error of a name.
func kafka(name string) *kerr.Error {
	for n := int16(1); n < 1000; n++ {
		if ke, ok := errors.AsType[*kerr.Error](kerr.ErrorForCode(n)); ok && ke.Code == n && ke.Message == name {
			return ke
		}
	}
	return nil
}

var capitals = regexp.MustCompile(`\b[A-Z][A-Z_]{2,}[A-Z]\b`)

// What the wire contract calls a code is one in the table, or Kafka's; and each that a sidecar says
// is named there.
func TestTheContractNamesEveryCode(t *testing.T) {
	named := map[string]bool{}
	for line := range strings.Lines(read(t, "../../sidecar/sidecarpb/ackmark/sidecar/v1/sidecar.proto")) {
		if _, comment, ok := strings.Cut(line, "//"); ok {
			for _, word := range capitals.FindAllString(comment, -1) {
				named[word] = true
			}
		}
	}
	other := []string{"CLOCK_BOOTTIME", "WAIT_ACKED", "WAIT_QUEUED", "RESOURCE_EXHAUSTED", "GROUP_PROTOCOL_CONSUMER"}
	for word := range named {
		var status codes.Code
		switch {
		case slices.Contains(other, word), kafka(word) != nil, status.UnmarshalJSON(fmt.Appendf(nil, "%q", word)) == nil:
		case !wire.CodeOf(word).Contract:
			t.Errorf("sidecar.proto names %s, which no sidecar says by the table in codes.go", word)
		}
	}
	for _, c := range wire.Codes() {
		if c.Contract && !named[c.Name] {
			t.Errorf("sidecar.proto does not name %s: add it to the comment of Error.code", c.Name)
		}
	}
}

// docs/errors.md shows the table, row for row.
func TestTheDocsShowEveryCode(t *testing.T) {
	shown := []string{}
	for line := range strings.Lines(read(t, "../../docs/errors.md")) {
		if strings.HasPrefix(line, "| `") {
			shown = append(shown, strings.TrimSpace(line))
		}
	}
	var want []string
	for _, c := range wire.Codes() {
		again := "no"
		if c.Retryable {
			again = "yes"
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s | %s | %s |", c.Name, c.Meaning, again, c.Blame, c.Remedy))
	}
	if !slices.Equal(shown, want) {
		t.Errorf("docs/errors.md is not the table of codes.go; its rows should be\n%s", strings.Join(want, "\n"))
	}
}

// Every code of Ackmark's own has a name in Go, here and for callers. Two are told by the status of
// a call, which package producer turns into an error of its own.
func TestEveryCodeHasAName(t *testing.T) {
	consts := regexp.MustCompile(`(?m)^\t(Code\w+) += "([A-Z_]+)"$`).FindAllStringSubmatch(read(t, "codes.go"), -1)
	exported := read(t, "../../producer/errors.go")
	names := map[string]bool{}
	for _, c := range consts {
		names[c[2]] = true
		if inCalls := c[2] == wire.CodeMemberHeld || c[2] == wire.CodeGroupNotAllowed; !inCalls && !strings.Contains(exported, "\t"+c[1]+" = wire."+c[1]+"\n") {
			t.Errorf("producer does not export %s", c[1])
		}
	}
	for _, c := range wire.Codes() {
		if c.Meaning == "" || c.Remedy == "" {
			t.Errorf("%s: what does it mean, and what is to be done?", c.Name)
		}
		if kafka(c.Name) == nil && !names[c.Name] {
			t.Errorf("%s is neither Kafka's nor named by a constant", c.Name)
		}
		delete(names, c.Name)
	}
	for name := range names {
		t.Errorf("%s is not in the table", name)
	}
	if len(consts) < 10 {
		t.Errorf("only %d constants found", len(consts))
	}
}

// Where the table differs from Kafka's word on what may succeed later, it does so on purpose.
func TestWhereTheTableDiffersFromKafka(t *testing.T) {
	var differ []string
	for _, c := range wire.Codes() {
		if ke := kafka(c.Name); ke != nil && ke.Retriable != c.Retryable {
			differ = append(differ, c.Name)
		}
	}
	slices.Sort(differ)
	want := []string{"INVALID_PRODUCER_EPOCH", "INVALID_PRODUCER_ID_MAPPING", "OUT_OF_ORDER_SEQUENCE_NUMBER", "UNKNOWN_PRODUCER_ID", "UNKNOWN_TOPIC_ID", "UNKNOWN_TOPIC_OR_PARTITION"}
	if !slices.Equal(differ, want) {
		t.Errorf("%v differ from Kafka's word, want %v", differ, want)
	}
}

// A sidecar of the release before said RESOURCE_EXHAUSTED for FULL.
func TestFormerCodes(t *testing.T) {
	if got := wire.CurrentCode("RESOURCE_EXHAUSTED"); got != wire.CodeFull {
		t.Error(got)
	}
	if got := wire.CurrentCode("MESSAGE_TOO_LARGE"); got != "MESSAGE_TOO_LARGE" {
		t.Error(got)
	}
}
