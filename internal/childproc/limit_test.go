package childproc

import (
	"os"
	"path/filepath"
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

// eat takes 64 MiB and waits.
func eat() {
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
			l, err := NewLimit(tc.limit, "ackmark-test")
			if err != nil {
				t.Skip(err)
			}
			t.Log(l.Mechanism())
			p := mustStart(t, Spec{Name: "hungry", Path: os.Args[0], Env: []string{roleEnv + "=hungry"}, Limit: l})
			if !tc.killed {
				poll(t, "its memory", func() bool { return l.peak.Load() >= 64<<20 })
				_ = p.Signal(syscall.SIGTERM)
			}
			end := p.End()
			l.Close()
			want := map[bool]syscall.Signal{false: syscall.SIGTERM, true: syscall.SIGKILL}[tc.killed]
			if got := EndedBy(end.Err); got != want || end.AtLimit != tc.killed || end.Killed {
				t.Errorf("it ended by %v (%+v), want %v", got, end, want)
			}
			if l.TakePeak() == 0 || l.TakePeak() != 0 {
				t.Error("the peak is not taken once")
			}
		})
	}
}

// A SIGKILL of ours is not the limit's.
func TestKilledUnderALimit(t *testing.T) {
	l, err := NewLimit(1<<30, "ackmark-test")
	if err != nil {
		t.Skip(err)
	}
	for name, kill := range map[string]func(*Process){"group": (*Process).Kill, "process": func(p *Process) { _ = p.Signal(syscall.SIGKILL) }} {
		p := mustStart(t, Spec{Name: "child", Path: os.Args[0], Env: []string{roleEnv + "=child"}, Task: task{}, Limit: l})
		kill(p)
		if end := p.End(); !end.Killed || end.AtLimit {
			t.Errorf("%s: %+v", name, end)
		}
	}
	l.Close()
}

func TestUsage(t *testing.T) {
	now, err := Resident(os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	if peak := OwnPeakResident(); now <= 0 || peak < now/2 {
		t.Errorf("resident %d, peak %d", now, peak)
	}
	if OwnCPUTime() <= 0 {
		t.Error("no CPU time")
	}
}
