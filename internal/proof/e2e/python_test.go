package e2e

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// examples/python-worker delivers through the sidecar's Emit. ACKMARK_PYTHON names an interpreter
// with its requirements.txt.
func TestPythonWorker(t *testing.T) {
	t.Parallel()
	python := cmp.Or(os.Getenv("ACKMARK_PYTHON"), "python3")
	if out, err := exec.Command(python, "-c", "import grpc, grpc_tools").CombinedOutput(); err != nil {
		t.Skipf("%s has no grpcio and grpcio-tools (%v %s): pip install -r examples/python-worker/requirements.txt in a virtual environment"+
			" and set ACKMARK_PYTHON to its interpreter", python, err, strings.TrimSpace(string(out)))
	}
	s := newScenario(t, brokers(t))
	worker, err := filepath.Abs(filepath.Join("..", "..", "..", "examples", "python-worker", "worker.py"))
	if err != nil {
		t.Fatal(err)
	}
	sidecar := s.sidecar()
	script := `for i in $(seq 100); do echo "line $i"; done | "$@"`
	w := s.start("worker", "/bin/sh", s.env(nil), "-c", script, "sh", python, worker)
	s.exits(w, 0)
	t.Logf("%s", tail(w, 1))
	seen := map[string]bool{}
	s.readAll(s.output, func(r *kgo.Record) {
		if string(r.Value) != strings.ToUpper(string(r.Key)) {
			t.Errorf("key %q, value %q", r.Key, r.Value)
		}
		seen[string(r.Key)] = true
	})
	if len(seen) != 100 || s.count() != 100 {
		t.Errorf("%d different lines in %d outputs", len(seen), s.count())
	}
	s.terminate(sidecar)
	w = s.start("worker-missing", python, s.env(map[string]string{"OUTPUT": ""}), worker)
	s.exits(w, 1)
	if text := tail(w, 1); !strings.Contains(text, "OUTPUT is not set") {
		t.Errorf("without OUTPUT it says: %s", text)
	}
}
