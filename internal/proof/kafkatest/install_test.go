package kafkatest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestPomHasVersion(t *testing.T) {
	for name, list := range map[string]string{"pom.xml": pom, "tools.xml": toolsPom} {
		if !strings.Contains(list, "<version>"+Version+"</version>") {
			t.Errorf("testdata/%s does not name Kafka %s", name, Version)
		}
	}
}

// Several processes come for the jars at once: one fetches them, all get the same whole directory.
func TestJarsAreFetchedOnce(t *testing.T) {
	cache := t.TempDir()
	var calls atomic.Int32
	maven := func(_ context.Context, dir string) error {
		calls.Add(1)
		if err := os.Mkdir(filepath.Join(dir, "libs"), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "libs", "kafka.jar"), nil, 0o644)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			libs, err := fetchJars(t.Context(), cache, "kafka", pom, maven)
			if err != nil {
				t.Error(err)
			} else if _, err := os.Stat(filepath.Join(libs, "kafka.jar")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := calls.Load(); n != 1 {
		t.Fatalf("fetched %d times", n)
	}
}

func TestFailedFetchLeavesNothing(t *testing.T) {
	cache := t.TempDir()
	failing := func(context.Context, string) error { return missing("no network") }
	if _, err := fetchJars(t.Context(), cache, "kafka", pom, failing); !errors.Is(err, errMissing) {
		t.Fatalf("error %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "download-*")); len(left) > 0 {
		t.Fatalf("left behind: %v", left)
	}
	if _, err := os.Stat(filepath.Join(cache, "kafka")); err == nil {
		t.Fatal("a failed fetch left a cache")
	}
}

func TestMissingJavaSaysWhatToInstall(t *testing.T) {
	t.Setenv("JAVA_HOME", "")
	t.Setenv("PATH", t.TempDir())
	_, err := findJava(t.Context())
	if !errors.Is(err, errMissing) || !strings.Contains(err.Error(), "Install a Java runtime") {
		t.Fatalf("error %v", err)
	}
	if err := runMaven(t.Context(), t.TempDir()); !errors.Is(err, errMissing) || !strings.Contains(err.Error(), "apt-get install maven") {
		t.Fatalf("error %v", err)
	}
}

// A reserved port stays reserved while nothing listens on it, and can be listened on.
func TestReservedPorts(t *testing.T) {
	seen := map[int]bool{}
	for range 64 {
		p, err := reservePort()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.release)
		if seen[p.number] {
			t.Fatalf("port %d was given twice", p.number)
		}
		seen[p.number] = true
	}
}
