package demo

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A cgroup of version 2 is used where it hands memory limits on by itself, and nowhere else.
func TestMemoryCgroup(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		want  string // below sys/fs/cgroup; "": none
	}{
		"own": {map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/cgroup.controllers": "cpu memory\n", "sys/fs/cgroup/a/b/cgroup.subtree_control": "cpu memory\n",
		}, "a/b"},
		"above": {map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/cgroup.controllers": "memory", "sys/fs/cgroup/a/cgroup.subtree_control": "memory",
			"sys/fs/cgroup/a/b/cgroup.subtree_control": "",
		}, "a"},
		"not handed on":       {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cgroup.controllers": "memory", "sys/fs/cgroup/cgroup.subtree_control": "cpu"}, ""},
		"no memory":           {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cgroup.controllers": "cpu", "sys/fs/cgroup/cgroup.subtree_control": "cpu"}, ""},
		"version 1":           {map[string]string{"proc/self/cgroup": "4:memory:/x\n0::/\n"}, ""},
		"a path of elsewhere": {map[string]string{"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/cgroup.controllers": "memory", "sys/fs/cgroup/cgroup.subtree_control": "memory"}, "."},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, content := range tc.files {
				full := filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(full, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := memoryCgroup(root)
			if tc.want == "" {
				if err == nil {
					t.Errorf("found %s", got)
				}
				return
			}
			if want := filepath.Join(root, "sys/fs/cgroup", tc.want); got != want {
				t.Errorf("%q (%v), want %q", got, err, want)
			}
		})
	}
}

// memoryEaterEnv makes the test binary take 64 MiB and wait.
const memoryEaterEnv = "ACKMARK_DEMO_TEST_EATS"

func init() {
	if os.Getenv(memoryEaterEnv) == "" {
		return
	}
	eaten := make([]byte, 64<<20)
	for i := range eaten {
		eaten[i] = 1
	}
	<-time.After(time.Minute)
	os.Exit(int(eaten[0]))
}

// Whoever exceeds the limit is killed, by whichever mechanism this machine has; who does not lives,
// and its peak is known.
func TestLimitKills(t *testing.T) {
	for name, tc := range map[string]struct {
		limit  int64
		killed bool
	}{"below": {256 << 20, false}, "above": {48 << 20, true}} {
		t.Run(name, func(t *testing.T) {
			l, err := newLimiter(tc.limit)
			if err != nil {
				t.Skip(err)
			}
			t.Log(l.mechanism())
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), memoryEaterEnv+"=1")
			done, err := l.prepare(cmd)
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			exited := make(chan struct{})
			l.watch(cmd, exited)
			if !tc.killed {
				for deadline := time.After(30 * time.Second); l.peak.Load() < 64<<20; {
					select {
					case <-deadline:
						t.Fatalf("the peak is %s", mib(l.peak.Load()))
					case <-time.After(10 * time.Millisecond):
					}
				}
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
			err = cmd.Wait()
			close(exited)
			l.wait.Wait()
			done()
			want := map[bool]syscall.Signal{false: syscall.SIGTERM, true: syscall.SIGKILL}[tc.killed]
			if got := killedBy(err); got != want {
				t.Errorf("it ended by %v (%v), want %v", got, err, want)
			}
			if l.takePeak() == 0 || l.takePeak() != 0 {
				t.Error("the peak is not taken once")
			}
		})
	}
}

func TestMemoryOptions(t *testing.T) {
	for want, o := range map[string]Options{
		"--input is not for":                    {MemoryLimit: 256 << 20, Input: "x"},
		"--rate is not for":                     {MemoryLimit: 256 << 20, Rate: 1},
		"--memory-limit is 1048576 bytes; it m": {MemoryLimit: 1 << 20},
	} {
		if _, err := o.prepareMemory(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want an error that starts with %q", err, want)
		}
	}
}

func TestMemoryTable(t *testing.T) {
	r := &memoryResult{
		LimitBytes: 256 << 20, Mechanism: strings.Repeat("a mechanism ", 10), RecordBytes: largeBytes, Processes: 2,
		Leaking: memoryPhase{PeakBytes: 256 << 20, Deaths: 4}, Ackmark: &sideResult{Inputs: 12_345_678, counts: counts{Outputs: 12_345_678}, Kills: 4},
	}
	if err := r.verdict(); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(r.table()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 79 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for want, s := range map[string]sideResult{"lost 1": {Lost: 1}, "2 inputs twice": {counts: counts{Duplicated: 2}}, "left 3": {Unfinished: 3}} {
		r.Ackmark = &s
		if err := r.verdict(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
