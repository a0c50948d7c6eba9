package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// A command that has only commands below it names them, and the nearest.
func TestAnUnknownSubcommandIsAnswered(t *testing.T) {
	parent := &cobra.Command{Use: "get", Args: noArgs}
	for _, name := range []string{"sessions", "partitions"} {
		parent.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	for arg, want := range map[string]string{
		"partition": `get has no "partition", but partitions, sessions; did you mean partitions?`, "xyz": `get has no "xyz", but partitions, sessions`,
	} {
		if err := noArgs(parent, []string{arg}); err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := noArgs(parent.Commands()[0], []string{"x"}); err == nil || !strings.Contains(err.Error(), "takes no arguments") {
		t.Error(err)
	}
}

// Pages keep what is aligned, and have the exit codes.
func TestManPagesKeepTables(t *testing.T) {
	dir := t.TempDir()
	root := &cobra.Command{Use: "ackmark"}
	lag := &cobra.Command{Use: "lag", Long: "Reads offsets.\n\n  stalled   nothing\n  ok        well\n\nMore.", Run: func(*cobra.Command, []string) {}}
	man := NewManCommand()
	root.AddCommand(lag, man)
	root.SetArgs([]string{"man", dir})
	root.SetOut(io.Discard)
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "ackmark-lag.1"))
	if err != nil {
		t.Fatal(err)
	}
	page := strings.ReplaceAll(string(text), `\-`, "-")
	for _, want := range []string{".EX\n  stalled   nothing\n  ok        well\n.EE", "Exit codes:\n", "    1  growing or stalled\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in\n%s", want, page)
		}
	}
}

// Sizes are in units, and one is one.
func TestStatusReadsWell(t *testing.T) {
	var table strings.Builder
	err := printStatus(&table, &sidecarpb.StatusResponse{
		Queue: &sidecarpb.QueueStatus{Bytes: 212, LimitBytes: 64 << 20, LimitRecords: 5}, Sessions: []*sidecarpb.SessionStatus{{App: "a"}}, BrokerConnections: 3,
	})
	if err != nil || !strings.Contains(table.String(), "0 of 5 records, 212 B of 64.0 MiB") || !strings.Contains(table.String(), "3 to brokers, for 1 session\n") {
		t.Errorf("%v:\n%s", err, table.String())
	}
}
