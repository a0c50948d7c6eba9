// Package devbroker is an embedded development broker, not for production: real Kafka protocol over
// TCP, one process, everything in memory.
//
// It is franz-go's kfake with a bound on its memory, an advertised address that other machines can
// use, Kafka's refusals of records by their timestamps, and a log line that says what it is. The
// demo, examples and tests start it where no Kafka is at hand. It has no replicas: what it holds is
// gone when the process ends.
package devbroker

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Label goes wherever the broker shows itself.
const Label = "development broker, not for production"

// Defaults of Config.
const (
	DefaultBrokers           = 3
	DefaultPartitions        = 6
	DefaultRetentionBytes    = 64 << 20
	DefaultMinSessionTimeout = time.Second

	retentionEvery = 2 * time.Second
	maxBrokers     = 16
)

// Config of a development broker. The zero value is three brokers on free loopback ports.
type Config struct {
	// Brokers is how many brokers the cluster has, 1 to 16. Default 3.
	Brokers int
	// Listen is the host:port of the first broker; with a port, the others take the next ones.
	// Default 127.0.0.1:0 (free ports).
	Listen string
	// Advertise is the host that clients are told to connect to. Default: the host of Listen, or
	// 127.0.0.1 where that is a wildcard.
	Advertise string
	// Topics to create at the start, with their partitions (0: Partitions).
	Topics map[string]int
	// Partitions of topics that are created without a number. Default 6.
	Partitions int
	// AutoCreate creates a topic that a client asks for.
	AutoCreate bool
	// RetentionBytes bounds each partition: older segments are dropped every two seconds. Default
	// 64 MiB; negative keeps everything.
	RetentionBytes int64
	// MinSessionTimeout is the shortest session timeout that a group member may ask for. Default 1
	// s (Kafka: 6 s), so that killed members are noticed soon.
	MinSessionTimeout time.Duration
	// MaxMessageBytes is the largest batch that the broker takes. Default: Kafka's 1048588.
	MaxMessageBytes int
	// Logger gets one line at the start. Default slog.Default().
	Logger *slog.Logger
}

// Broker is a running development broker.
type Broker struct {
	cluster *kfake.Cluster
	addrs   []string
	conns   *atomic.Int64
	stop    chan struct{}
	done    sync.WaitGroup
	once    sync.Once
}

// Start starts the broker. The error names the field of cfg that is wrong, or the address that
// cannot be listened on.
func Start(cfg Config) (*Broker, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	lis, err := newListeners(cfg)
	if err != nil {
		return nil, err
	}
	b := &Broker{conns: &lis.open, stop: make(chan struct{})}
	b.cluster, err = kfake.NewCluster(options(cfg, lis)...)
	if err != nil {
		return nil, fmt.Errorf("devbroker: listen on %s: %w; choose another address or port 0 for a free one", cfg.Listen, err)
	}
	Validate(b.cluster, ByDefault)
	ValidateTransactions(b.cluster)
	b.addrs = b.cluster.ListenAddrs()
	if cfg.RetentionBytes > 0 {
		b.done.Go(b.applyRetention)
	}
	cfg.Logger.Info(Label, "brokers", b.addrs)
	return b, nil
}

func options(cfg Config, lis *listeners) []kfake.Opt {
	brokerConfigs := map[string]string{}
	if cfg.RetentionBytes > 0 {
		// Retention drops whole segments only: several per partition, or the bound would be one
		// segment late.
		brokerConfigs["log.retention.bytes"] = strconv.FormatInt(cfg.RetentionBytes, 10)
		brokerConfigs["log.segment.bytes"] = strconv.FormatInt(max(cfg.RetentionBytes/8, 1<<20), 10)
	}
	if cfg.MaxMessageBytes > 0 {
		brokerConfigs["message.max.bytes"] = strconv.Itoa(cfg.MaxMessageBytes)
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(cfg.Brokers),
		kfake.ListenFn(lis.listen),
		kfake.DefaultNumPartitions(cfg.Partitions),
		kfake.GroupMinSessionTimeout(cfg.MinSessionTimeout),
		kfake.BrokerConfigs(brokerConfigs),
		kfake.ClusterID("ackmark-development"),
	}
	if cfg.AutoCreate {
		opts = append(opts, kfake.AllowAutoTopicCreation())
	}
	for _, topic := range slices.Sorted(maps.Keys(cfg.Topics)) {
		opts = append(opts, kfake.SeedTopics(int32(cfg.Topics[topic]), topic))
	}
	return opts
}

// Cluster is the embedded cluster, for faults.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Addrs returns the advertised host:port of every broker.
func (b *Broker) Addrs() []string { return slices.Clone(b.addrs) }

// Connections is how many client connections are open now.
func (b *Broker) Connections() int { return int(b.conns.Load()) }

// Close stops the broker; what it held is gone. Further calls do nothing.
func (b *Broker) Close() {
	b.once.Do(func() {
		close(b.stop)
		b.done.Wait()
		b.cluster.Close()
	})
}

// applyRetention drops old segments. kfake's own ticker runs once an hour, and only for topics that
// set retention themselves.
func (b *Broker) applyRetention() {
	tick := time.NewTicker(retentionEvery)
	defer tick.Stop()
	for {
		select {
		case <-b.stop:
			return
		case <-tick.C:
			b.cluster.ApplyRetention()
		}
	}
}

func (c Config) withDefaults() (Config, error) {
	c.Brokers = orDefault(c.Brokers, DefaultBrokers)
	c.Partitions = orDefault(c.Partitions, DefaultPartitions)
	c.RetentionBytes = orDefault(c.RetentionBytes, DefaultRetentionBytes)
	c.MinSessionTimeout = orDefault(c.MinSessionTimeout, DefaultMinSessionTimeout)
	c.Listen = orDefault(c.Listen, "127.0.0.1:0")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	switch {
	case c.Brokers < 1 || c.Brokers > maxBrokers:
		return c, fmt.Errorf("devbroker: Brokers is %d; it must be 1 to %d", c.Brokers, maxBrokers)
	case c.Partitions < 1:
		return c, fmt.Errorf("devbroker: Partitions is %d; it must be at least 1", c.Partitions)
	case c.MinSessionTimeout < 0:
		return c, fmt.Errorf("devbroker: MinSessionTimeout is %s; it must be positive", c.MinSessionTimeout)
	}
	for topic, n := range c.Topics {
		if topic == "" || n < 0 {
			return c, fmt.Errorf("devbroker: Topics has %q with %d partitions; a topic needs a name and 0 (the default) or more partitions", topic, n)
		}
	}
	return c, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// listeners makes the brokers' listeners, which count connections and advertise an address that
// clients can reach.
type listeners struct {
	host, advertise string
	port            int // next port; 0: free ones
	open            atomic.Int64
}

func newListeners(cfg Config) (*listeners, error) {
	host, portText, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("devbroker: Listen is %q: %w; write host:port, as in 127.0.0.1:9092", cfg.Listen, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 0 || port+cfg.Brokers > 1<<16 {
		return nil, fmt.Errorf("devbroker: Listen is %q: the port must be 0 (free ones) or leave room for %d brokers below 65536", cfg.Listen, cfg.Brokers)
	}
	l := &listeners{host: host, advertise: cfg.Advertise, port: port}
	if l.advertise == "" {
		l.advertise = host
		if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
			// A wildcard is an address to listen on, not one to connect to.
			l.advertise = "127.0.0.1"
		}
	}
	return l, nil
}

// listen is called once per broker, in order, from NewCluster.
func (l *listeners) listen(network, _ string) (net.Listener, error) {
	ln, err := net.Listen(network, net.JoinHostPort(l.host, strconv.Itoa(l.port)))
	if err != nil {
		return nil, err
	}
	if l.port != 0 {
		l.port++
	}
	tcp, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return nil, errors.Join(fmt.Errorf("devbroker: %s is no TCP address", ln.Addr()), ln.Close())
	}
	return &listener{Listener: ln, open: &l.open, addr: advertised(net.JoinHostPort(l.advertise, strconv.Itoa(tcp.Port)))}, nil
}

type listener struct {
	net.Listener
	open *atomic.Int64
	addr advertised
}

// Addr is what the broker's metadata tells clients to connect to.
func (l *listener) Addr() net.Addr { return l.addr }

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.open.Add(1)
	return &countedConn{Conn: conn, open: l.open}, nil
}

type countedConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

type advertised string

func (advertised) Network() string  { return "tcp" }
func (a advertised) String() string { return string(a) }
