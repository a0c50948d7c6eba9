package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/lastwill"
	"github.com/ackmark/ackmark/internal/proof/chaos"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

const (
	partitions = 6
	// settle bounds every wait for Ackmark: a session timeout of 45 s and a rebalance fit.
	settle = 90 * time.Second
)

// scenario is one job: topics, a group, and the processes that work on them.
type scenario struct {
	*testing.T
	kafka                *kafkatest.Cluster
	input, output, group string
	dir                  string // sockets and logs
	procs                []*childproc.Process
	incidents            []incident
	handsOver            bool          // partitions change hands in order: see overtook
	every                time.Duration // the commit interval, if it is not the default
	mayRewind            int           // so many commits may be below an earlier one: see late commits
	asks                 *kgo.Client   // for describe
}

// incident is a moment after which partitions may be read again from their last commit.
type incident struct {
	what string
	name string // of the process that died
	at   time.Time
	all  bool // every partition is affected, not only those of one app

	settled time.Time // when its will was executed, where that is known
}

func newScenario(t *testing.T, kafka *kafkatest.Cluster) *scenario {
	t.Helper()
	s := &scenario{T: t, kafka: kafka, group: kafka.Name("upper")}
	s.input = kafka.CreateTopic("in", partitions, nil)
	// The broker's clock on every output: the evidence for S1.
	s.output = kafka.CreateTopic("out", partitions, map[string]string{"message.timestamp.type": "LogAppendTime"})
	dir, err := os.MkdirTemp("", "ackmark-e2e-*") // t.TempDir is too long a path for a socket
	if err != nil {
		t.Fatal(err)
	}
	s.dir = dir
	t.Cleanup(s.cleanup)
	return s
}

func (s *scenario) commitEvery() time.Duration { return cmp.Or(s.every, defaultCommit) }

// cleanup shows the end of each log if the test failed, and keeps them.
func (s *scenario) cleanup() {
	for _, p := range s.procs {
		p.Kill()
	}
	if !s.Failed() {
		_ = os.RemoveAll(s.dir)
		return
	}
	s.Logf("logs of the processes: %s", s.dir)
	for _, p := range s.procs {
		s.Logf("%s (%s), end of %s:\n%s", p.Name, p.State(), p.Log, tail(p, 25))
	}
}

func tail(p *childproc.Process, lines int) string { return strings.Join(p.Tail(lines), "\n") }

// start runs a program until the test ends. Env is a map so that defaults can be replaced.
func (s *scenario) start(name, path string, env map[string]string, args ...string) *childproc.Process {
	s.Helper()
	var vars []string
	for k, v := range env {
		vars = append(vars, k+"="+v)
	}
	slices.Sort(vars)
	log := filepath.Join(s.dir, fmt.Sprintf("%02d-%s.log", len(s.procs), name))
	p, err := childproc.Start(childproc.Spec{Name: name, Path: path, Args: args, Env: vars, Log: log, Guard: true})
	if err != nil {
		s.Fatal(err)
	}
	s.procs = append(s.procs, p)
	return p
}

const sidecarName = "sidecar"

func (s *scenario) socket() string { return filepath.Join(s.dir, "sidecar.sock") }

// sidecar starts the pod's sidecar.
func (s *scenario) sidecar() *childproc.Process {
	s.Helper()
	return s.sidecarAt(s.socket())
}

func (s *scenario) sidecarAt(socket string, more ...string) *childproc.Process {
	s.Helper()
	args := []string{"sidecar", "--brokers", s.kafka.Brokers(), "--listen", "unix://" + socket}
	return s.start(sidecarName, build(s.T, "ackmark"), nil, append(args, more...)...)
}

// uppercase starts the example; env replaces its settings.
func (s *scenario) uppercase(name string, env map[string]string) *childproc.Process {
	s.Helper()
	return s.start(name, build(s.T, "uppercase"), s.env(env))
}

func (s *scenario) env(own map[string]string) map[string]string {
	env := map[string]string{
		"KAFKA_BROKERS": s.kafka.Brokers(), "GROUP": s.group, "INPUT": s.input, "OUTPUT": s.output, "SIDECAR": "unix://" + s.socket(),
	}
	env[envProtocol] = protocolUnderTest.String()
	maps.Copy(env, own)
	if env[envProtocol] == consumer.ConsumerProtocol.String() {
		s.session(cmp.Or(env[envSession], appSession.String()))
	}
	return env
}

// protocolUnderTest is that of ACKMARK_PROTOCOL, by default classic.
var protocolUnderTest = func() consumer.Protocol {
	p := consumer.ClassicProtocol
	if err := p.UnmarshalText([]byte(cmp.Or(os.Getenv("ACKMARK_PROTOCOL"), "classic"))); err != nil || p == consumer.AutoProtocol {
		panic(fmt.Sprintf("ACKMARK_PROTOCOL: use classic or consumer (%v)", err))
	}
	return p
}()

// session tells the brokers how long the group's sessions last, which they decide in the consumer
// protocol.
func (s *scenario) session(text string) {
	s.Helper()
	d, err := time.ParseDuration(text)
	if err == nil {
		if s.asks == nil {
			s.asks = s.plain()
		}
		err = chaos.SetSession(s.Context(), s.asks, s.group, d)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// kill ends a process with SIGKILL and remembers when, for the bound of S6.
func (s *scenario) kill(p *childproc.Process) {
	s.Helper()
	if !p.Running() {
		s.Fatalf("%s should be killed and has ended already: %s", p.Name, p.State())
	}
	s.incidents = append(s.incidents, incident{what: "SIGKILL of " + p.Name, name: p.Name, at: time.Now(), all: p.Name == sidecarName})
	p.Kill()
}

// terminate ends processes one after the other with SIGTERM, as Kubernetes does with a pod's
// sidecar last, and wants exit code 0 of each.
func (s *scenario) terminate(ps ...*childproc.Process) {
	s.Helper()
	for _, p := range ps {
		if err := p.Signal(syscall.SIGTERM); err != nil {
			s.Fatal(err)
		}
		s.exits(p, 0)
	}
}

// exits waits for the end of a process and checks its exit code.
func (s *scenario) exits(p *childproc.Process, want int) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 30*time.Second)
	defer cancel()
	code, err := p.Wait(ctx)
	if err != nil {
		s.stacks(p)
		s.Fatal(err)
	}
	if code != want {
		s.Fatalf("%s: %s, want exit code %d", p.Name, p.State(), want)
	}
}

// stacks makes a process that hangs write its goroutines to its log.
func (s *scenario) stacks(p *childproc.Process) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = p.Signal(syscall.SIGQUIT)
	_, _ = p.Wait(ctx)
}

// await polls, and fails at once when a process ends that nobody ended: there is no use in waiting
// on.
func (s *scenario) await(what string, ok func() error) {
	s.Helper()
	dead := map[*childproc.Process]bool{}
	for _, p := range s.procs {
		dead[p] = !p.Running()
	}
	kafkatest.Eventually(s.T, settle, what, func() error {
		s.Helper()
		for _, p := range s.procs {
			if !dead[p] && !p.Running() {
				s.Fatalf("while waiting for %s: %s ended: %s", what, p.Name, p.State())
			}
		}
		return ok()
	})
}

// outputs waits until the output topic has that many records.
func (s *scenario) outputs(n int64) {
	s.Helper()
	s.await(fmt.Sprintf("%d outputs", n), func() error {
		if got := s.count(); got < n {
			return fmt.Errorf("%d so far", got)
		}
		return nil
	})
}

// count is the number of records in the output topic, repeated ones too.
func (s *scenario) count() (n int64) {
	ends, err := s.kafka.Admin().ListEndOffsets(s.Context(), s.output)
	if err != nil {
		return -1
	}
	for _, o := range ends.Offsets()[s.output] {
		n += o.At
	}
	return n
}

// members waits until the group is stable with that many members.
func (s *scenario) members(n int) {
	s.Helper()
	s.await(fmt.Sprintf("%d members", n), func() error {
		g, err := s.describe()
		if err != nil {
			return err
		}
		if g.State != "Stable" || len(g.Members) != n {
			return fmt.Errorf("%d members, %s", len(g.Members), g.State)
		}
		return nil
	})
}

// describe tells who is in the group, whatever its protocol.
func (s *scenario) describe() (lastwill.Group, error) {
	if s.asks == nil {
		s.asks = s.plain()
	}
	return lastwill.On(s.Context(), s.asks, "").Describe(s.Context(), s.group)
}

// state waits until the group is in a state.
func (s *scenario) state(want string) {
	s.Helper()
	s.await("the group to be in "+want, func() error {
		groups, err := s.kafka.Admin().DescribeGroups(s.Context(), s.group)
		if err == nil && groups[s.group].State != want {
			err = fmt.Errorf("it is in %s", groups[s.group].State)
		}
		return err
	})
}

// caughtUp waits until the group has committed the whole input: lag 0 in every partition.
func (s *scenario) caughtUp() {
	s.Helper()
	s.await("lag 0", func() error {
		ends, err := s.kafka.Admin().ListEndOffsets(s.Context(), s.input)
		if err != nil {
			return err
		}
		committed, err := s.kafka.Admin().FetchOffsets(s.Context(), s.group)
		if err != nil {
			return err
		}
		var behind []error
		for p, end := range ends.Offsets()[s.input] {
			if c, ok := committed.Lookup(s.input, p); end.At > 0 && (!ok || c.At != end.At) {
				behind = append(behind, fmt.Errorf("partition %d: committed %d of %d", p, c.At, end.At))
			}
		}
		return errors.Join(behind...)
	})
}

// plain is a client for the test itself.
func (s *scenario) plain(opts ...kgo.Opt) *kgo.Client { return s.kafka.Client(opts...) }
