package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/internal/proof/atonce"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// together is how many of these tests run at once: they wait for timeouts and brokers most of their
// time.
const together = 3

func TestMain(m *testing.M) {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role)) // this process is one of a test's apps
	}
	atonce.Tests(together)
	goleak.VerifyTestMain(binaries{kafkatest.Main{M: m}})
}

// brokers are shared by all scenarios.
func brokers(t *testing.T) *kafkatest.Cluster {
	t.Helper()
	return kafkatest.Shared(t, kafkatest.Config{Brokers: 3})
}

// binaries removes what build made when the tests have run.
type binaries struct{ kafkatest.Main }

func (b binaries) Run() int {
	defer func() {
		if built.dir != "" {
			_ = os.RemoveAll(built.dir)
		}
	}()
	return b.Main.Run()
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// build compiles the programs under test, once per run, and returns the path of one.
func build(t *testing.T, program string) string {
	t.Helper()
	built.once.Do(func() { built.err = buildAll() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, program)
}

func buildAll() (err error) {
	if built.dir, err = os.MkdirTemp("", "ackmark-e2e-bin-*"); err != nil {
		return err
	}
	root, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		return err
	}
	// `go test` caches a result by the files that the test opened. The programs are not imported
	// here, so their sources are opened by hand: a change in them must run these tests again.
	for _, dir := range []string{"cmd", "examples", "sidecar"} {
		if err := filepath.WalkDir(filepath.Join(root, dir), touch); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", built.dir+string(os.PathSeparator), "./cmd/ackmark", "./examples/uppercase",
		"./examples/migrate-franz/before", "./examples/migrate-franz/after")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

func touch(path string, d fs.DirEntry, err error) error {
	if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}
