package e2e

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
)

// An app goes from the sidecar to Kafka and back under load, by order and because the sidecar dies.
// What nobody killed loses and repeats nothing; with the sidecar dies what was on its way through
// it, which is written again (fault 4). The order of each key is kept both ways (S7).
func TestFallback(t *testing.T) {
	t.Parallel()
	s := newScenario(t, brokers(t))
	sidecar := s.sidecar()
	log, err := os.Create(filepath.Join(s.dir, "app.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	logger := slog.New(slog.NewTextHandler(log, nil))
	p := producer.DialConfig{Target: "unix://" + s.socket(), App: "fallback", Logger: logger, Fallback: producer.FallbackConfig{
		Direct: producer.DirectConfig{Brokers: strings.Split(s.kafka.Brokers(), ",")}, After: 500 * time.Millisecond, UnitTTL: 2 * time.Second, Return: time.Second,
	}}.New()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- pipeline.Run(ctx, pipeline.Config{
			Consumer: consumer.Config{Brokers: strings.Split(s.kafka.Brokers(), ","), Group: s.group, Topics: []string{s.input}, Protocol: protocolUnderTest, Logger: logger},
			Producer: p, Logger: logger, Concurrency: 4,
			Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
				return []producer.Record{{Topic: s.output, Key: in.Key, Value: bytes.ToUpper(in.Value)}}, nil
			}),
		})
	}()
	sw := p.(producer.Switcher)
	active := func(want bool) {
		t.Helper()
		s.await("the way changed", func() error {
			if got := sw.FallbackStats().Active; got != want {
				return fmt.Errorf("active is %t", got)
			}
			return nil
		})
	}
	f := s.feed(1000)
	s.outputs(500)
	for range 3 {
		if err := sw.SetFallback(producer.Forced); err != nil {
			t.Fatal(err)
		}
		active(true)
		f.more(800)
		if err := sw.SetFallback(producer.Off); err != nil {
			t.Fatal(err)
		}
		active(false)
		f.more(800)
	}
	if err := sw.SetFallback(producer.OnUnavailable); err != nil {
		t.Fatal(err)
	}
	f.more(500)
	s.kill(sidecar)
	active(true)
	f.more(1000)
	again := s.sidecar()
	active(false)
	f.more(500)
	n := f.finish()
	s.caughtUp()
	st := sw.FallbackStats()
	t.Logf("%d switches; directly %s of %s and %d of %d records", st.Switches, st.Time.Round(time.Millisecond), st.Running.Round(time.Millisecond), st.Records, st.Records+st.SidecarRecords)
	if st.Switches != 8 || st.Records < 3000 || st.SidecarRecords < 3000 {
		t.Errorf("stats %+v", st)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	s.terminate(again)
	s.verify(n)
	if t.Failed() {
		t.Logf("the app's log:\n%s", strings.Join(childproc.TailOf(log.Name(), 40), "\n"))
	}
}
