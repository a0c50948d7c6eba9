package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
	"github.com/ackmark/ackmark/internal/proof/verify"
	"github.com/ackmark/ackmark/internal/proof/verify/feed"
	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

// In these tests the pod of deploy/kubernetes runs as kubelet would run it.

const (
	appContainer     = "app"
	sidecarContainer = "ackmark"
)

// podOf is a pod whose app works on topics of the test.
func podOf(t *testing.T, dir string, brokers []string, pod podSpec, env ...string) *kubelet {
	t.Helper()
	dir, err := os.MkdirTemp(dir, "pod-*")
	if err != nil {
		t.Fatal(err)
	}
	bin, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	app, side := filepath.Join(dir, "app.bin"), filepath.Join(dir, "ackmark.bin")
	for to, from := range map[string]string{app: bin, side: build(t, "ackmark")} {
		if err := copyProgram(from, to); err != nil {
			t.Fatal(err)
		}
	}
	for at := dir; at != os.TempDir(); at = filepath.Dir(at) { // others than this user pass, too
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	config := strings.Replace(string(deployed(t, "base/sidecar.yaml")), "kafka:9092", strings.Join(brokers, "\n- "), 1)
	k := newKubelet(t, dir, pod, config)
	k.env[sidecarContainer] = []string{"ACKMARK_ADMIN=127.0.0.1:0"} // pods have an address each, processes do not
	k.program[appContainer], k.program[sidecarContainer] = app, side
	k.env[appContainer] = append([]string{roleEnv + "=" + roleApp, "KAFKA_BROKERS=" + strings.Join(brokers, ",")}, env...)
	return k
}

func (s *scenario) kubelet(pod podSpec, env ...string) *kubelet {
	s.Helper()
	return podOf(s.T, s.dir, s.kafka.Addrs(), pod, append([]string{"GROUP=" + s.group, "INPUT=" + s.input, "OUTPUT=" + s.output, envName + "=app"}, env...)...)
}

var orderly = []string{"ackmark started", "app started", "app gets SIGTERM", "app ended: exit status 0", "ackmark gets SIGTERM", "ackmark ended: exit status 0"}

// TestThePodAsKubeletRunsIt replaces a pod under load.
func TestThePodAsKubeletRunsIt(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.handsOver = true
	f := s.feed(500)
	first := s.kubelet(readPod(t))
	first.run()
	s.outputs(1000)
	s.await("the pod to be ready", first.ready)
	first.terminate()
	first.happened(orderly...)

	second := s.kubelet(readPod(t))
	second.run()
	f.more(500)
	n := f.finish()
	s.caughtUp()
	second.terminate()
	second.happened(orderly...)
	s.once(s.verify(n))
}

// once holds an orderly end, and a complete will, to what they promise.
func (s *scenario) once(e *evidence) {
	s.Helper()
	if e.result.Duplicated > 0 {
		s.Errorf("%d outputs are repeated, and none may be", e.result.Duplicated)
	}
}

// will is what the sidecar's log says of the only one.
func (k *kubelet) will() (outcome string, units int, at time.Time) {
	k.t.Helper()
	for _, log := range k.logs {
		text, err := os.ReadFile(log)
		if err != nil {
			k.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var said struct {
				Time         time.Time
				Msg, Outcome string
				Units        int
			}
			if err := json.Unmarshal([]byte(line), &said); err == nil && said.Msg == "will executed" {
				return said.Outcome, said.Units, said.Time
			}
		}
	}
	k.t.Fatal("the sidecar's log has no will")
	return "", 0, time.Time{}
}

// TestKubeletStartsAKilledAppAgain kills the app under load. The sidecar stays, and carries its
// will out.
func TestKubeletStartsAKilledAppAgain(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.handsOver = true
	f := s.feed(500)
	k := s.kubelet(readPod(t))
	k.run()
	s.outputs(1000)
	s.incidents = append(s.incidents, incident{what: "SIGKILL of app", name: appContainer, at: time.Now()})
	if err := k.instance(appContainer).Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.await("the app to run again", func() error {
		if n := strings.Count(strings.Join(k.said(), "\n"), "app started"); n < 2 {
			return fmt.Errorf("started %d times", n)
		}
		return nil
	})
	f.more(500)
	n := f.finish()
	s.caughtUp()
	k.terminate()
	k.happened(append([]string{"ackmark started", "app started", "app ended: signal: killed"}, orderly[1:]...)...)
	outcome, _, at := k.will()
	s.incidents[0].settled = at
	if e := s.verify(n); outcome == "complete" {
		s.once(e)
	}
}

// TestAWillThatComesTooLate lets the sidecar stand still while the app dies and its session ends,
// as a starved machine does: the group has gone on without the member, and what was in flight comes
// to Kafka late, and again. Nothing else does.
func TestAWillThatComesTooLate(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	f := s.feed(500)
	k := s.kubelet(readPod(t))
	k.run()
	s.outputs(500)
	side := k.instance(sidecarContainer)
	if err := side.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.incidents = append(s.incidents, incident{what: "SIGKILL of app", name: appContainer, at: time.Now(), all: true})
	if err := k.instance(appContainer).Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s.state("PreparingRebalance") // the next process waits for the dead one
	s.state("Stable")
	if err := side.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	f.more(500)
	n := f.finish()
	s.caughtUp()
	k.terminate()
	outcome, units, at := k.will()
	t.Logf("a will of %d units, %s, %s late", units, outcome, at.Sub(s.incidents[0].at))
	if outcome != "superseded" {
		t.Errorf("the will is %s: the group did not go on", outcome)
	}
	s.incidents[0].settled = at
	s.verify(n)
}

// TestAGraceThatIsTooShort has the app killed in the middle of its work: what it had may come
// again, and nothing is lost.
func TestAGraceThatIsTooShort(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	s.handsOver = true
	f := s.feed(200)
	pod := readPod(t)
	pod.Grace = 1
	k := s.kubelet(pod, envTimes+"=4s")
	k.run()
	s.outputs(4)
	s.incidents = append(s.incidents, incident{what: "a grace of 1 s", name: appContainer, at: time.Now(), all: true})
	k.terminate()
	k.happened("app gets SIGTERM", "app gets SIGKILL", "app ended: signal: killed", "ackmark gets SIGTERM", "ackmark ended")

	next := s.kubelet(readPod(t))
	next.run()
	n := f.finish()
	s.caughtUp()
	next.terminate()
	s.verify(n)
}

// TestAnAppUnderAnotherUserInThePod needs root, to become two other users; the broker is the
// embedded one.
func TestAnAppUnderAnotherUserInThePod(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this system has no second user for this process: run as root")
	}
	t.Parallel()
	const in, out, group = "in", "out", "upper"
	broker, err := devbroker.Start(devbroker.Config{Topics: map[string]int{in: partitions, out: partitions}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	opts := []kgo.Opt{kgo.SeedBrokers(broker.Addrs()...)}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	f := feed.Start(client, in, 1, 2000)
	t.Cleanup(func() { _, _ = f.Finish() })

	dir, err := os.MkdirTemp("", "ackmark-e2e-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	pod := readPod(t)
	pod.Containers[0].SecurityContext.RunAsUser = new(1000)
	written := func() (n int64) {
		ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), out)
		if err != nil {
			return -1
		}
		ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
		return n
	}
	enough := func(want int64) func() error {
		return func() error {
			if n := written(); n < want {
				return fmt.Errorf("%d of %d outputs", n, want)
			}
			return nil
		}
	}
	for _, last := range []bool{false, true} {
		k := podOf(t, dir, broker.Addrs(), pod, "GROUP="+group, "INPUT="+in, "OUTPUT="+out)
		before := written()
		k.run()
		kafkatest.Eventually(t, settle, "outputs of this pod", enough(before+1000))
		process := func(name string) string { return fmt.Sprintf("/proc/%d/task", k.instance(name).Pid()) }
		for path, user := range map[string]uint32{
			k.volume("ackmark/pod"): 65532, k.volume("ackmark/pod/sidecar.sock"): 65532, process(sidecarContainer): 65532, process(appContainer): 1000,
		} {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if at := info.Sys().(*syscall.Stat_t); at.Uid != user || at.Gid != 65532 {
				t.Errorf("%s is of %d:%d, want %d:65532", path, at.Uid, at.Gid, user)
			}
			if !strings.HasPrefix(path, "/proc") && info.Mode().Perm()&0o007 != 0 {
				t.Errorf("everybody may enter %s: %s", path, info.Mode())
			}
		}
		if last {
			n, err := f.Finish()
			if err != nil {
				t.Fatal(err)
			}
			kafkatest.Eventually(t, settle, "all outputs", enough(int64(n)))
		}
		k.terminate()
		k.happened(orderly...)
	}
	n, err := f.Finish()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	r, err := reader.Outputs(ctx, opts, in, out, verify.OutputsConfig{Name: "ackmark", Inputs: n})
	if err != nil || r.Lost+r.Duplicated+r.Reordered+r.Unknown+r.Corrupt+r.Split > 0 {
		t.Errorf("%v: %s\n%s", err, r, r.Details())
	}
}
