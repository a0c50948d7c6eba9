package e2e

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// An app moves to the sidecar by a tenth, a half and all of its keys, and back, under load and by
// `ackmark set route`, as docs/rollout.md walks through it. Nothing is lost, repeated or reordered;
// and when all goes directly again, the sidecar may die without anybody noticing.
func TestRollout(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	sidecar := s.sidecar()
	log, err := os.Create(filepath.Join(s.dir, "app.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	logger := slog.New(slog.NewTextHandler(log, nil))
	addrs := strings.Split(s.kafka.Brokers(), ",")
	p := producer.RouteConfig{
		Sidecar: producer.DialConfig{Target: "unix://" + s.socket(), App: "rollout", Logger: logger},
		Direct:  producer.DirectConfig{Brokers: addrs}, Topics: map[string]string{"*": "direct"},
	}.New()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- pipeline.Run(ctx, pipeline.Config{
			Consumer: consumer.Config{Brokers: addrs, Group: s.group, Topics: []string{s.input}, Protocol: protocolUnderTest, Logger: logger},
			Producer: p, Logger: logger, Concurrency: 4,
			Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
				return []producer.Record{{Topic: s.output, Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
			}),
		})
	}()
	set := func(by string, percent int) {
		t.Helper()
		out, err := exec.Command(build(t, "ackmark"), "set", "route", "rollout", s.output, by, "--percent", fmt.Sprint(percent),
			"--listen", "unix://"+s.socket(), "--timeout", "30s").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "told: 1 of 1 sessions") {
			t.Fatalf("set route %s %d: %v: %s", by, percent, err, out)
		}
	}
	moved := func(want string) {
		t.Helper()
		s.await("the keys have moved", func() error {
			for _, r := range p.(producer.Router).Routes() {
				if r.Topic == s.output && r.By == want && !r.Waiting {
					return nil
				}
			}
			return fmt.Errorf("routes: %+v", p.(producer.Router).Routes())
		})
	}
	f := s.feed(1000)
	s.outputs(500)
	through := func() uint64 { return s.status().GetRecordsAcked() }
	if n := through(); n != 0 {
		t.Errorf("the sidecar has %d records before anything goes through it", n)
	}
	for round := range 2 {
		before := through()
		for _, step := range []struct {
			by      string
			percent int
			want    string
		}{
			{"sidecar", 10, "sidecar:10"}, {"sidecar", 50, "sidecar:50"}, {"fallback", 100, "fallback"},
			{"direct", 30, "sidecar:70"}, {"sidecar", 10, "sidecar:10"}, {"direct", 100, "direct"},
		} {
			set(step.by, step.percent)
			f.more(400)
			moved(step.want)
		}
		if n := through() - before; n < 800 {
			t.Errorf("only %d records went through the sidecar in round %d", n, round)
		}
	}
	s.await("the sidecar knows of no partition any more", func() error {
		for _, session := range s.status().GetSessions() {
			if n := len(session.GetPartitions()); n > 0 {
				return fmt.Errorf("%d partitions", n)
			}
		}
		return nil
	})
	t.Logf("%d of %d records went through the sidecar", through(), f.Made())
	sidecar.Kill() // no incident: nobody depends on it
	f.more(1000)
	n := f.finish()
	s.caughtUp()
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	s.verify(n)
	if t.Failed() {
		t.Logf("the app's log:\n%s", strings.Join(childproc.TailOf(log.Name(), 40), "\n"))
	}
}
