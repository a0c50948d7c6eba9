package operate_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A real Prometheus scrapes "ackmark demo --page", as a newcomer runs it. The wills of the
// processes that it kills are counted; while all of it stands still the alert on an absent sidecar
// fires, and it resolves when the demo goes on.
func TestPrometheusOnARunningDemo(t *testing.T) {
	tool(t, "prometheus")
	if testing.Short() {
		t.Skip("a minute: the demo's show has to play")
	}
	binary := filepath.Join(t.TempDir(), "ackmark")
	if out, err := exec.Command("go", "build", "-o", binary, "../../../cmd/ackmark").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(binary, "demo", "--page", "--kills", "40", "--records", "200000") // longer than this test
	cmd.Env = append(os.Environ(), "DISPLAY=", "WAYLAND_DISPLAY=")                        // and no browser
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all := func(s syscall.Signal) {
		for _, pid := range append(children(t, cmd.Process.Pid), cmd.Process.Pid) {
			_ = syscall.Kill(pid, s)
		}
	}
	lines, page := []string{}, make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			lines = append(lines, scan.Text())
			if _, address, ok := strings.Cut(scan.Text(), "http://"); ok {
				select {
				case page <- strings.Trim(address, "/ "):
				default:
				}
			}
		}
		close(page)
	}()
	t.Cleanup(func() {
		all(syscall.SIGKILL)
		<-read
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the demo:\n%s", strings.Join(lines, "\n"))
		}
	})
	address, ok := <-page
	if !ok {
		t.Fatal("the demo told no address of its page")
	}
	p := startPrometheus(t, map[string]string{"pod": address})
	await := func(what, query string) {
		t.Helper()
		p.await(what, func() bool {
			n, err := p.count(query)
			return err == nil && n > 0
		})
	}
	await("the demo's sessions", `sum(ackmark_sidecar_sessions{job="pod", ackmark_state="attached"}) > 0`)
	await("wills of killed processes", `sum(ackmark_sidecar_wills_total{job="pod"}) > 0`)
	p.answers(t, ofWills.MatchString)
	all(syscall.SIGSTOP)
	p.awaitAll(true, "AckmarkSidecarAbsent")
	all(syscall.SIGCONT)
	p.awaitAll(false, "AckmarkSidecarAbsent")
	await("more inputs after the fault", `sum(rate(messaging_client_sent_messages_total{job="pod"}[3s])) > 0`)
}

// children are the processes that a process has started. It starts none while this looks, or those
// are missed.
func children(t *testing.T, parent int) (pids []int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		_, behind, _ := strings.Cut(string(stat), ") ") // behind its name: state, parent
		if f := strings.Fields(behind); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
