package kafkatest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/internal/childproc"
)

// startLimit bounds one start of the brokers: 7 s on two idle cores.
const startLimit = 3 * time.Minute

// cluster is what several tests may share; Cluster is one test's view of it.
type cluster struct {
	version string // "": of a cluster that is not ours
	brokers []*broker
	addrs   []string
	secured []string // addresses of the second listener
	dir     string   // configuration and data
	logs    string
	admin   *kgo.Client
	keeper  *zookeeper // nil: the brokers are their own controllers

	mu     sync.Mutex // held for a fault or its repair: two tests must not take two of three brokers
	failed bool       // some test with this cluster failed: the logs are kept
}

func external(list string) (*cluster, error) {
	c := &cluster{addrs: strings.Split(list, ",")}
	return c, c.connect()
}

// launch starts brokers and returns when clients can work with all of them.
func launch(ctx context.Context, cfg Config) (_ *cluster, err error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	inst, err := install(ctx, cfg.Version)
	if err != nil {
		return nil, err
	}
	c := &cluster{version: cfg.Version}
	defer func() {
		if err != nil {
			c.failed = true
			err = fmt.Errorf("%w%s", err, c.stop())
		}
	}()
	if c.dir, err = os.MkdirTemp(dataRoot(), "ackmark-kafka-data-*"); err != nil {
		return nil, err
	}
	if err = childproc.RemoveAtDeath(c.dir); err != nil {
		return nil, err
	}
	if c.logs, err = os.MkdirTemp("", "ackmark-kafka-logs-*"); err != nil {
		return nil, err
	}
	if !raft(cfg.Version) {
		if c.keeper, err = newZookeeper(c.dir, c.logs); err != nil {
			return nil, err
		}
	}
	if err = c.addBrokers(inst, cfg); err != nil {
		return nil, err
	}
	if c.keeper != nil {
		err = c.keeper.start(c.brokers[0])
	} else {
		err = c.format(ctx)
	}
	if err != nil {
		return nil, err
	}
	for _, b := range c.brokers {
		if err = b.start(); err != nil {
			return nil, err
		}
	}
	if err = c.connect(); err != nil {
		return nil, err
	}
	return c, c.await(ctx, "all brokers", c.allRegistered)
}

func (c *cluster) addBrokers(inst installation, cfg Config) error {
	for id := range cfg.Brokers {
		client, err := reservePort()
		if err != nil {
			return err
		}
		control, err := reservePort()
		if err != nil {
			client.release()
			return err
		}
		var secured *port
		if cfg.Secured != "" {
			if secured, err = reservePort(); err != nil {
				client.release()
				control.release()
				return err
			}
			c.secured = append(c.secured, secured.addr())
		}
		c.brokers = append(c.brokers, &broker{
			id: id, inst: inst, dir: filepath.Join(c.dir, fmt.Sprint(id)), log: filepath.Join(c.logs, fmt.Sprintf("broker-%d.log", id)),
			heapMB: cfg.HeapMB, client: client, control: control, secured: secured,
		})
		c.addrs = append(c.addrs, client.addr())
	}
	for _, b := range c.brokers {
		p := properties(c.brokers, b, cfg.Properties)
		if c.keeper != nil {
			c.keeper.by(p, b)
		}
		b.secure(p, cfg.Secured)
		if err := b.configure(p); err != nil {
			return err
		}
	}
	return nil
}

// format prepares the data directories side by side: 2 s each, mostly the start of a JVM.
func (c *cluster) format(ctx context.Context) error {
	var id [16]byte
	_, _ = rand.Read(id[:])
	id[0] &= 0x3f // Kafka refuses ids that start with '-'
	clusterID := base64.RawURLEncoding.EncodeToString(id[:])
	errs := make([]error, len(c.brokers))
	var all sync.WaitGroup
	for i, b := range c.brokers {
		all.Go(func() { errs[i] = b.format(ctx, clusterID) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (c *cluster) connect() (err error) {
	c.admin, err = kgo.NewClient(kgo.SeedBrokers(c.addrs...))
	return err
}

// stop ends everything and says where the logs are, if they are kept.
func (c *cluster) stop() (logs string) {
	if c.admin != nil {
		c.admin.Close()
	}
	for _, b := range c.brokers {
		b.stop()
		b.client.release()
		b.control.release()
		if b.secured != nil {
			b.secured.release()
		}
	}
	c.keeper.stop()
	if c.dir != "" {
		_ = os.RemoveAll(c.dir)
	}
	if c.logs == "" {
		return ""
	}
	if c.failed {
		return "\nbroker logs: " + c.logs
	}
	_ = os.RemoveAll(c.logs)
	return ""
}

// await polls until ok returns nil; the last error tells what it waited for. A broker that ended by
// itself ends the wait.
func (c *cluster) await(ctx context.Context, what string, ok func(context.Context) error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// Bounded: a broker may be paused, or hang while it starts.
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := ok(once)
		cancel()
		if err == nil {
			return nil
		}
		for _, b := range c.brokers {
			if b.proc != nil && !b.proc.Running() && b.proc.State() != killed {
				if c.keeper != nil && b.start() == nil {
					continue // ZooKeeper still had the session of its former process
				}
				return fmt.Errorf("kafkatest: waiting for %s: broker %d ended: %s", what, b.id, b.proc.State())
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kafkatest: waiting for %s: %w; last: %w", what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// killed is how a process that we killed ended.
const killed = "signal: killed"
