package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	checkTimeout = 5 * time.Second
	stalledCheck = 5 * time.Minute
)

// Check tells whether the consumer works now: nil, or what is wrong and what to do. It asks one broker, for at most 5 s.
func (c *Consumer) Check(ctx context.Context) error {
	c.phaseMu.Lock()
	phase, closing := c.phase, c.closing.Load()
	c.phaseMu.Unlock()
	stopped, commitErr := c.troubles.errors()
	switch {
	case stopped != nil:
		return stopped
	case phase == phaseEnded || closing:
		return ErrClosed
	case phase == phaseNew:
		return ErrNotRunning
	case c.client.Load() == nil: // it asks what the group has committed before it joins
		return c.troubles.notJoined()
	}
	if err := c.probe(ctx); err != nil {
		return err
	}
	errs := []error{c.checkPartitions()}
	if commitErr != nil {
		errs = append(errs, fmt.Errorf("consumer: commits fail: %w", commitErr))
	}
	if c.membership.Load() == nil {
		errs = append(errs, c.troubles.notJoined())
	}
	return errors.Join(errs...)
}

// checkPartitions names what stands still.
func (c *Consumer) checkPartitions() error {
	s := c.State()
	var errs []error
	for _, w := range s.Waiting {
		errs = append(errs, w)
	}
	for _, p := range s.Partitions {
		switch {
		case p.Halted != nil:
			errs = append(errs, p.Halted)
		case p.Oldest.Age > stalledCheck:
			errs = append(errs, fmt.Errorf("consumer: %s partition %d stands still: offset %d was handed out %s ago and is not done",
				p.Topic, p.Partition, p.Oldest.Offset, p.Oldest.Age.Round(time.Second)))
		}
	}
	return errors.Join(errs...)
}

// probe asks a broker for the topics.
func (c *Consumer) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	cl := c.client.Load()
	if err := cl.Ping(ctx); err != nil {
		return c.unreachable(err)
	}
	if len(c.cfg.Topics) == 0 {
		return nil
	}
	req := kmsg.NewPtrMetadataRequest()
	for _, topic := range c.cfg.Topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return c.unreachable(err)
	}
	var errs []error
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && t.Topic != nil {
			errs = append(errs, c.topicError(*t.Topic, err))
		}
	}
	return errors.Join(errs...)
}

const grantRead = "grant READ and DESCRIBE on it to this principal"

func (c *Consumer) topicError(topic string, err error) error {
	remedy := "it is tried again"
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		remedy = "it does not exist (or this principal may not see it): create it, or correct Config.Topics"
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		remedy = grantRead
	case errors.Is(err, kerr.InvalidTopicException):
		remedy = "that is no valid topic name: correct Config.Topics"
	}
	return fmt.Errorf("consumer: topic %q: %w; %s", topic, err, remedy)
}

// unreachable says which brokers were tried, and how that ended.
func (c *Consumer) unreachable(err error) error {
	tried := c.dials.failures()
	if len(tried) == 0 {
		return fmt.Errorf("consumer: no answer from brokers %s: %w", strings.Join(c.cfg.Brokers, ", "), err)
	}
	var hint string
	if errors.Is(err, kerr.SaslAuthenticationFailed) {
		hint = "; check the credentials in Config.Options"
	} else {
		hint = "; check Config.Brokers, TLS and SASL in Config.Options, and the network"
	}
	return fmt.Errorf("consumer: no answer from the brokers (seeds %s): tried %s%s: %w",
		strings.Join(c.cfg.Brokers, ", "), strings.Join(tried, "; "), hint, err)
}

// checkStart stops the consumer when it cannot start. Once all was well it ends.
func (c *Consumer) checkStart(ctx context.Context) {
	if err := c.awaitStart(ctx, c.probe); err != nil && ctx.Err() == nil {
		c.stop(err)
	}
}

// sayAgain is when a start that still waits for the same reason is worth another line.
const sayAgain = 10 * time.Second

// awaitStart tries until all is well: it warns while the brokers do not answer or a topic does not exist, and gives up after StartTimeout. Refused
// credentials and missing rights end it at once. The end of ctx is not an error.
func (c *Consumer) awaitStart(ctx context.Context, try func(context.Context) error) error {
	begun, wait := time.Now(), newBackoff(10*time.Second)
	var said string
	var at time.Time
	for {
		err := try(ctx)
		group, refused := errors.AsType[*GroupError](err)
		switch {
		case err == nil || ctx.Err() != nil:
			return nil
		case refused:
			return group
		case fatalAtStart(err):
			return &StartError{After: time.Since(begun), Err: err}
		}
		pause := max(wait.NextBackOff(), 500*time.Millisecond)
		if limit := c.cfg.StartTimeout; limit > 0 && time.Since(begun)+pause >= limit {
			return &StartError{After: limit, Err: err}
		}
		c.troubles.fetch(err)
		if text := err.Error(); text != said || time.Since(at) >= sayAgain {
			c.log.Warn("not started yet", "err", err, "since", time.Since(begun).Round(time.Second))
			said, at = text, time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

func fatalAtStart(err error) bool {
	for _, target := range []error{
		kerr.SaslAuthenticationFailed, kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState, kerr.TopicAuthorizationFailed,
		kerr.ClusterAuthorizationFailed, kerr.InvalidTopicException,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// dialLog remembers the brokers that could not be connected to, and why. It is a hook of the client.
type dialLog struct {
	mu     sync.Mutex
	failed map[string]error
}

// OnBrokerConnect is called by the client for every attempt.
func (d *dialLog) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	addr := net.JoinHostPort(meta.Host, fmt.Sprint(meta.Port))
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		delete(d.failed, addr)
		return
	}
	if d.failed == nil {
		d.failed = map[string]error{}
	}
	d.failed[addr] = err
}

func (d *dialLog) failures() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, addr := range slices.Sorted(maps.Keys(d.failed)) {
		all = append(all, fmt.Sprintf("%s (%v)", addr, d.failed[addr]))
	}
	return all
}

// troubles keeps the last error of each kind, for Check and State.
type troubles struct {
	mu        sync.Mutex
	stopped   error
	groupErr  error
	fetchErr  error
	commitErr error
}

func (t *troubles) set(field *error, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	*field = err
}

func (t *troubles) fatal(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped == nil {
		t.stopped = err
	}
}

func (t *troubles) joined()             { t.set(&t.groupErr, nil) }
func (t *troubles) group(err error)     { t.set(&t.groupErr, err) }
func (t *troubles) fetch(err error)     { t.set(&t.fetchErr, err) }
func (t *troubles) committed(err error) { t.set(&t.commitErr, err) }

func (t *troubles) errors() (stopped, commit error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stopped, t.commitErr
}

// notJoined says why there is no membership, as far as it is known.
func (t *troubles) notJoined() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.groupErr != nil:
		return fmt.Errorf("%w: %w", ErrNotJoined, t.groupErr)
	case t.fetchErr != nil:
		return fmt.Errorf("%w: %w", ErrNotJoined, t.fetchErr)
	}
	return ErrNotJoined
}
