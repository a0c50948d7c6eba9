package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/pipeline"
)

// Dead letters are given back by a command that is killed again and again in the middle: each
// chosen one is there once, in the order of its key, and the others wait.
func TestRedriveKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	kafka := brokers(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*settle)
	defer cancel()
	const keys, each, kills = 8, 300, 4
	dead, in := kafka.CreateTopic("dead", 4, nil), kafka.CreateTopic("in", 4, nil)
	client := kafka.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	kafka.GroupCoordinator("ackmark-dlq-" + dead) // a new cluster creates its topic first
	var all []*kgo.Record
	for i := range keys * each {
		key, seq := i%keys, i/keys
		why := "bad amount"
		if seq%3 == 0 {
			why = "no such account"
		}
		rec := &kgo.Record{Topic: dead, Partition: int32(key % 4), Key: fmt.Append(nil, key), Value: fmt.Append(nil, seq)}
		for name, value := range map[string]string{pipeline.HeaderTopic: in, pipeline.HeaderPartition: strconv.Itoa(key % 4), pipeline.HeaderError: why} {
			rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
		all = append(all, rec)
	}
	if err := client.ProduceSync(ctx, all...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	written := func() (n int64) {
		ends, err := kafka.Admin().ListEndOffsets(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range ends[in] {
			n += p.Offset
		}
		return n
	}
	args := []string{"dlq", "redrive", "--brokers", kafka.Brokers(), "--topic", dead, "--error", "bad amount", "--yes"}
	for kill := range kills {
		cmd := exec.CommandContext(ctx, build(t, "ackmark"), append(args, "--rate", "300")...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		began := written()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		again := time.NewTicker(10 * time.Millisecond)
		defer again.Stop()
		for written() < began+100 {
			select {
			case <-again.C:
			case err := <-ended:
				t.Fatalf("run %d ended before it was killed: %v\n%s", kill, err, &out)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil {
			t.Fatalf("run %d ended before it was killed\n%s", kill, &out)
		}
	}
	out, err := exec.CommandContext(ctx, build(t, "ackmark"), args...).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "counted again: 0 chosen letters wait") || !strings.Contains(string(out), "audit: clean") {
		t.Fatalf("%v\n%s", err, out)
	}
	visible := 0
	last := map[string]int{}
	for _, rec := range readCommitted(ctx, t, kafka.Addrs(), in, keys*each*2/3) {
		key := string(rec.Key)
		seq, err := strconv.Atoi(string(rec.Value))
		if before, seen := last[key]; err != nil || seq%3 == 0 || seen && seq != before+1+before%3/2 || !seen && seq != 1 {
			t.Errorf("key %s: %s behind %d", key, rec.Value, before)
		}
		last[key] = seq
		visible++
	}
	if visible != keys*each*2/3 {
		t.Errorf("%d letters are there, want %d", visible, keys*each*2/3)
	}
	t.Logf("%d letters once; offsets used, those of %d aborted transactions and all markers included: %d", visible, kills, written())
	out, err = exec.CommandContext(ctx, build(t, "ackmark"), "dlq", "ls", "--brokers", kafka.Brokers(), "--topic", dead).CombinedOutput()
	if want := fmt.Sprintf("%s: %d letters wait", dead, keys*each/3); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v, no %q in\n%s", err, want, out)
	}
}

// readCommitted reads n committed records of a topic, and then a little longer: more would be
// repeats.
func readCommitted(ctx context.Context, t *testing.T, addrs []string, topic string, n int) (all []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for {
		wait := ctx
		if len(all) >= n {
			short, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			wait = short
		}
		fetches := client.PollFetches(wait)
		if wait.Err() != nil {
			if ctx.Err() != nil {
				t.Fatalf("%d of %d records within the time", len(all), n)
			}
			return all
		}
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		all = append(all, fetches.Records()...)
	}
}
