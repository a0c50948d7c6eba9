package kafkatest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// requestLimit bounds one administrative step, including the election that it may have to wait for.
const requestLimit = time.Minute

// partitionLimit is what each partition of a topic that is created may take more, on a machine that
// does ten other things.
const partitionLimit = 500 * time.Millisecond

// Addrs are the bootstrap addresses.
func (c *Cluster) Addrs() []string { return slices.Clone(c.addrs) }

// SecuredAddrs are those of the listener that [Config.Secured] asks for.
func (c *Cluster) SecuredAddrs() []string { return slices.Clone(c.secured) }

// Brokers are the bootstrap addresses as KAFKA_BROKERS has them.
func (c *Cluster) Brokers() string { return strings.Join(c.addrs, ",") }

// PIDs are the processes of the brokers that run; none for a cluster of KAFKA_BROKERS.
func (c *Cluster) PIDs() (list []int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range c.brokers {
		if b.running() {
			list = append(list, b.proc.Pid())
		}
	}
	return list
}

// Client returns a client with these options, closed when the test ends.
func (c *Cluster) Client(opts ...kgo.Opt) *kgo.Client {
	c.tb.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.addrs...)}, opts...)...)
	if err != nil {
		c.tb.Fatalf("kafkatest: %v", err)
	}
	c.tb.Cleanup(cl.Close)
	return cl
}

// Admin returns an administration client; it belongs to the cluster.
func (c *Cluster) Admin() *kadm.Client { return kadm.NewClient(c.admin) }

// Name makes a name for a topic or group that no other test or run has.
func Name(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:10]) }

// Name makes a unique group name; see [Name].
func (c *Cluster) Name(prefix string) string { return Name(prefix) }

// CreateTopic creates a topic with a unique name that starts with prefix, on all brokers, deletes
// it when the test ends, and returns its name.
func (c *Cluster) CreateTopic(prefix string, partitions int32, configs map[string]string) string {
	c.tb.Helper()
	limit := requestLimit + time.Duration(partitions)*partitionLimit
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	topic := Name(prefix)
	values := map[string]*string{}
	for k, v := range configs {
		values[k] = &v
	}
	admin := c.Admin()
	admin.SetTimeoutMillis(int32(limit.Milliseconds()))
	if _, err := admin.CreateTopic(ctx, partitions, -1, values, topic); err != nil {
		c.tb.Fatalf("kafkatest: create topic %s: %v", topic, err)
	}
	c.tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), requestLimit)
		defer cancel()
		if _, err := c.Admin().DeleteTopic(ctx, topic); err != nil {
			c.tb.Logf("kafkatest: delete topic %s: %v", topic, err)
		}
	})
	led := int32(0) // partitions that have a leader: those of a wide topic are not all asked for in one attempt
	c.mustWithin(limit, "leaders of "+topic, func(ctx context.Context) error {
		for ; led < partitions; led++ {
			if _, err := c.leader(ctx, topic, led); err != nil {
				return err
			}
		}
		return nil
	})
	return topic
}

// must waits for a condition and fails the test if it does not come.
func (c *Cluster) must(what string, ok func(context.Context) error) {
	c.tb.Helper()
	c.mustWithin(requestLimit, what, ok)
}

func (c *Cluster) mustWithin(limit time.Duration, what string, ok func(context.Context) error) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := c.await(ctx, what, ok); err != nil {
		c.tb.Fatal(err)
	}
}

// Version is that of the brokers, like "4.3.1"; of a cluster of KAFKA_BROKERS it is taken to be
// [Version].
func (c *Cluster) Version() string { return cmp.Or(c.version, Version) }

// LeaderOf returns the broker (the index that Kill takes) that leads a partition, after the
// election if the last one is dead or paused.
func (c *Cluster) LeaderOf(topic string, partition int32) (broker int) {
	c.tb.Helper()
	c.must(fmt.Sprintf("a leader of %s/%d", topic, partition), func(ctx context.Context) (err error) {
		broker, err = c.leader(ctx, topic, partition)
		return err
	})
	return broker
}

// GroupCoordinator returns the broker that coordinates a group, after the election if the last one
// is dead or paused.
func (c *Cluster) GroupCoordinator(group string) (broker int) {
	c.tb.Helper()
	c.must("the coordinator of group "+group, func(ctx context.Context) error {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKeys, req.CoordinatorKey = []string{group}, group // the second before 3.0
		r, err := req.RequestWith(ctx, c.running()[0])
		if err != nil {
			return err
		}
		node, code := r.NodeID, r.ErrorCode
		for _, co := range r.Coordinators {
			node, code = co.NodeID, co.ErrorCode
		}
		broker = int(node)
		if err := kerr.ErrorForCode(code); err != nil {
			return err
		}
		return c.alive(broker)
	})
	return broker
}

// MoveLeader makes a broker the leader of a partition, and its preferred one, without stopping
// anything.
func (c *Cluster) MoveLeader(topic string, partition int32, broker int) {
	c.tb.Helper()
	what := fmt.Sprintf("%s/%d to move to broker %d", topic, partition, broker)
	c.must(what, func(ctx context.Context) error {
		d, err := c.partition(ctx, topic, partition)
		if err != nil {
			return err
		}
		if d.Leader == int32(broker) {
			return nil
		}
		order := append([]int32{int32(broker)}, slices.DeleteFunc(slices.Clone(d.Replicas), func(id int32) bool { return id == int32(broker) })...)
		if len(order) > len(d.Replicas) {
			order = order[:len(d.Replicas)]
		}
		if !slices.Equal(order, d.Replicas) {
			if err := c.assign(ctx, topic, partition, order); err != nil {
				return err
			}
		}
		_ = c.elect(ctx, topic, partition)
		return fmt.Errorf("broker %d leads", d.Leader)
	})
}

// assign changes the order of a partition's replicas: the first is the preferred leader.
func (c *cluster) assign(ctx context.Context, topic string, partition int32, replicas []int32) error {
	p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	p.Partition, p.Replicas = partition, replicas
	t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.Topics = append(req.Topics, t)
	r, err := req.RequestWith(ctx, c.running()[0])
	if err != nil {
		return err
	}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			err = errors.Join(err, kerr.ErrorForCode(p.ErrorCode))
		}
	}
	return errors.Join(err, kerr.ErrorForCode(r.ErrorCode))
}

// elect gives a partition to its preferred leader. Brokers refuse while it is not in sync: the
// caller looks at the leader and asks again.
func (c *cluster) elect(ctx context.Context, topic string, partition int32) error {
	t := kmsg.NewElectLeadersRequestTopic()
	t.Topic, t.Partitions = topic, []int32{partition}
	req := kmsg.NewPtrElectLeadersRequest()
	req.Topics = append(req.Topics, t)
	_, err := req.RequestWith(ctx, c.running()[0])
	return err
}

// running are the brokers to ask; in KRaft each of them forwards to the controller. The client's
// own choice may be a paused one. On a cluster that is not ours it is the client.
func (c *cluster) running() []kmsg.Requestor {
	var up []kmsg.Requestor
	for _, b := range c.brokers {
		if b.running() {
			up = append(up, c.admin.Broker(b.id))
		}
	}
	if len(up) == 0 {
		up = append(up, c.admin)
	}
	return up
}

// alive is an error for a broker that was killed or paused.
func (c *cluster) alive(broker int) error {
	if broker < 0 || (broker < len(c.brokers) && !c.brokers[broker].running()) {
		return fmt.Errorf("broker %d does not run", broker)
	}
	return nil
}

// allTopics asks metadata for every topic.
const allTopics = ""

// metadata asks the brokers now. kadm's metadata is the client's cache, which right after the start
// does not know all brokers.
func (c *cluster) metadata(ctx context.Context, cl kmsg.Requestor, topics ...string) (*kmsg.MetadataResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, t := range topics {
		if t == allTopics {
			req.Topics = nil
			break
		}
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = &t
		req.Topics = append(req.Topics, rt)
	}
	return req.RequestWith(ctx, cl)
}

// partition is a partition's metadata when all running brokers agree on it: each learns of a change
// in its own time, and a client that asks the one that is late works with what it says.
func (c *cluster) partition(ctx context.Context, topic string, partition int32) (p kmsg.MetadataResponseTopicPartition, err error) {
	for i, cl := range c.running() {
		m, err := c.metadata(ctx, cl, topic)
		if err != nil {
			return p, err
		}
		next, err := onePartition(m, topic, partition)
		if err != nil {
			return p, err
		}
		if i > 0 && (next.Leader != p.Leader || !slices.Equal(next.Replicas, p.Replicas)) {
			return p, fmt.Errorf("%s/%d is led by %d of %v for one broker, by %d of %v for another",
				topic, partition, p.Leader, p.Replicas, next.Leader, next.Replicas)
		}
		p = next
	}
	return p, nil
}

func onePartition(m *kmsg.MetadataResponse, topic string, partition int32) (p kmsg.MetadataResponseTopicPartition, err error) {
	for _, t := range m.Topics {
		for _, p := range t.Partitions {
			if p.Partition == partition {
				return p, nil
			}
		}
		err = kerr.ErrorForCode(t.ErrorCode)
	}
	return p, fmt.Errorf("%s/%d is not in the metadata (%w)", topic, partition, err)
}

// leader is an error while there is none, or only a dead one.
func (c *cluster) leader(ctx context.Context, topic string, partition int32) (int, error) {
	p, err := c.partition(ctx, topic, partition)
	if err != nil {
		return -1, err
	}
	if err := c.alive(int(p.Leader)); err != nil {
		return -1, fmt.Errorf("the leader of %s/%d: %w", topic, partition, err)
	}
	return int(p.Leader), nil
}
