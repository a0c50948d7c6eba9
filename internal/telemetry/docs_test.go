package telemetry

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// docs/metrics.md shows the table, row for row.
func TestTheDocsShowEveryMetric(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var shown, want []string
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| `messaging_") || strings.HasPrefix(line, "| `ackmark_") {
			shown = append(shown, strings.TrimSpace(line))
		}
	}
	for _, m := range Metrics {
		var labels []string
		for _, key := range m.Attributes {
			labels = append(labels, "`"+strings.ReplaceAll(string(key), ".", "_")+"`")
		}
		want = append(want, fmt.Sprintf("| `%s` | %s | %s | %s |", m.InPrometheus(), m.Kind, strings.TrimSuffix(m.Help, "."), strings.Join(labels, ", ")))
	}
	if !slices.Equal(shown, want) {
		t.Errorf("docs/metrics.md is not the table of package telemetry; its rows should be\n%s", strings.Join(want, "\n"))
	}
}
