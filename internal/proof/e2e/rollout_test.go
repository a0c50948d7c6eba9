package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/childproc"
	"github.com/ackmark/ackmark/internal/proof/judge"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
	"github.com/ackmark/ackmark/producer"
)

const (
	// roleEmitter is a process that emits records at a steady rate, by routes.
	roleEmitter = "emitter"
	rolloutEnv  = "ACKMARK_ROLLOUT"      // how many emitters: runs the measurement of docs/rollout.md
	rateEnv     = "ACKMARK_ROLLOUT_RATE" // records a second of an emitter, emitRate without it
	emitRate    = 20
	emitKeys    = 16
	emitterMost = 1 << 20 // records of an emitter
)

// produceCounter counts the produce requests of a client.
type produceCounter struct{ n atomic.Uint64 }

// OnBrokerE2E implements kgo.HookBrokerE2E.
func (c *produceCounter) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	if key == 0 {
		c.n.Add(1)
	}
}

// times collects how long records took from the call to the acknowledgement.
type times struct {
	mu   sync.Mutex
	took []time.Duration
}

func (t *times) add(d time.Duration) {
	t.mu.Lock()
	t.took = append(t.took, d)
	t.mu.Unlock()
}

// String gives the times since the last call, in µs.
func (t *times) String() string {
	t.mu.Lock()
	took := t.took
	t.took = nil
	t.mu.Unlock()
	var b strings.Builder
	for _, d := range took {
		fmt.Fprintf(&b, " %d", d.Microseconds())
	}
	return b.String()
}

// ratePerEmitter is how many records a second one emits.
func ratePerEmitter() (int, error) {
	text := os.Getenv(rateEnv)
	if text == "" {
		return emitRate, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1000 {
		return 0, fmt.Errorf("%s=%s: 1 to 1000 records a second are possible", rateEnv, text)
	}
	return n, nil
}

// runEmitter emits until SIGTERM, says once a second how many produce requests it made and how long
// its records took, and at its end how many records.
func runEmitter(ctx context.Context, _ string) error {
	number, err := strconv.Atoi(os.Getenv(envName))
	if err != nil {
		return err
	}
	rate, err := ratePerEmitter()
	if err != nil {
		return err
	}
	counter, latency := new(produceCounter), new(times)
	p := producer.RouteConfig{
		Sidecar: producer.DialConfig{Target: os.Getenv(envSidecar), App: "emitter"},
		Direct:  producer.DirectConfig{Brokers: strings.Split(os.Getenv("KAFKA_BROKERS"), ","), Options: []kgo.Opt{kgo.WithHooks(counter), kgo.ProducerLinger(5 * time.Millisecond)}},
		Topics:  map[string]string{"*": "direct"},
	}.New()
	tick, second := time.NewTicker(time.Second/time.Duration(rate)), time.NewTicker(time.Second)
	defer tick.Stop()
	defer second.Stop()
	var failed, acked atomic.Uint64
	made := 0
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-second.C:
			fmt.Printf("counts %d %d %d\n", time.Now().UnixMilli(), counter.n.Load(), acked.Load())
			fmt.Printf("times %d%s\n", time.Now().UnixMilli(), latency)
			continue
		case <-tick.C:
		}
		began := time.Now()
		value := append(strconv.AppendInt(nil, int64(made), 10), ' ')
		p.EmitAsync(producer.Record{
			Topic: os.Getenv("OUTPUT"), Key: fmt.Appendf(nil, "%d-%d", number, made%emitKeys), Value: append(value, make([]byte, 200-len(value))...),
		}, func(_ producer.Ack, err error) {
			if err != nil {
				failed.Add(1)
			} else {
				acked.Add(1)
				latency.add(time.Since(began))
			}
		})
		made++
	}
	if err := p.Close(); err != nil {
		return err
	}
	fmt.Printf("made %d failed %d\n", made, failed.Load())
	return nil
}

// TestRolloutFigures measures what docs/rollout.md shows: so many processes, each with a producer
// of its own, that move to one sidecar and back while they emit. `make rollout` runs it.
func TestRolloutFigures(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv(rolloutEnv))
	if err != nil {
		t.Skipf("measures for three minutes: `make rollout`, or %s=100", rolloutEnv)
	}
	rate, err := ratePerEmitter()
	if err != nil {
		t.Fatal(err)
	}
	s := newScenario(t, kafkatest.Start(t, kafkatest.Config{Brokers: 3}))
	s.sidecarFor(n)
	s.pause(50 * time.Second) // a broker's start takes CPU for a while
	s.record("idle")
	var emitters []*childproc.Process
	for i := range n {
		emitters = append(emitters, s.start(fmt.Sprintf("emitter%03d", i), os.Args[0], s.env(map[string]string{roleEnv: roleEmitter, envName: strconv.Itoa(i)})))
	}
	s.await("all emit", func() error {
		if got := s.count(); got < int64(n*rate) {
			return fmt.Errorf("%d records", got)
		}
		return nil
	})
	load, _ := os.ReadFile("/proc/loadavg")
	t.Logf("%d emitters of %d records a second and 200 bytes; load of the machine before: %s", n, rate, load)
	s.pause(50 * time.Second) // what they connected for, to find the brokers, is closed when it is idle
	told := map[string]emitted{}
	phase := func(name string) {
		t.Helper()
		from := time.Now()
		s.record(name)
		told[name] = emittedBy(emitters, from, time.Now())
	}
	set := func(by string) {
		t.Helper()
		out, err := exec.Command(build(t, "ackmark"), "set", "route", "emitter", s.output, by, "--listen", "unix://"+s.socket(), "--timeout", "30s").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		s.pause(50 * time.Second) // clients close what they do not use any more after 20 s, in two rounds
	}
	phase("direct")
	set("sidecar")
	phase("sidecar")
	set("direct")
	phase("back")
	for _, pair := range [][2]string{{"idle", "direct"}, {"direct", "sidecar"}, {"sidecar", "back"}} {
		out, err := exec.Command(build(t, "ackmark"), "baseline", "compare", s.file(pair[0]), s.file(pair[1])).CombinedOutput()
		t.Logf("%v\n%s", err, out)
	}
	for _, name := range []string{"direct", "sidecar", "back"} {
		t.Logf("%s: %s", name, told[name])
	}
	s.judgeEmitters(emitters)
}

// pause lets time pass: what is measured takes it.
func (s *scenario) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.Context().Done():
	}
}

// sidecarFor starts a sidecar for so many sessions.
func (s *scenario) sidecarFor(sessions int) {
	s.Helper()
	s.start(sidecarName, build(s.T, "ackmark"), nil, "sidecar", "--brokers", s.kafka.Brokers(), "--listen", "unix://"+s.socket(), "--limits-sessions", strconv.Itoa(sessions+8),
		"--limits-bytes", "256MiB")
}

func (s *scenario) file(name string) string { return filepath.Join(s.dir, name+".json") }

// record takes a baseline of the brokers' processes.
func (s *scenario) record(name string) {
	s.Helper()
	args := []string{"baseline", "record", "--name", name, "--file", s.file(name), "--window", "20s", "--listen", "unix://" + s.socket()}
	for i, pid := range s.kafka.PIDs() {
		args = append(args, "--broker", fmt.Sprintf("%d=pid:%d", i+1, pid))
	}
	if out, err := exec.Command(build(s.T, "ackmark"), args...).CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
}

// emitted is what the emitters of a phase said.
type emitted struct {
	requests, records float64 // a second, of all together
	took              []int   // of each record, in µs; sorted
}

func (e emitted) String() string {
	s := fmt.Sprintf("the processes got %.0f records a second acknowledged, with %.0f produce requests of their own", e.records, e.requests)
	if len(e.took) == 0 {
		return s
	}
	at := func(q float64) float64 { return float64(e.took[int(q*float64(len(e.took)-1))]) / 1000 }
	return s + fmt.Sprintf("; emit to acknowledgement p50 %.1f ms, p95 %.1f ms, p99 %.1f ms of %d", at(0.5), at(0.95), at(0.99), len(e.took))
}

func emittedBy(emitters []*childproc.Process, from, to time.Time) emitted {
	var e emitted
	for _, p := range emitters {
		data, err := os.ReadFile(p.Log)
		if err != nil {
			continue
		}
		var at, n, m [2]float64 // first and last of the window
		for line := range strings.Lines(string(data)) {
			kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			fields := numbers(rest)
			if len(fields) == 0 || fields[0] < from.UnixMilli() || fields[0] > to.UnixMilli() {
				continue
			}
			switch {
			case kind == "times":
				for _, us := range fields[1:] {
					e.took = append(e.took, int(us))
				}
			case kind == "counts" && len(fields) == 3:
				if at[0] == 0 {
					at[0], n[0], m[0] = float64(fields[0]), float64(fields[1]), float64(fields[2])
				}
				at[1], n[1], m[1] = float64(fields[0]), float64(fields[1]), float64(fields[2])
			}
		}
		if at[1] > at[0] {
			e.requests += (n[1] - n[0]) * 1000 / (at[1] - at[0])
			e.records += (m[1] - m[0]) * 1000 / (at[1] - at[0])
		}
	}
	slices.Sort(e.took)
	return e
}

// numbers are those of a line of nothing else, or none.
func numbers(line string) []int64 {
	var all []int64
	for field := range strings.FieldsSeq(line) {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return nil
		}
		all = append(all, n)
	}
	return all
}

// judgeEmitters ends the emitters and demands that each record is there once, each key's in order.
func (s *scenario) judgeEmitters(emitters []*childproc.Process) {
	s.Helper()
	s.terminate(emitters...)
	j := judge.New(judge.Config{})
	for i, p := range emitters {
		var made, failed int
		for line := range strings.Lines(readLog(s.T, p.Log)) {
			_, _ = fmt.Sscanf(line, "made %d failed %d", &made, &failed)
		}
		if made == 0 || failed > 0 {
			s.Errorf("emitter %d made %d records, %d failed", i, made, failed)
		}
		for k := range made {
			j.Fed(uint64(i*emitterMost + k))
		}
	}
	s.readAll(s.output, func(r *kgo.Record) {
		var number, key, seq int
		if _, err := fmt.Sscanf(string(r.Key)+" "+string(r.Value[:strings.IndexByte(string(r.Value), ' ')]), "%d-%d %d", &number, &key, &seq); err != nil {
			j.Stray()
			return
		}
		j.Add(judge.Output{Input: uint64(number*emitterMost + seq), Key: uint32(number*emitKeys + key), Seq: uint64(seq), Partition: r.Partition})
	})
	lost, c := j.Lost(nil), j.Counts()
	verdict, _ := json.Marshal(c)
	s.Logf("%d records: %d lost, %d repeated, %d reordered (%s)", j.Inputs(), lost, c.Repeated, c.Reordered, verdict)
	if lost+c.Repeated+c.Reordered+c.Unknown > 0 {
		s.Errorf("lost %d, repeated %d, reordered %d, unknown %d", lost, c.Repeated, c.Reordered, c.Unknown)
	}
}

func readLog(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
