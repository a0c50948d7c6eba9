package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ackmark/ackmark/internal/wire"
)

// twin is a Kafka client with a transactional id of its own. A lane has two and uses them in turn:
// after its EndTxn an id has to wait until the markers are written.
type twin struct {
	producing // after the last transaction that ended

	client *kgo.Client
	aside  <-chan error // not nil: it is set aside, and hears how that has ended
}

// rest ends what the client does by itself, and notes what it has made of its id: after some errors
// it takes it anew, under the epoch that it has. An error: the id had expired by then.
func (t *twin) rest(ctx context.Context) error {
	t.client.Close() // calls every promise that is left, and ends its requests
	pid, epoch, _ := t.client.ProducerID(context.WithoutCancel(ctx))
	switch {
	case pid < 0:
	case t.isForgottenBy(pid, epoch):
		return t.hasExpired()
	case pid != t.pid || epoch > t.epoch:
		t.moves(pid, epoch)
	}
	return nil
}

// initPause is between two attempts to take an id.
const initPause = 250 * time.Millisecond

// twinOptions are what makes a client of the user's options a twin.
func (d *ids) twinOptions(id string) []kgo.Opt {
	return []kgo.Opt{
		soon(), kgo.TransactionalID(id), kgo.TransactionTimeout(d.cfg.Timeout),
		kgo.MetadataMinAge(25 * time.Millisecond), // a produce that is told CONCURRENT_TRANSACTIONS waits for the next metadata
		kgo.ProducerLinger(d.cfg.Every / 4),       // nobody waits for single records, and brokers add partitions per request
		kgo.RecordPartitioner(partitioner{cmp.Or(d.cfg.Partitioner, kgo.StickyKeyPartitioner(nil))}),
		kgo.MaxBufferedRecords(1 << 30), // the owner bounds what is on its way
	}
}

// soon has a client ask again soon. While a coordinator moves to another broker everything waits
// for it, and the client's own pauses grow to seconds.
func soon() kgo.Opt {
	return kgo.RetryBackoffFn(func(failed int) time.Duration {
		most := min(500*time.Millisecond, 25*time.Millisecond<<min(failed, 8))
		return most/2 + rand.N(most/2)
	})
}

// take takes the id of a twin: what its predecessor has open is aborted, and the predecessor is
// fenced. It tries for ever; an error is for good, or the context's.
func (d *ids) take(ctx context.Context, t *twin) error {
	if err := d.connect(t); err != nil {
		return err
	}
	return d.init(ctx, t)
}

// connect gives a twin a new client.
func (d *ids) connect(t *twin) error {
	if t.client != nil {
		t.client.Close() // calls every promise that is left
	}
	cl, err := d.cfg.Client(d.twinOptions(t.id)...)
	if err == nil {
		t.client = cl
	}
	return err
}

// init has a twin's new client take its id, as take does.
func (d *ids) init(ctx context.Context, t *twin) error {
	for {
		var err error
		if t.pid, t.epoch, err = t.client.ProducerID(ctx); err == nil {
			return nil
		}
		if err := d.afterInit(ctx, t.id, err); err != nil {
			return err
		}
		if err := d.connect(t); err != nil {
			return err
		}
	}
}

// afterInit decides what follows an attempt to take an id that failed: nil is another one.
func (d *ids) afterInit(ctx context.Context, id string, err error) error {
	if isSetup(err) {
		return d.cfg.setupError(id, err)
	}
	if ctx.Err() != nil { // it was broken off: that is no news
		return context.Cause(ctx)
	}
	d.refused.Store(&refusedID{id, err})
	d.cfg.Log.Warn("the transactional id is not ours yet", "transactional_id", id, "err", err)
	if !d.sleep(ctx, initPause) {
		return context.Cause(ctx)
	}
	return nil
}

func (c *Config) setupError(id string, err error) error {
	remedy := "see the broker's log"
	switch {
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		remedy = "grant WRITE and DESCRIBE on transactional ids with the prefix " + c.ID + "- to the principal"
	case errors.Is(err, kerr.InvalidTransactionTimeout):
		remedy = fmt.Sprintf("set TransactionTimeout (%s) to at most the brokers' transaction.max.timeout.ms", c.Timeout)
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		remedy = "grant READ on the group to the principal"
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		if ke, ok := errors.AsType[*kerr.Error](err); ok {
			remedy = wire.CodeOf(ke.Message).Remedy
		}
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		remedy = "grant READ on the input topics to the principal"
	case errors.Is(err, kerr.UnsupportedVersion):
		remedy = featureRemedy
	}
	return fmt.Errorf("transactional id %q: %w; %s", id, err, remedy)
}

const (
	feature       = "transaction.version"
	featureRemedy = "it needs Kafka 4.0 or later with kafka-features.sh upgrade --feature transaction.version=2"
)

var errNoFeature = errors.New("txn: the brokers do not serve transactions of version 2 (KIP-890)")

// checkFeature tells whether the brokers' transactions are those of KIP-890: each has an epoch of
// its own, so that nothing late can get into another one.
func checkFeature(ctx context.Context, cl *kgo.Client) error {
	resp, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, f := range resp.FinalizedFeatures {
		if f.Name == feature && f.MaxVersionLevel >= 2 {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", errNoFeature, featureRemedy)
}

// partitioner leaves records that name their partition where they want to be.
type partitioner struct{ inner kgo.Partitioner }

type topicPartitioner struct{ kgo.TopicPartitioner }

// ForTopic implements kgo.Partitioner.
func (p partitioner) ForTopic(name string) kgo.TopicPartitioner {
	inner := p.inner.ForTopic(name)
	tp := topicPartitioner{inner}
	if on, ok := inner.(kgo.TopicPartitionerOnNewBatch); ok {
		return stickyPartitioner{tp, on}
	}
	return tp
}

type stickyPartitioner struct {
	topicPartitioner
	kgo.TopicPartitionerOnNewBatch
}

// RequiresConsistency implements kgo.TopicPartitioner.
func (p topicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || p.TopicPartitioner.RequiresConsistency(r)
}

// Partition implements kgo.TopicPartitioner.
func (p topicPartitioner) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return p.TopicPartitioner.Partition(r, n)
}
