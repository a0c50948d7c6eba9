package layouttest

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// proof is what only tests, cmd and helpers of tests may import.
var proof = []string{"internal/proof", "internal/layouttest", "internal/exampletest"}

// core stands for internal/ without proof.
const core = "internal core"

// imports is the graph: from a directory (and what lies below it, unless that has a line of its
// own) to what its code may import of this module. In one line: cmd → {sidecar, pipeline, …} →
// internal; pipeline → {consumer, producer}; never consumer ↔ producer, never pipeline → sidecar,
// never sidecar → producer.
var imports = map[string][]string{
	".":                        {},
	"admin":                    {core},
	"consumer":                 {"consumer", core},
	"producer":                 {"producer", "sidecar/sidecarpb", core},
	"pipeline":                 {"pipeline", "consumer", "producer", core},
	"pipeline/pipelinetest":    {"pipeline", "consumer", "producer", "sidecar", core, "internal/proof/lab"},
	"sidecar":                  {"sidecar", core},
	"sidecar/sidecarpb":        {},
	"internal":                 {core, "sidecar/sidecarpb"},
	"internal/ackmark":         {},
	"internal/budget":          {},
	"internal/childproc":       {},
	"internal/proof/figures":   {},
	"internal/proof/judge":     {"internal/sentinel"},
	"internal/proof/lab":       {"consumer", "producer", "pipeline", "sidecar", "internal"},
	"internal/proof/verify":    {"consumer", "producer", "pipeline", "sidecar", "internal"},
	"internal/proof/kafkatest": {"internal"},
	"internal/proof/chaos":     {"consumer", "producer", "pipeline", "sidecar", "internal", "internal/proof/verify", "internal/proof/kafkatest"},
	// Users cannot import internal packages: an example that does is no example.
	"examples": {"admin", "consumer", "producer", "pipeline", "sidecar"},
	"cmd":      {"admin", "consumer", "producer", "pipeline", "sidecar", "internal", "cmd"},
}

func TestImportsGoOneWay(t *testing.T) {
	for _, f := range allFiles(t) {
		rule := ruleFor(f.dir)
		allowed, ok := imports[rule]
		if !ok {
			t.Errorf("%s: no import rule for directory %s: add one to imports_test.go", f.path, f.dir)
			continue
		}
		for _, to := range repoImports(f) {
			switch {
			case within(to, "cmd") && !within(f.dir, "cmd"):
				t.Errorf("%s imports %s: nothing but cmd may import cmd", f.path, to)
			case f.testOnly() || to == f.dir || to == "." && rule != "internal/ackmark": // the root has the error that all share, and imports nothing
			case !permits(allowed, to):
				t.Errorf("%s imports %s: code below %s may import only %v of this module", f.path, to, rule, allowed)
			}
		}
	}
}

// The proof is about the code, so the code may not lean on it.
func TestOnlyTestsAndCommandsUseTheProof(t *testing.T) {
	for _, f := range allFiles(t) {
		if f.testOnly() || within(f.dir, "cmd") || slices.ContainsFunc(proof, func(p string) bool { return within(f.dir, p) }) {
			continue
		}
		for _, to := range repoImports(f) {
			if slices.ContainsFunc(proof, func(p string) bool { return within(to, p) }) {
				t.Errorf("%s imports %s, which is for tests and cmd", f.path, to)
			}
		}
	}
}

// OpenTelemetry's SDK, with its exporters, is the choice of a process: a library that brings its
// own measures into a provider that nobody asked for.
func TestOnlyProcessesChooseWhereMetricsGo(t *testing.T) {
	for _, f := range allFiles(t) {
		if f.testOnly() || within(f.dir, "cmd") || within(f.dir, "admin") || within(f.dir, "examples") || within(f.dir, "internal/proof") || within(f.dir, "internal/telemetry/exporter") {
			continue
		}
		for _, to := range allImports(f) {
			_, otel, _ := strings.Cut(to, "go.opentelemetry.io/")
			if strings.HasPrefix(otel, "otel/sdk") || strings.HasPrefix(otel, "otel/exporters") || strings.HasPrefix(otel, "contrib") || strings.HasPrefix(to, "github.com/prometheus/") {
				t.Errorf("%s imports %s: libraries use OpenTelemetry's API only", f.path, to)
			}
			if to == module+"/internal/telemetry/exporter" {
				t.Errorf("%s imports %s: only cmd and admin may", f.path, to)
			}
		}
	}
}

// The core that everything else is judged by has nothing beneath it, nor has the judge. Their tests
// may use testing libraries.
func TestTheCoreImportsTheStandardLibraryOnly(t *testing.T) {
	for _, f := range allFiles(t) {
		if f.test || !within(f.dir, "internal/ackmark") && !within(f.dir, "internal/budget") && !within(f.dir, "internal/proof/judge") {
			continue
		}
		for _, to := range allImports(f) {
			if first, _, _ := strings.Cut(to, "/"); strings.Contains(first, ".") && to != module+"/internal/sentinel" { // the rules, which the product has, too
				t.Errorf("%s imports %s: standard library only", f.path, to)
			}
		}
	}
}

func TestRulesNameRealDirectories(t *testing.T) {
	dirs := packages(t)
	for rule := range imports {
		if !slices.ContainsFunc(keys(dirs), func(dir string) bool { return within(dir, rule) }) {
			t.Errorf("imports_test.go has a rule for %s, where no Go file is: remove it", rule)
		}
	}
}

// ruleFor finds the rule of the nearest directory upwards. Only the root package itself has the
// rule of ".".
func ruleFor(dir string) string {
	for d := dir; d != "."; d = path.Dir(d) {
		if _, ok := imports[d]; ok {
			return d
		}
	}
	if dir == "." {
		return "."
	}
	return ""
}

func permits(allowed []string, to string) bool {
	for _, a := range allowed {
		if a == core {
			if within(to, "internal") && !slices.ContainsFunc(proof, func(p string) bool { return within(to, p) }) {
				return true
			}
		} else if within(to, a) {
			return true
		}
	}
	return false
}

func within(dir, parent string) bool {
	return parent == "." || dir == parent || strings.HasPrefix(dir, parent+"/")
}

func allImports(f *file) []string {
	var all []string
	for _, spec := range f.syntax.Imports {
		if to, err := strconv.Unquote(spec.Path.Value); err == nil {
			all = append(all, to)
		}
	}
	return all
}

// repoImports are the imports of this module, without its name.
func repoImports(f *file) []string {
	var all []string
	for _, to := range allImports(f) {
		if to == module {
			all = append(all, ".")
		} else if rest, ok := strings.CutPrefix(to, module+"/"); ok {
			all = append(all, rest)
		}
	}
	return all
}

func keys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

// The rules are code: these cases would pass unseen if they were wrong.
func TestTheRulesRefuseWhatTheyShould(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"consumer", "producer", false},
		{"producer", "consumer", false},
		{"producer/producertest", "consumer", false},
		{"producer", "sidecar", false},
		{"producer", "sidecar/sidecarpb", true},
		{"pipeline", "sidecar", false},
		{"pipeline", "consumer", true},
		{"sidecar", "producer", false},
		{"sidecar", "internal/wire", true},
		{"sidecar", "internal/proof/lab", false},
		{"internal/ackmark", "internal/budget", false},
		{"internal/wire", "producer", false},
		{"internal/wire", "sidecar/sidecarpb", true},
		{"internal/wire", "sidecar", false},
		{"internal/proof/lab", "pipeline", true},
		{"examples/uppercase", "internal/wire", false},
		{"examples/uppercase", "pipeline", true},
		{"cmd/ackmark/internal/bench", "internal/devbroker", true},
		{"internal/devbroker", "cmd/ackmark", false},
	} {
		if got := permits(imports[ruleFor(c.from)], c.to); got != c.allowed {
			t.Errorf("%s → %s: allowed is %v", c.from, c.to, got)
		}
	}
}
