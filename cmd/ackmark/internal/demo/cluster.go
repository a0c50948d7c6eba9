package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/devbroker"
	"github.com/ackmark/ackmark/internal/proof/verify/reader"
)

// cluster is where the show takes place: the embedded broker or a real cluster, with topics and
// groups of the demo's own.
type cluster struct {
	dev    *devbroker.Broker // nil: a real cluster
	addrs  []string
	opts   []kgo.Opt
	client *kgo.Client
	adm    *kadm.Client
	prefix string
	input  string
	topics []string // created, to be deleted
	groups []string
}

// openCluster starts or contacts the brokers. The caller closes the cluster, also after an error of
// createTopics.
func openCluster(ctx context.Context, p plan) (*cluster, error) {
	props, err := settings.KafkaOptions(p.Kafka)
	if err != nil {
		return nil, err
	}
	c := &cluster{addrs: p.Brokers, prefix: "demo"}
	if len(p.Brokers) == 0 {
		c.dev, err = devbroker.Start(devbroker.Config{
			Partitions:        p.Partitions,
			MinSessionTimeout: min(p.SessionTimeout, devbroker.DefaultMinSessionTimeout),
			RetentionBytes:    -1, // the reader at the end must find everything; the number of records bounds it
			Logger:            slog.New(slog.DiscardHandler),
		})
		if err != nil {
			return nil, err
		}
		c.addrs = c.dev.Addrs()
	} else {
		var unique [4]byte
		_, _ = rand.Read(unique[:])
		c.prefix = "ackmark-demo-" + time.Now().UTC().Format("20060102-150405") + "-" + hex.EncodeToString(unique[:])
	}
	c.opts = append(props, kgo.SeedBrokers(c.addrs...))
	c.client, err = kgo.NewClient(append(c.opts, kgo.ClientID("demo"), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)))...)
	if err != nil {
		c.stopBroker()
		return nil, err
	}
	c.adm = kadm.NewClient(c.client)
	if err := c.reachable(ctx); err != nil {
		c.client.Close()
		c.stopBroker()
		return nil, err
	}
	return c, nil
}

func (c *cluster) reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := c.adm.BrokerMetadata(ctx); err != nil {
		return fmt.Errorf("no broker answered at %s within 10s: %w; check --brokers and, for TLS or SASL, --kafka", strings.Join(c.addrs, ","), err)
	}
	return nil
}

// createTopics creates the demo's topics and waits until the cluster shows them with leaders.
func (c *cluster) createTopics(ctx context.Context, partitions int, outputs ...string) error {
	c.input = c.prefix + "-input"
	topics := append([]string{c.input}, outputs...)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	resp, err := c.adm.CreateTopics(ctx, int32(partitions), -1, nil, topics...)
	if err != nil {
		return fmt.Errorf("create the demo's topics: %w", err)
	}
	for _, t := range resp.Sorted() {
		if t.Err != nil {
			return fmt.Errorf("create topic %s: %w (%s); the demo needs the right to create and delete topics named %s-*", t.Topic, t.Err, t.ErrMessage, c.prefix)
		}
		c.topics = append(c.topics, t.Topic)
	}
	return poll(ctx, 50*time.Millisecond, "the new topics to appear", func() (bool, error) {
		details, err := c.adm.ListTopics(ctx, topics...)
		return err == nil && !slices.ContainsFunc(topics, func(t string) bool { return !usable(details[t], partitions) }), err
	})
}

func usable(d kadm.TopicDetail, partitions int) bool {
	for _, p := range d.Partitions {
		if p.Err != nil || p.Leader < 0 {
			return false
		}
	}
	return d.Err == nil && len(d.Partitions) == partitions
}

// joined waits until each group is stable with this many members. On a new cluster the coordinator
// comes up only now: errors are waited out.
func (c *cluster) joined(ctx context.Context, members int, groups ...string) error {
	var last error
	err := poll(ctx, 50*time.Millisecond, "the consumers to join their groups", func() (bool, error) {
		var described kadm.DescribedGroups
		if described, last = c.adm.DescribeGroups(ctx, groups...); last == nil {
			last = described.Error()
		}
		return last == nil && !slices.ContainsFunc(groups, func(name string) bool {
			g := described[name]
			return g.State != "Stable" || len(g.Members) != members
		}), nil
	})
	if err != nil && last != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w; the last answer: %w", err, last)
	}
	return err
}

// lag is the inputs that the group has not committed, from the committed offsets and the ends of
// the log alone.
func (c *cluster) lag(ctx context.Context, group string) (int64, error) {
	return reader.Lag(ctx, c.client, group, c.input)
}

// close deletes what the demo created and lets go of the brokers.
func (c *cluster) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := c.cleanUp(ctx)
	c.client.Close()
	c.stopBroker()
	return err
}

func (c *cluster) cleanUp(ctx context.Context) error {
	if c.dev != nil {
		return nil // it all goes with the broker
	}
	var errs []error
	if len(c.topics) > 0 {
		resp, err := c.adm.DeleteTopics(ctx, c.topics...)
		errs = append(errs, err)
		for _, t := range resp.Sorted() {
			if t.Err != nil {
				errs = append(errs, fmt.Errorf("topic %s: %w", t.Topic, t.Err))
			}
		}
	}
	for _, group := range c.groups {
		errs = append(errs, c.deleteGroup(ctx, group))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("delete the demo's topics and groups (%s-*): %w; delete them by hand", c.prefix, err)
	}
	return nil
}

// deleteGroup deletes a group. A member that was just killed keeps it for up to a session timeout:
// then it stays, empty, until Kafka's offsets.retention.minutes.
func (c *cluster) deleteGroup(ctx context.Context, group string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var last error
	_ = poll(ctx, 200*time.Millisecond, "the group's deletion", func() (bool, error) {
		resp, err := c.adm.DeleteGroups(ctx, group)
		if last = err; err == nil {
			last = resp[group].Err
		}
		return last == nil || errors.Is(last, kerr.GroupIDNotFound) || errors.Is(last, kerr.NonEmptyGroup), nil
	})
	if last == nil || errors.Is(last, kerr.GroupIDNotFound) || errors.Is(last, kerr.NonEmptyGroup) {
		return nil
	}
	return fmt.Errorf("group %s: %w", group, last)
}

func (c *cluster) stopBroker() {
	if c.dev != nil {
		c.dev.Close()
	}
}

// poll calls f until it is true, fails, or ctx ends.
func poll(ctx context.Context, every time.Duration, what string, f func() (bool, error)) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		ok, err := f()
		if ok {
			return nil
		}
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, context.Cause(ctx))
		case <-t.C:
		}
	}
}
