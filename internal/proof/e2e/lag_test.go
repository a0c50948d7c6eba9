package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// lagSays runs `ackmark lag` with one reading and returns its report, flat, with its exit code; or
// why there is none.
func lagSays(ctx context.Context, t *testing.T, brokers, group string) (report string, code int) {
	t.Helper()
	cmd := exec.CommandContext(ctx, build(t, "ackmark"), "lag", "--brokers", brokers, "--group", group, "--window", "0s", "-o", "json")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err, code = nil, exit.ExitCode()
	}
	var flat bytes.Buffer
	if err != nil {
		t.Fatal(err)
	}
	if json.Compact(&flat, out.Bytes()) != nil {
		return errs.String(), code
	}
	return flat.String(), code
}

// Groups of both protocols, one that nobody joined, and a partition whose only replica is gone, as
// real brokers tell of them.
func TestLagOfRealGroups(t *testing.T) {
	kafka := brokers(t)
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	admin := kafka.Admin()
	topic := kafka.CreateTopic("lag", 2, nil)
	client := kafka.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 10 {
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: int32(i % 2), Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	joins := func(group string, opts ...kgo.Opt) {
		member := kafka.Client(append(opts, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ClientID("app"), kgo.DisableAutoCommit(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
		for n := 0; n < 10; {
			fetches := member.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			n += fetches.NumRecords()
		}
		if err := member.CommitRecords(ctx, &kgo.Record{Topic: topic, Partition: 0, Offset: 4, LeaderEpoch: -1}); err != nil {
			t.Fatal(err)
		}
	}
	groups := []string{kafka.Name("classic")}
	joins(groups[0])
	if kafkatest.AtLeast(kafka.Version(), 4, 0) {
		groups = append(groups, kafka.Name("newer"))
		joins(groups[1], kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
	}
	for _, group := range groups {
		report, code := lagSays(ctx, t, kafka.Brokers(), group)
		for _, want := range []string{`"state":"Stable"`, `"members":1`, `"lag":5,`, `"partition":0,"verdict":"ok","lag":0,"committed":5`, `"partition":1,"verdict":"unknown","lag":5,"committed":null`, `"never committed"`, `"member":"app/`} {
			if !strings.Contains(report, want) {
				t.Errorf("no %s in %s", want, report)
			}
		}
		if code != 2 {
			t.Errorf("exit code %d", code)
		}
	}

	// Nobody joined; one replica, whose broker dies.
	const nobody = "by hand \x1b[31m ä/#"
	if _, err := admin.CreateTopic(ctx, 1, 1, map[string]*string{"min.insync.replicas": kadm.StringPtr("1")}, topic+"-single"); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = admin.DeleteTopic(context.WithoutCancel(ctx), topic+"-single") }()
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic + "-single", Value: []byte("x")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: topic + "-single", Partition: 0, At: 1, LeaderEpoch: -1})
	if err := admin.CommitAllOffsets(ctx, nobody, offsets); err != nil {
		t.Fatal(err)
	}
	if report, code := lagSays(ctx, t, kafka.Brokers(), nobody); code != 0 || !strings.Contains(report, `"verdict":"ok"`) || !strings.Contains(report, "no members") {
		t.Errorf("exit code %d, %s", code, report)
	}
	kafka.Kill(kafka.LeaderOf(topic+"-single", 0))
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		report, code := lagSays(ctx, t, kafka.Brokers(), nobody)
		if code == 2 && strings.Contains(report, "the partition has no leader, or it does not answer") && strings.Contains(report, `"lag":null`) {
			break
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("exit code %d, %s", code, report)
		}
	}
}
