// Package operate_test holds what is in deploy/prometheus and deploy/grafana to the code and to the
// docs, and runs it in a real Prometheus beside a running sidecar.
package operate_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/ackmark/ackmark/internal/telemetry"
)

const (
	deploy  = "../../../deploy/"
	rules   = deploy + "prometheus/ackmark.rules.yaml"
	runbook = "https://github.com/ackmark/ackmark/blob/main/docs/operations.md#"
)

// rule is an alert, or a recording rule.
type rule struct {
	Alert       string
	Record      string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func readRules(t *testing.T) (all []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	parse(t, rules, &file)
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 20 {
		t.Fatalf("only %d rules", len(all))
	}
	return all
}

func alerts(t *testing.T) []rule {
	return slices.DeleteFunc(readRules(t), func(r rule) bool { return r.Alert == "" })
}

func parse(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, path)), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Each alert links to its section in docs/operations.md, which says what it means, where to look
// first and what helps; no section is left over.
func TestEveryAlertHasARunbook(t *testing.T) {
	sections := map[string]string{}
	for _, s := range strings.Split(read(t, "../../../docs/operations.md"), "\n### ")[1:] {
		name, text, _ := strings.Cut(s, "\n")
		text, _, _ = strings.Cut(text, "\n## ")
		sections[name] = text
	}
	names := map[string]bool{}
	for _, r := range alerts(t) {
		names[r.Alert] = true
		if want := runbook + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] != "page" && r.Labels["severity"] != "ticket" {
			t.Errorf("%s: it needs a summary, a description and a severity of page or ticket", r.Alert)
		}
		for _, part := range []string{"**Meaning.** ", "**First look.** ", "**Remedy.** "} {
			if !strings.Contains(sections[r.Alert], part) {
				t.Errorf("docs/operations.md: the section %q lacks %q", "### "+r.Alert, part)
			}
		}
	}
	for name := range sections {
		if strings.HasPrefix(name, "Ackmark") && !names[name] {
			t.Errorf("docs/operations.md: there is no alert %s", name)
		}
	}
	letters := alerts(t)[slices.IndexFunc(alerts(t), func(r rule) bool { return r.Alert == "AckmarkDeadLetters" })]
	if !strings.Contains(letters.Annotations["description"], "ackmark dlq ls --brokers BROKERS --topic {{ $labels.messaging_destination_name }}") {
		t.Error("AckmarkDeadLetters lacks the command that shows the letters")
	}
}

// Each alert has unit tests: it is quiet before, fires on its fault, and resolves.
func TestEveryAlertHasUnitTests(t *testing.T) {
	var file struct {
		Tests []struct {
			Checks []struct {
				Alert  string `yaml:"alertname"`
				Expect []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	parse(t, deploy+"prometheus/ackmark.test.yaml", &file)
	type seen struct{ quiet, fires, resolves bool }
	of := map[string]*seen{}
	for _, test := range file.Tests {
		fired := map[string]bool{}
		for _, c := range test.Checks {
			s := of[c.Alert]
			if s == nil {
				s = &seen{}
				of[c.Alert] = s
			}
			switch {
			case len(c.Expect) > 0:
				s.fires, fired[c.Alert] = true, true
			case fired[c.Alert]:
				s.resolves = true
			default:
				s.quiet = true
			}
		}
	}
	for _, r := range alerts(t) {
		if s := of[r.Alert]; s == nil || *s != (seen{true, true, true}) {
			t.Errorf("%s: ackmark.test.yaml must check that it is quiet, fires and resolves: %+v", r.Alert, s)
		}
	}
}

func TestPromtoolPasses(t *testing.T) {
	promtool := tool(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "ackmark.rules.yaml"}, {"test", "rules", "ackmark.test.yaml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = deploy + "prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// tool finds a program of Debian's package prometheus.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: apt-get install prometheus", name)
	}
	return path
}

// queries are the expressions of the dashboard, by panel.
func queries(t *testing.T) map[string][]string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, deploy+"grafana/ackmark.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			all[p.Title] = append(all[p.Title], target.Expr)
		}
	}
	if len(all) < 20 {
		t.Fatalf("only %d panels", len(all))
	}
	return all
}

// byHand are for who asks something that neither the dashboard nor a rule does: parts and bounds of
// what is there, and counts beside one that is.
var byHand = []*telemetry.Metric{
	telemetry.Dropped, telemetry.Outstanding, telemetry.OutstandingSize, telemetry.OutstandingLimit, telemetry.OutstandingSizeLimit, telemetry.QueueSize,
	telemetry.Connects, telemetry.CreditWaits, telemetry.Streams, telemetry.FallbackSwitches, telemetry.Reloads, telemetry.Done, telemetry.Inherited, telemetry.ConsumerWills, telemetry.Unfollowed,
}

// Every metric that a rule or the dashboard uses is in the table of package telemetry, and has the
// labels that they ask for; every other metric of the table is one of those for who asks by hand.
func TestRulesAndDashboardUseTheTable(t *testing.T) {
	labels := map[string][]string{"up": nil} // Prometheus's own
	for _, m := range telemetry.Metrics {
		var of []string
		for _, key := range m.Attributes {
			of = append(of, strings.ReplaceAll(string(key), ".", "_"))
		}
		name := m.InPrometheus()
		if m.Kind == telemetry.Histogram {
			labels[name+"_bucket"], labels[name+"_sum"], labels[name+"_count"] = append(of, "le"), of, of
			continue
		}
		labels[name] = of
	}
	for _, r := range readRules(t) {
		if r.Record != "" {
			labels[r.Record] = metricLabels(labels, r.Expr)
		}
	}
	where := map[string][]string{}
	for _, r := range readRules(t) {
		where[r.Alert+r.Record] = []string{r.Expr}
	}
	for title, exprs := range queries(t) {
		where["panel "+title] = exprs
	}
	looked := map[string]bool{}
	for place, exprs := range where {
		for _, expr := range exprs {
			used := metricsOf(expr)
			for _, name := range used {
				for _, ending := range []string{"_bucket", "_sum", "_count"} {
					name = strings.TrimSuffix(name, ending)
				}
				looked[name] = true
			}
			if len(used) == 0 {
				t.Errorf("%s: no metric in %s", place, expr)
			}
			for _, name := range used {
				if _, known := labels[name]; !known {
					t.Errorf("%s: metric %s is not in the table of internal/telemetry", place, name)
				}
			}
			for _, label := range labelsOf(expr) {
				if !slices.ContainsFunc(used, func(name string) bool { return slices.Contains(labels[name], label) }) {
					t.Errorf("%s: none of %v has the label %s", place, used, label)
				}
			}
		}
	}
	for _, m := range telemetry.Metrics {
		if name := m.InPrometheus(); looked[name] == slices.Contains(byHand, m) {
			t.Errorf("%s: looked at by a rule or the dashboard: %t, for who asks by hand: %t", name, looked[name], slices.Contains(byHand, m))
		}
	}
}

// What a client counts on its way to a sidecar the sidecar counts again, under the app's name.
// Whoever sums it over both tells the two apart by that name, or leaves the client's route out.
func TestNoQueryCountsARecordTwice(t *testing.T) {
	twice := map[string]bool{}
	for _, m := range telemetry.Metrics {
		if name := m.InPrometheus(); slices.Contains(m.Attributes, telemetry.Route) {
			twice[name], twice[name+"_bucket"], twice[name+"_sum"], twice[name+"_count"] = true, true, true, true
		}
	}
	where := map[string][]string{}
	for _, r := range readRules(t) {
		where[r.Alert+r.Record] = []string{r.Expr}
	}
	for title, exprs := range queries(t) {
		where["panel "+title] = exprs
	}
	found := 0
	for place, exprs := range where {
		for _, expr := range exprs {
			for _, sum := range selections.FindAllStringSubmatch(expr, -1) {
				by, name, matcher := sum[1], sum[2], sum[3]
				if !twice[name] {
					continue
				}
				found++
				if !strings.Contains(by, "ackmark_app") && !strings.Contains(matcher, "ackmark_route") {
					t.Errorf("%s counts records twice where a job has app and sidecar: %s", place, sum[0])
				}
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d places count records", found)
	}
}

// selections finds what is summed: by which labels, which metric, with which matchers.
var selections = regexp.MustCompile(`sum\s*(by \([^)]*\))?\s*\((?:rate|increase)\((\w+)(\{[^}]*\})?\[`)

// metricLabels are those of all metrics in an expression.
func metricLabels(labels map[string][]string, expr string) (all []string) {
	for _, name := range metricsOf(expr) {
		all = append(all, labels[name]...)
	}
	return all
}

var (
	comments  = regexp.MustCompile(`#[^\n]*`)
	strs      = regexp.MustCompile(`"[^"]*"`)
	matchers  = regexp.MustCompile(`\{([^}]*)\}`)
	groupings = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)`)
	ranges    = regexp.MustCompile(`\[[^\]]*\]|\boffset\s+\S+`)
	words     = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*\s*\(?`)
	operators = []string{"and", "or", "unless", "bool", "le"}
)

// metricsOf finds the names of metrics in an expression: every word that is no function, operator
// or label.
func metricsOf(expr string) (all []string) {
	for _, re := range []*regexp.Regexp{comments, strs, matchers, groupings, ranges} {
		expr = re.ReplaceAllString(expr, " ")
	}
	for _, word := range words.FindAllString(expr, -1) {
		word = strings.TrimSpace(word)
		if !strings.HasSuffix(word, "(") && !slices.Contains(operators, word) {
			all = append(all, word)
		}
	}
	return all
}

// labelsOf finds the labels that an expression asks for, but those that Prometheus sets.
func labelsOf(expr string) (all []string) {
	expr = strs.ReplaceAllString(expr, "")
	var lists []string
	for _, re := range []*regexp.Regexp{matchers, groupings} {
		for _, m := range re.FindAllStringSubmatch(expr, -1) {
			lists = append(lists, m[1])
		}
	}
	for _, list := range lists {
		for _, label := range strings.Split(list, ",") {
			label = strings.TrimRight(strings.TrimSpace(label), "=~!")
			if label != "" && label != "job" && label != "instance" {
				all = append(all, label)
			}
		}
	}
	return all
}
