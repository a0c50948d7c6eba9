package proc_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/internal/proof/kafkatest/proc"
)

// The test binary runs itself with this set: it starts a child, prints what it has, and waits to be
// killed.
const victimEnv = "ACKMARK_PROC_TEST_VICTIM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimEnv); dir != "" {
		victim(dir)
	}
	goleak.VerifyTestMain(m)
}

func victim(dir string) {
	if err := proc.RemoveAtDeath(filepath.Join(dir, "data")); err != nil {
		panic(err)
	}
	for range 2 {
		// A grandchild shows that the whole group goes.
		p, err := proc.Start(proc.Spec{Name: "sleeper", Path: "/bin/sh", Args: []string{"-c", "sleep 300 & echo $!; wait"}, Log: filepath.Join(dir, "log")})
		if err != nil {
			panic(err)
		}
		fmt.Println(p.Pid())
	}
	fmt.Println("ready")
	select {}
}

func TestKilledTestProcessLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []string
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
		pids = append(pids, lines.Text())
	}
	poll(t, "the grandchildren", func() bool {
		data, _ := os.ReadFile(filepath.Join(dir, "log"))
		return strings.Count(string(data), "\n") == 2
	})
	data, _ := os.ReadFile(filepath.Join(dir, "log"))
	pids = append(pids, strings.Fields(string(data))...)
	if len(pids) != 4 {
		t.Fatalf("victim reported %q", pids)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for _, pid := range pids {
		poll(t, "the end of "+pid, func() bool { return dead(pid) })
	}
	poll(t, "the removal of the data", func() bool {
		_, err := os.Stat(filepath.Join(dir, "data"))
		return os.IsNotExist(err)
	})
}

// dead tells whether a process is gone or a zombie that nobody of ours has to reap.
func dead(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func poll(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s", what)
		}
	}
}

func TestProcess(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	start := func(script string) *proc.Process {
		p, err := proc.Start(proc.Spec{Name: "child", Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"GREETING=hello"}, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		return p
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if code, err := start("echo $GREETING; exit 3").Wait(ctx); code != 3 || err != nil {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if data, _ := os.ReadFile(log); string(data) != "hello\n" {
		t.Fatalf("log %q", data)
	}
	p := start(`trap "exit 0" TERM; echo up; while :; do sleep 0.01; done`)
	poll(t, "the trap", func() bool { data, _ := os.ReadFile(log); return strings.HasSuffix(string(data), "up\n") })
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(ctx); code != 0 || err != nil {
		t.Fatalf("after SIGTERM: exit code %d, %v", code, err)
	}
	p = start("sleep 300")
	p.Kill()
	p.Kill()
	if code, _ := p.Wait(ctx); code != -1 || p.Running() {
		t.Fatalf("after Kill: exit code %d, %s", code, p.State())
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("signal to the dead: %v", err)
	}
}
