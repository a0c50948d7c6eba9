package consumer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokers is how a consumer reaches Kafka.
type brokers struct {
	cfg           *Config
	log           *slog.Logger
	troubles      *troubles
	client        atomic.Pointer[kgo.Client]
	endClient     context.CancelFunc // ends all that the client asks for
	dials         dialLog
	connected     atomic.Bool // one was reached
	refused       sync.Map    // address → *atomic.Int64: refusals in a row
	protocol      Protocol    // that the group is joined in; known before the client is
	turnedClassic atomic.Bool // the client joined in another one
	session       *session
}

// baseOptions are those of a client that only asks: the user's, and how to connect.
func (b *brokers) baseOptions() []kgo.Opt {
	opts := append([]kgo.Opt{kgo.WithLogger(clientLogger{b.log})}, b.cfg.Options...)
	opts = append(opts, kgo.SeedBrokers(b.cfg.Brokers...), kgo.WithHooks(&b.dials), kgo.WithContext(context.Background()))
	if b.cfg.dial != nil {
		opts = append(opts, kgo.DialTLSConfig(nil), kgo.Dialer(b.patient(b.cfg.dial))) // it has TLS in it
	}
	return opts
}

// asking makes a client that asks about the group and does not join it: it is of the group in name,
// since the options may say more of it, and has no topics.
func (b *brokers) asking() (*kgo.Client, error) {
	return kgo.NewClient(append(b.baseOptions(), kgo.ConsumerGroup(b.cfg.Group), kgo.DisableAutoCommit(), kgo.ConsumeTopics())...)
}

// clientOptions: first defaults that the user's options override, then the user's, then what the
// promises rest on.
func (b *brokers) clientOptions() []kgo.Opt {
	cfg := b.cfg
	fetch := cfg.fetchMaxBytes()
	ctx, endClient := context.WithCancel(context.Background())
	b.endClient = endClient
	opts := []kgo.Opt{
		kgo.WithLogger(clientLogger{b.log}),
		kgo.FetchMaxWait(fetchMaxWait),
		kgo.FetchMaxBytes(fetch),
		kgo.FetchMaxPartitionBytes(cfg.firstPiece()),
		kgo.MaxConcurrentFetches(maxConcurrentFetches),
		kgo.MaxDecompressBatchBytes(cfg.maxDecompressBytes()),
	}
	opts = append(opts, cfg.Options...)
	opts = append(opts,
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ConsumerGroup(cfg.Group),
		kgo.SessionTimeout(cfg.SessionTimeout),
		kgo.RebalanceTimeout(cfg.RebalanceTimeout),
		kgo.HeartbeatInterval(cfg.HeartbeatInterval),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.KeepControlRecords(), // never handed out: they move the tracker, so that marks cross transaction markers
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(cfg.resetOffset()),
		kgo.WithHooks(&b.dials),
		kgo.WithContext(ctx), // the client ends by leave, after the last commit, and by nothing else
	)
	if cfg.dial != nil {
		opts = append(opts, kgo.DialTLSConfig(nil), kgo.Dialer(b.patient(cfg.dial))) // it has TLS in it
	}
	if cfg.Regex != "" {
		opts = append(opts, kgo.ConsumeRegex(), kgo.ConsumeTopics(cfg.Regex))
	} else {
		opts = append(opts, kgo.ConsumeTopics(cfg.Topics...))
	}
	if cfg.InstanceID != "" {
		opts = append(opts, kgo.InstanceID(cfg.InstanceID))
	}
	if b.epochs() {
		opts = append(opts, kgo.ServerSideBalancer(), kgo.WithHooks(b.session))
	}
	if cfg.ReadCommitted {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	return opts
}

// metadataOf asks about topics by name, or about all of them if there are none.
func metadataOf(topics iter.Seq[string]) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	for topic := range topics {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = &topic
		req.Topics = append(req.Topics, t)
	}
	return req
}

// probe asks a broker for the topics.
func (b *brokers) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	cl := b.client.Load()
	if err := cl.Ping(ctx); err != nil {
		return b.unreachable(err)
	}
	if len(b.cfg.Topics) == 0 {
		return nil
	}
	req := metadataOf(slices.Values(b.cfg.Topics))
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return b.unreachable(err)
	}
	var errs []error
	for _, t := range resp.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && t.Topic != nil {
			errs = append(errs, b.topicError(*t.Topic, err))
		}
	}
	return errors.Join(errs...)
}

const grantRead = "grant READ and DESCRIBE on it to this principal"

func (b *brokers) topicError(topic string, err error) error {
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
func (b *brokers) unreachable(err error) error {
	tried := b.dials.failures()
	if len(tried) == 0 {
		return fmt.Errorf("consumer: no answer from brokers %s: %w", strings.Join(b.cfg.Brokers, ", "), err)
	}
	var hint string
	if errors.Is(err, kerr.SaslAuthenticationFailed) {
		hint = "; check the credentials in Config.Options"
	} else {
		hint = "; check Config.Brokers, TLS and SASL in Config.Options, and the network"
	}
	return fmt.Errorf("consumer: no answer from the brokers (seeds %s): tried %s%s: %w",
		strings.Join(b.cfg.Brokers, ", "), strings.Join(tried, "; "), hint, err)
}

// sayAgain is when a start that still waits for the same reason is worth another line.
const sayAgain = 10 * time.Second

// awaitStart tries until all is well: it warns while the brokers do not answer or a topic does not
// exist, and gives up after StartTimeout. Refused credentials and missing rights end it at once.
// The end of ctx is not an error.
func (b *brokers) awaitStart(ctx context.Context, try func(context.Context) error) error {
	begun, wait := time.Now(), newBackoff(10*time.Second)
	var said string
	var at time.Time
	for {
		err := try(ctx)
		group, refused := errors.AsType[*GroupError](err)
		switch {
		case err == nil || ctx.Err() != nil:
			return nil //nolint:nilerr // the caller sees that its context has ended
		case refused:
			return group
		case fatalAtStart(err):
			return &StartError{After: time.Since(begun), Err: err}
		}
		pause := max(wait.NextBackOff(), 500*time.Millisecond)
		if limit := b.cfg.StartTimeout; limit > 0 && time.Since(begun)+pause >= limit {
			return &StartError{After: limit, Err: err}
		}
		b.troubles.fetch(err)
		if text := err.Error(); text != said || time.Since(at) >= sayAgain {
			b.log.Warn("not started yet", "err", err, "since", time.Since(begun).Round(time.Second))
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

// dialLog remembers the brokers that could not be connected to, and why. It is a hook of the
// client.
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
