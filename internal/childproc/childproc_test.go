package childproc

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// roleEnv makes the test binary something else than a test.
const roleEnv = "ACKMARK_CHILDPROC_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleEnv); {
	case role == "child":
		os.Exit(child())
	case role == "hungry":
		eat()
	case role != "":
		parent(role)
	}
	goleak.VerifyTestMain(m)
}

// task is what the tests' child is to do.
type task struct {
	Say  string
	Exit int
	Deaf bool // to SIGTERM and orders to end
}

// report is what it tells.
type report struct{ Said string }

// child does its task and repeats every order until it is told to end.
func child() int {
	var todo task
	p, err := Attach(os.Stdin, os.Stdout, &todo, "go test")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(os.Stderr, "log of", todo.Say)
	p.Tell(report{todo.Say})
	ctx, stop := p.Obey(context.Background(), func(order string) { p.Tell(report{order}) })
	defer stop()
	if todo.Deaf {
		select {}
	}
	<-ctx.Done()
	return todo.Exit
}

// parent has children of every kind, prints them, and waits to be killed.
func parent(dir string) {
	if err := RemoveAtDeath(filepath.Join(dir, "data")); err != nil {
		panic(err)
	}
	for i := range 2 {
		// A grandchild shows that the whole group goes.
		startAndPrint(Spec{Name: "guarded", Path: "/bin/sh", Args: []string{"-c", "sleep 300 & echo $!; wait"}, Log: filepath.Join(dir, "log"), Guard: true})
		startAndPrint(Spec{Name: "told", Path: os.Args[0], Env: []string{roleEnv + "=child"}, Task: task{}, Guard: i == 1})
	}
	fmt.Println("ready")
	select {}
}

func startAndPrint(spec Spec) {
	p, err := Start(spec)
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Pid())
}

func TestKilledParentLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+dir)
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
	if len(pids) != 6 {
		t.Fatalf("the parent reported %q", pids)
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

func mustStart(t *testing.T, spec Spec) *Process {
	t.Helper()
	p, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// Programs that are not ours: exit codes, logs, signals.
func TestProcess(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	run := func(script string) *Process {
		return mustStart(t, Spec{Name: "child", Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"GREETING=hello"}, Log: log, Guard: true})
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if code, err := run("echo $GREETING; exit 3").Wait(ctx); code != 3 || err != nil {
		t.Fatalf("exit code %d, %v", code, err)
	}
	if data, _ := os.ReadFile(log); string(data) != "hello\n" {
		t.Fatalf("log %q", data)
	}
	p := run(`trap "exit 0" TERM; echo up; while :; do sleep 0.01; done`)
	poll(t, "the trap", func() bool { return p.Tail(1)[0] == "up" })
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Wait(ctx); code != 0 || err != nil {
		t.Fatalf("after SIGTERM: exit code %d, %v", code, err)
	}
	p = run("sleep 300")
	p.Kill()
	p.Kill()
	if code, _ := p.Wait(ctx); code != -1 || p.Running() {
		t.Fatalf("after Kill: exit code %d, %s", code, p.State())
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("signal to the dead: %v", err)
	}
	if _, err := Start(Spec{Name: "nothing", Path: "/nowhere/x"}); err == nil || !strings.HasPrefix(err.Error(), "start nothing: ") {
		t.Errorf("a program that is not there: %v", err)
	}
}

// Programs of ours: they get a task and orders, tell lines of JSON, and end when they are asked to.
func TestChildWithATask(t *testing.T) {
	for name, c := range map[string]struct {
		task  task
		order string // that ends it
		guard bool
		says  string // the error of Stop
	}{
		"by a signal":         {task{Say: "hello"}, "", false, ""},
		"guarded":             {task{Say: "hello"}, "", true, ""},
		"by a line":           {task{Say: "hello"}, orderEnd, false, ""},
		"with another code":   {task{Say: "hello", Exit: 3}, "", false, "c ended with exit status 3 at SIGTERM"},
		"not at all":          {task{Say: "hello", Deaf: true}, orderEnd, false, "c did not end within 100ms of end and was killed"},
		"not by a signal":     {task{Say: "hello", Deaf: true}, "", false, "c did not end within 100ms of SIGTERM and was killed"},
		"guarded, not at all": {task{Say: "hello", Deaf: true}, orderEnd, true, "c did not end within 100ms of end and was killed"},
	} {
		t.Run(name, func(t *testing.T) {
			heard := make(chan string, 4)
			p := mustStart(t, Spec{
				Name: "c", Path: os.Args[0], Env: []string{roleEnv + "=child"}, Task: c.task, EndOrder: c.order, Guard: c.guard,
				Hear: func(line []byte) { heard <- string(line) },
			})
			if got := <-heard; got != `{"Said":"hello"}` {
				t.Fatalf("heard %q", got)
			}
			p.Say("again")
			if got := <-heard; got != `{"Said":"again"}` {
				t.Errorf("heard %q", got)
			}
			timeout := 10 * time.Second
			if c.task.Deaf {
				timeout = 100 * time.Millisecond
			}
			if err := p.Stop(timeout); (err == nil) != (c.says == "") || err != nil && err.Error() != c.says {
				t.Errorf("it ended with %v, want %q", err, c.says)
			}
			if end := p.End(); end.Killed != c.task.Deaf || end.AtLimit {
				t.Errorf("%+v", end)
			}
			if log := p.Tail(1); len(log) != 1 || log[0] != "log of hello" {
				t.Errorf("log %q", log)
			}
		})
	}
}

// A child whose parent is gone ends by itself, where the system does not end it.
func TestChildEndsWhenItsInputDoes(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=child")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	alarm := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer alarm.Stop()
	fmt.Fprintln(in, `{"Deaf":true}`)
	bufio.NewScanner(out).Scan()
	_ = in.Close()
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v, want exit code 1", err)
	}
}

// Who runs a child's command by hand is told what it is.
func TestAttachAlone(t *testing.T) {
	if _, err := Attach(strings.NewReader(""), nil, new(task), "ackmark demo"); err == nil || !strings.Contains(err.Error(), "run `ackmark demo`") {
		t.Error(err)
	}
	if _, err := Attach(strings.NewReader("x\n"), nil, new(task), "ackmark demo"); err == nil || !strings.Contains(err.Error(), "ackmark demo") {
		t.Error(err)
	}
}

// What this process uses is seen by its id as by itself.
func TestCPUTime(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	for n := 1; OwnCPUTime() < 50*time.Millisecond; n++ {
		_ = strings.Repeat("busy", n) // until there is something to see
	}
	own := OwnCPUTime()
	cpu, err := CPUTime(os.Getpid())
	if after := OwnCPUTime(); err != nil || cpu < own-3*cpuStep || cpu > after+3*cpuStep {
		t.Errorf("%v, %v; it says %v to %v itself", cpu, err, own, after)
	}
	if _, err := CPUTime(-1); err == nil {
		t.Error("a time of nobody")
	}
}
