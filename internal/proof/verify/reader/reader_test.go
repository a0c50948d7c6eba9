package reader

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/internal/proof/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func broker(t *testing.T) []kgo.Opt {
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "in", "out", "empty"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return []kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}
}

func client(t *testing.T, opts []kgo.Opt, more ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(opts[:len(opts):len(opts)], more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func produce(t *testing.T, cl *kgo.Client, rs ...*kgo.Record) {
	t.Helper()
	if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestOutputs(t *testing.T) {
	opts := broker(t)
	cl := client(t, opts)
	g := verify.NewGenerator(verify.GeneratorConfig{Keys: 10})
	for i := range 500 {
		in := g.Next()
		rs := []*kgo.Record{{Topic: "in", Key: in.Key, Value: in.Value}, {Topic: "out", Key: in.Key, Value: bytes.ToUpper(in.Value)}}
		if i == 7 {
			rs = rs[:1] // lost
		}
		if i == 9 {
			rs = append(rs, rs[1]) // twice
			rs[2] = &kgo.Record{Topic: "out", Key: in.Key, Value: in.Value}
		}
		produce(t, cl, rs...)
	}
	res, err := Outputs(t.Context(), opts, "in", "out", verify.OutputsConfig{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "x: 500 inputs, 500 outputs, 1 lost, 1 duplicated, 0 reordered, 0 unknown, 0 corrupt"; res.String() != want {
		t.Fatalf("%s\nwant %s", res, want)
	}
}

// A transaction ends with a marker, at an offset where no record will ever come.
func TestTopicThatEndsWithAMarker(t *testing.T) {
	opts := broker(t)
	tx := client(t, opts, kgo.TransactionalID("tx"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, tx, &kgo.Record{Topic: "out", Value: []byte("a")}, &kgo.Record{Topic: "out", Value: []byte("b")})
	if err := tx.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n := 0
	if err := Topic(ctx, opts, "out", func(*kgo.Record) { n++ }); err != nil || n != 2 {
		t.Fatalf("%d records, %v", n, err)
	}
}

// Rest begins at the offsets that it is given, and at the start where there is none.
func TestRest(t *testing.T) {
	opts := broker(t)
	cl := client(t, opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range int32(3) {
		for range 4 {
			produce(t, cl, &kgo.Record{Topic: "in", Partition: p})
		}
	}
	var got [3][]int64
	err := Rest(t.Context(), opts, "in", map[int32]int64{0: 3, 1: 4, 2: -1}, func(r *kgo.Record) { got[r.Partition] = append(got[r.Partition], r.Offset) })
	if err != nil || !slices.Equal(got[0], []int64{3}) || got[1] != nil || !slices.Equal(got[2], []int64{0, 1, 2, 3}) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestTopicEmptyAndUnknown(t *testing.T) {
	opts := broker(t)
	if err := Topic(t.Context(), opts, "empty", func(*kgo.Record) { t.Error("a record") }); err != nil {
		t.Error(err)
	}
	err := Topic(t.Context(), opts, "nowhere", func(*kgo.Record) {})
	if !errors.Is(err, kerr.UnknownTopicOrPartition) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("error %v", err)
	}
}

func TestLag(t *testing.T) {
	opts := broker(t)
	cl := client(t, opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range int32(3) {
		produce(t, cl, &kgo.Record{Topic: "in", Partition: p}, &kgo.Record{Topic: "in", Partition: p})
	}
	var offsets kadm.Offsets
	for p, at := range []int64{2, 1} {
		offsets.AddOffset("in", int32(p), at, -1)
	}
	if err := kadm.NewClient(cl).CommitAllOffsets(t.Context(), "g", offsets); err != nil {
		t.Fatal(err)
	}
	if lag, err := Lag(t.Context(), cl, "g", "in"); err != nil || lag != 3 {
		t.Fatalf("lag %d, %v; want 3", lag, err)
	}
	if lag, err := Lag(t.Context(), cl, "nobody", "in"); err != nil || lag != 6 {
		t.Fatalf("lag %d, %v; want 6", lag, err)
	}
}
