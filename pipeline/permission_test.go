package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/ackmark/ackmark/consumer"
	"github.com/ackmark/ackmark/pipeline"
	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

func right(resource kmsg.ACLResourceType, name string, op kmsg.ACLOperation) kfake.ACL {
	return kfake.ACL{Resource: resource, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
}

func as(user, password string) []kgo.Opt {
	return []kgo.Opt{kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism())}
}

// Each right that is missing ends Run with an error that names it, and nothing is committed: with
// the broker's own ACLs, through both producers.
func TestMissingRights(t *testing.T) {
	read, group := right(kmsg.ACLResourceTypeTopic, "in", kmsg.ACLOperationRead), right(kmsg.ACLResourceTypeGroup, "g", kmsg.ACLOperationRead)
	write := right(kmsg.ACLResourceTypeTopic, "out", kmsg.ACLOperationWrite)
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "out"), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("PLAIN", "admin", "admin"),
		kfake.User("PLAIN", "noread", "x", group, write),
		kfake.User("PLAIN", "nogroup", "x", read, write),
		kfake.User("PLAIN", "nowrite", "x", read, group),
		kfake.User("PLAIN", "all", "x", read, group, write),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	brokers := kafka.ListenAddrs()
	admin, err := kgo.NewClient(append(as("admin", "admin"), kgo.SeedBrokers(brokers...))...)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	direct := func(user string) producer.Producer {
		return producer.Direct(producer.DirectConfig{Brokers: brokers, Options: as(user, "x"), Logger: slog.New(slog.DiscardHandler)})
	}
	through := func(t *testing.T, user string) producer.Producer {
		sc := sidecartest.Start(t, brokers, func(c *sidecar.Config) { c.Options = as(user, "x") })
		return producer.DialConfig{Target: sc.Target, Logger: slog.New(slog.DiscardHandler)}.New()
	}
	for _, c := range []struct {
		name, user, password string
		out                  func(t *testing.T) producer.Producer
		kafka                error
		says                 []string
	}{
		{"read the input", "noread", "x", nil, kerr.TopicAuthorizationFailed, []string{`"in"`, "READ"}},
		{"read the group", "nogroup", "x", nil, kerr.GroupAuthorizationFailed, []string{`"g"`, "READ"}},
		{"write, direct", "all", "x", func(*testing.T) producer.Producer { return direct("nowrite") }, kerr.TopicAuthorizationFailed, []string{`"out"`, "WRITE"}},
		{"write, sidecar", "all", "x", func(t *testing.T) producer.Producer { return through(t, "nowrite") }, kerr.TopicAuthorizationFailed, []string{`"out"`, "WRITE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := direct("all")
			if c.out != nil {
				_ = out.Close()
				out = c.out(t)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err := pipeline.Run(ctx, pipeline.Config{
				Consumer: consumer.Config{
					Brokers: brokers, Group: "g", Topics: []string{"in"}, Options: as(c.user, c.password), StartTimeout: 3 * time.Second,
					Logger: slog.New(slog.DiscardHandler),
				},
				Producer: out,
				Handler: pipeline.HandlerFunc(func(_ context.Context, in *consumer.Message) ([]producer.Record, error) {
					return []producer.Record{{Topic: "out", Value: in.Value}}, nil
				}),
			})
			if !errors.Is(err, c.kafka) || ctx.Err() != nil {
				t.Fatalf("Run returned %v (context: %v), want %v before the context ends", err, ctx.Err(), c.kafka)
			}
			for _, w := range c.says {
				if !strings.Contains(fmt.Sprint(err), w) {
					t.Errorf("the error does not say %s: %v", w, err)
				}
			}
			committed, err := kadm.NewClient(admin).FetchOffsets(t.Context(), "g")
			if o, ok := committed.Lookup("in", 0); err == nil && ok && o.At > 0 {
				t.Errorf("committed %d", o.At)
			}
		})
	}
}
