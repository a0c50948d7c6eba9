package sidecar

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark"
	"github.com/ackmark/ackmark/internal/budget"
	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/hostport"
	"github.com/ackmark/ackmark/internal/sessionfile"
	"github.com/ackmark/ackmark/internal/storm"
	"github.com/ackmark/ackmark/sidecar/internal/apps"
	"github.com/ackmark/ackmark/sidecar/internal/flows"
)

// Defaults of Config.
const (
	DefaultListen    = "unix:///run/ackmark/sidecar.sock"
	DefaultLinger    = 5 * time.Millisecond
	DefaultMaxLinger = 25 * time.Millisecond
	// DefaultMaxRecords is what is on its way to the brokers, and more only waits.
	DefaultMaxRecords = 64 << 10
	// DefaultMaxRecordsExactlyOnce is for a sidecar with a TransactionalID: there what was sent
	// stays outstanding until its transaction ends.
	DefaultMaxRecordsExactlyOnce = 256 << 10
	DefaultMaxSessions           = 64
	DefaultMaxConnections        = 256
	DefaultMaxMessageBytes       = 4 << 20
	DefaultMaxRecordBytes        = DefaultMaxMessageBytes - messageOverhead // what Kafka takes of it, compressed, Kafka decides
	DefaultReportRing            = 4096
	DefaultDrainTimeout          = 20 * time.Second
	DefaultReconnectGrace        = time.Second
	DefaultWillTimeout           = 30 * time.Second
	DefaultStateBytes            = sessionfile.DefaultLimit
	DefaultSocketMode            = fs.FileMode(0o700)
)

// Config of a sidecar. Only Brokers is required.
type Config struct {
	// Brokers are host:port addresses of some brokers of the cluster. Required.
	Brokers []string
	// Options are your own kgo options: TLS, SASL, compression, hooks. Those that would break a
	// promise are refused by name.
	Options []kgo.Opt
	// Partitioner chooses partitions for records that do not name theirs. Default: from the key by
	// murmur2 as the Java client does, and without a key one partition for each batch. Another one
	// moves keys to other partitions: set it only if every producer of the topic uses the same.
	Partitioner kgo.Partitioner
	// Linger is how long records wait for others to share their batch. Default 5 ms; negative: not
	// at all.
	Linger time.Duration
	// MaxLinger is how long they wait at most while they come so slowly that Linger gathers fewer
	// than 8 for a partition's batch; when nothing else comes for the length of Linger, nobody
	// waits longer. Default: 25 ms if Linger is not set, else Linger.
	MaxLinger time.Duration

	// Listen is unix:///path, or tcp://host:port with TLS. Default
	// unix:///run/ackmark/sidecar.sock.
	Listen string
	// Listener, if set, is served instead of Listen, as it is: who may connect to it is its owner's
	// business.
	Listener net.Listener
	// SocketMode is who may connect: 0700 (this user) or 0770 (the group of the socket's directory
	// too, also as a supplementary group). A directory that the sidecar makes has mode 0700 or
	// 0750: nobody else can replace the socket. Default 0700.
	SocketMode fs.FileMode
	// AllowUIDs and AllowGIDs may connect to the unix socket, beside this process's own user.
	AllowUIDs, AllowGIDs []uint32
	// TLS is required for tcp://, with RequireAndVerifyClientCert.
	TLS *tls.Config
	// Apps is the allow-list of apps. Empty: any app may write to any topic that the sidecar's
	// Kafka principal may write to.
	Apps []App
	// Routes say which part of a topic's keys goes through the sidecar, to clients that can go to
	// Kafka directly, too. Default: what each app configures itself.
	Routes []Route
	// RouteSetters are who may set which routes while the sidecar runs. What was set by who may not
	// any more is forgotten. Default: this process's own user and root, all routes.
	RouteSetters []RouteSetter

	// MaxBytes and MaxRecords bound what all sessions and emits together may have outstanding:
	// received, and not reported. An eighth is for emits, the rest is for sessions: half in
	// MaxSessions equal floors, half equally for those at work: of the bytes up to an eighth each,
	// with a TransactionalID and of the records up to three eighths. Defaults: a quarter of the
	// memory limit (8 to 256 MiB), and 65536 records, or 262144 with a TransactionalID; more for
	// many MaxSessions.
	//
	// Whatever peers send, memory in use is at most (S9): four times MaxBytes (one of them for what
	// costs no credit: assignments, done-sets, names; one more while as many unary emits come in as
	// may), an eighth of it for what processes tell of their state, about 2 KiB for each of
	// MaxRecords, and twice MaxMessageBytes for each message that is arriving: one for each
	// session, and about 20 for calls that nobody is known to make yet (more for emits, if an
	// eighth of MaxBytes has room for them). Beside that it takes at most 128 KiB for each of
	// MaxConnections, and 12 MiB for the ids of sessions that are over (the last 65,536).
	MaxBytes   int64
	MaxRecords int
	// MaxSessions is how many sessions may be open at the same time. Default 64.
	MaxSessions int
	// MaxConnections is how many connections are served at the same time; more are closed at once.
	// Default 256.
	MaxConnections int
	// PartitionBytes and PartitionRecords bound what waits for one output partition. A session that
	// writes to a full one waits, the others go on; an emit to it is refused. Defaults: half
	// of MaxBytes and of MaxRecords.
	PartitionBytes   int64
	PartitionRecords int
	// AppBytes and AppRecords bound what all sessions and emits of one app may have outstanding.
	// Defaults: three quarters of MaxBytes and of MaxRecords.
	AppBytes   int64
	AppRecords int
	// MaxRecordBytes is the largest record, before compression: Kafka decides about what is left
	// after it. Batches grow to 1000012 bytes of it, or to what the topic says. Default:
	// MaxMessageBytes less 64 KiB.
	MaxRecordBytes int
	// MaxMessageBytes is the largest gRPC message that is accepted; larger ones end their call
	// before they are read. Default 4 MiB.
	MaxMessageBytes int
	// ReportRing is how many reports of queued emits are kept for each app until it has seen them.
	// Default 4096.
	ReportRing int

	// DrainTimeout is how long Run tries to deliver what it has, once its context ended. Default 20
	// s. Keep it below what is left of the pod's grace period when the apps have ended.
	DrainTimeout time.Duration
	// ReconnectGrace is how long a session waits for its client when its stream broke, before its
	// will is executed: what was received is finished, ack marks and done-sets are committed as
	// that member, and the groups are left for it. A process that is proven dead is not waited for.
	// Default 1 s.
	ReconnectGrace time.Duration
	// StateDir is a directory of this user's own in which every session is written down, so that
	// the sidecar after this one executes the wills of those whose process died with this one. It
	// must outlive the process, not the pod: in Kubernetes an emptyDir, best of medium Memory. A
	// session takes 12 KiB there, and each of its assignments 8. A second sidecar that has it does
	// not start. Default: none. Then app and
	// sidecar that die together repeat what was done since the last commit. Linux and macOS only.
	StateDir string
	// StateBytes bounds the sum of it, with what the dead have left. Half of it is divided equally
	// among MaxSessions sessions, so that none takes another's room; of the rest each takes what it
	// needs, at most half of what is left. What has no room is not written, with a line in the log.
	// Default 64 MiB.
	StateBytes int64
	// TransactionalID has the sidecar commit, for the sessions of apps that are exactly-once, the
	// outputs of every input with the input's offset, in transactions that all of them share. It
	// names the pod's place, not the process: a sidecar that is started in the place of another one
	// has the same, and two that run at the same time have different ones. Kafka 4.0 or later with
	// transaction.version 2. Default: none, every session is at-least-once.
	TransactionalID string
	// CommitEvery is the time between the ends of two transactions, while there is something to
	// commit: 5 ms to 1 s. Default 100 ms.
	CommitEvery time.Duration
	// TransactionTimeout is after how long the brokers abort a transaction that nobody ends: at
	// most their transaction.max.timeout.ms, and less than the consumers' SessionTimeout. Default
	// 15 s.
	TransactionTimeout time.Duration
	// WillTimeout is how long a will may take. Keep it below the consumers' SessionTimeout, after
	// which nothing can be committed any more. Default 30 s.
	WillTimeout time.Duration
	// Version is shown in Welcome and Status. Default "devel".
	Version string
	// TracerProvider makes a span of each record that carries a sampled trace context. Default:
	// none, at no cost.
	TracerProvider trace.TracerProvider
	// Logger default slog.Default().
	Logger *slog.Logger
	// MeterProvider gets the metrics of docs/metrics.md. Default: none, at no cost.
	MeterProvider metric.MeterProvider
	// MetricsPerTopic tells no partitions apart in metrics: what waits for those of a topic is
	// added.
	MetricsPerTopic bool
}

// App is an entry of the allow-list.
type App struct {
	// Name is what the app calls itself in Hello and Emit. Required.
	Name string
	// Topics that it may write to; a '*' at the end matches any rest. Nil: all. An empty list is
	// refused.
	Topics []string
	// Groups that it may speak for: whose members it may name in Assign, so that a will commits for
	// them; a '*' at the end matches any rest. Nil: all, which trusts the app not to name another
	// one's members. An empty list is refused.
	Groups []string
	// Token, if not empty, has to be presented by the app.
	Token string
}

// ConfigError names a field of a configuration that is wrong, an option of the Kafka client among
// them, and says what to do. Where several are wrong, they are joined.
type ConfigError = ackmark.ConfigError

// WithDefaults is the configuration in effect: what is zero and has a default has it.
func (c Config) WithDefaults() Config {
	if c.Linger == 0 {
		def(&c.MaxLinger, DefaultMaxLinger)
	}
	def(&c.Linger, DefaultLinger)
	def(&c.MaxLinger, c.linger())
	def(&c.Listen, DefaultListen)
	def(&c.SocketMode, DefaultSocketMode)
	if c.MaxBytes == 0 {
		c.MaxBytes = budget.DefaultBytes()
	}
	def(&c.MaxSessions, DefaultMaxSessions)
	records := DefaultMaxRecords
	if c.TransactionalID != "" {
		records = DefaultMaxRecordsExactlyOnce
	}
	def(&c.MaxRecords, max(records, c.leastRecords()))
	def(&c.MaxConnections, DefaultMaxConnections)
	def(&c.PartitionBytes, max(c.MaxBytes/2, 1))
	def(&c.PartitionRecords, max(c.MaxRecords/2, 1))
	def(&c.AppBytes, max(c.MaxBytes/4*3, 1))
	def(&c.AppRecords, max(c.MaxRecords/4*3, 1))
	def(&c.MaxMessageBytes, DefaultMaxMessageBytes)
	if room := c.MaxMessageBytes - messageOverhead; room >= smallestRecord {
		def(&c.MaxRecordBytes, min(room, 64<<20))
	}
	def(&c.MaxRecordBytes, DefaultMaxRecordBytes) // an error names MaxMessageBytes
	def(&c.ReportRing, DefaultReportRing)
	def(&c.DrainTimeout, DefaultDrainTimeout)
	def(&c.ReconnectGrace, DefaultReconnectGrace)
	def(&c.WillTimeout, DefaultWillTimeout)
	def(&c.StateBytes, DefaultStateBytes)
	if c.TransactionalID != "" {
		def(&c.CommitEvery, DefaultCommitEvery)
		def(&c.TransactionTimeout, DefaultTransactionTimeout)
	}
	def(&c.Version, "devel")
	c.Logger = storm.Counted(c.Logger)
	return c
}

const (
	smallestRecord = 512
	// largestBatch is Kafka's max.message.bytes less its overhead, as every Kafka client has it.
	largestBatch = 1_000_012
)

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// apps is what the apps are bounded by.
func (c *Config) apps(counts func(app string) *flows.App) apps.Config {
	out := apps.Config{
		Bytes: c.AppBytes, Records: c.AppRecords, EmitBytes: c.emitBytes(), EmitRecords: c.emitRecords(),
		Ring: c.ReportRing, Reports: max(DefaultMaxRecordsExactlyOnce/4, c.MaxRecords/4, 4*c.ReportRing), Log: c.Logger, Counts: counts,
	}
	for _, a := range c.Apps {
		out.List = append(out.List, apps.Entry(a))
	}
	return out
}

// The least credit of a session, and what emits may have: see Config.MaxBytes.
func (c *Config) floorBytes() int64 { return c.MaxBytes / 16 * 7 / int64(c.MaxSessions) }

// leastRecords is the smallest MaxRecords for so many sessions.
func (c *Config) leastRecords() int { return (c.MaxSessions*minCreditRecords*16+6)/7 + 16 }

func (c *Config) floorRecords() int     { return c.MaxRecords / 16 * 7 / c.MaxSessions }
func (c *Config) emitBytes() int64      { return c.MaxBytes / 8 }
func (c *Config) emitRecords() int      { return c.MaxRecords / 8 }
func (c *Config) linger() time.Duration { return max(c.Linger, 0) }

const (
	minCreditBytes   = 16 << 10
	minCreditRecords = 16
	messageOverhead  = 64 << 10
)

// Validate finds all that is wrong, as New does: each a *ConfigError, joined where several are.
func (c Config) Validate() error {
	c = c.WithDefaults()
	return errors.Join(c.validate(), checkOptions(c.Options))
}

// validate finds all that is wrong, but for the options, each a *ConfigError.
func (c *Config) validate() error {
	wrong := configerr.For("sidecar.Config")
	c.validateBrokers(wrong)
	wrong.If(c.Linger > 10*time.Second, "Linger", c.Linger, "at most 10s: every acknowledgement waits for it")
	wrong.If(c.MaxLinger > 10*time.Second && c.MaxLinger > c.Linger, "MaxLinger", c.MaxLinger, "at most 10s: acknowledgements wait for it")
	wrong.If(c.MaxLinger < c.linger(), "MaxLinger", c.MaxLinger, fmt.Sprintf("at least Linger (%s); 0 means the default", c.linger()))
	wrong.If(c.Linger < 0 && c.MaxLinger > 0, "MaxLinger", c.MaxLinger, "leave it out, or set Linger, which is none at all")
	wrong.If(c.SocketMode != 0o700 && c.SocketMode != 0o770, "SocketMode", configerr.Words(fmt.Sprintf("%#o", c.SocketMode)),
		"use 0700 (this user only) or 0770 (its group too)")
	wrong.If(c.MaxSessions < 1 || c.MaxSessions > 4096, "MaxSessions", c.MaxSessions, "use 1 to 4096")
	wrong.If(c.MaxConnections < 1, "MaxConnections", c.MaxConnections, "at least 1")
	if c.MaxSessions > 0 {
		wrong.If(c.floorBytes() < minCreditBytes, "MaxBytes", c.MaxBytes,
			fmt.Sprintf("at least %d for %d sessions of %d bytes each; raise it or lower MaxSessions", (int64(c.MaxSessions)*minCreditBytes*16+6)/7+16, c.MaxSessions, minCreditBytes))
		wrong.If(c.floorRecords() < minCreditRecords, "MaxRecords", c.MaxRecords,
			fmt.Sprintf("at least %d for %d sessions of %d records each; raise it or lower MaxSessions", c.leastRecords(), c.MaxSessions, minCreditRecords))
	}
	wrong.If(c.PartitionBytes < 1, "PartitionBytes", c.PartitionBytes, "at least 1; 0 means the default")
	wrong.If(c.PartitionRecords < 1, "PartitionRecords", c.PartitionRecords, "at least 1; 0 means the default")
	wrong.If(c.AppBytes < 1, "AppBytes", c.AppBytes, "at least 1; 0 means the default")
	wrong.If(c.AppRecords < 1, "AppRecords", c.AppRecords, "at least 1; 0 means the default")
	wrong.If(c.MaxRecordBytes < smallestRecord || c.MaxRecordBytes > 64<<20, "MaxRecordBytes", c.MaxRecordBytes, "use 512 to 64 MiB")
	wrong.If(c.MaxRecordBytes <= 64<<20 && c.MaxMessageBytes < c.MaxRecordBytes+messageOverhead || c.MaxMessageBytes > 256<<20, "MaxMessageBytes", c.MaxMessageBytes,
		fmt.Sprintf("at least MaxRecordBytes + 64 KiB (%d), at most 256 MiB", c.MaxRecordBytes+messageOverhead))
	wrong.If(c.ReportRing < 2, "ReportRing", c.ReportRing, "at least 2")
	wrong.If(c.DrainTimeout < 0, "DrainTimeout", c.DrainTimeout, "use a positive duration, 0 means the default")
	wrong.If(c.ReconnectGrace < 0, "ReconnectGrace", c.ReconnectGrace, "use a positive duration, 0 means the default")
	wrong.If(c.StateBytes < 0, "StateBytes", c.StateBytes, "use a positive number, 0 means the default")
	wrong.If(c.WillTimeout < 0, "WillTimeout", c.WillTimeout, "use a positive duration, 0 means the default")
	c.validateTransactions(wrong)
	c.validateApps(wrong)
	c.validateRoutes(wrong)
	c.validateListen(wrong)
	return wrong.Err()
}

func (c *Config) validateBrokers(wrong *configerr.List) {
	if len(c.Brokers) == 0 {
		wrong.Missing("Brokers", "name at least one broker as host:port")
	}
	if b, bad := hostport.FirstBad(c.Brokers); bad {
		wrong.Wrong("Brokers", b, hostport.Remedy)
	}
}

func (c *Config) validateApps(wrong *configerr.List) {
	seen := make(map[string]bool)
	for i, a := range c.Apps {
		field := fmt.Sprintf("Apps[%d].Name", i)
		wrong.If(!apps.ValidName.MatchString(a.Name), field, a.Name, "use 1 to 128 letters, digits, '.', '_', '-'")
		wrong.If(seen[a.Name], field, a.Name, "each app once: join their topics")
		seen[a.Name] = true
		validateNames(wrong, fmt.Sprintf("Apps[%d].Topics", i), "topic", a.Topics)
		validateNames(wrong, fmt.Sprintf("Apps[%d].Groups", i), "group", a.Groups)
	}
}

// validateNames adds the first that is wrong in a list.
func validateNames(wrong *configerr.List, field, what string, list []string) {
	wrong.If(list != nil && len(list) == 0, field, list, "name at least one "+what+", or leave it out: all")
	for _, name := range list {
		if name == "" || strings.Contains(strings.TrimSuffix(name, "*"), "*") {
			wrong.Wrong(field, name, "a "+what+" name, or a prefix with '*' at its end")
			return
		}
	}
}

func (c *Config) validateListen(wrong *configerr.List) {
	if c.Listener != nil {
		wrong.If(c.TLS != nil, "TLS", configerr.Words("set"),
			"it is for Listen tcp://; a Listener is served as it is: wrap it by tls.NewListener, or leave TLS out")
		return
	}
	scheme, rest, ok := strings.Cut(c.Listen, "://")
	switch {
	case ok && scheme == "unix" && strings.HasPrefix(rest, "/") && len(rest) > 1:
		wrong.If(len(rest) > 107, "Listen", c.Listen, "the path of a unix socket has at most 107 bytes")
	case ok && scheme == "tcp" && rest != "":
		c.validateTLS(wrong)
	default:
		wrong.Wrong("Listen", c.Listen, "use unix:///absolute/path.sock, or tcp://host:port with TLS")
	}
}

func (c *Config) validateTLS(wrong *configerr.List) {
	switch {
	case c.TLS == nil:
		wrong.Missing("TLS", "tcp:// is served only with mutual TLS: set certificates and ClientCAs, or listen on unix://")
	case c.TLS.ClientAuth != tls.RequireAndVerifyClientCert:
		wrong.Wrong("TLS.ClientAuth", c.TLS.ClientAuth, "must be RequireAndVerifyClientCert: anybody could produce otherwise")
	case c.TLS.ClientCAs == nil && c.TLS.GetConfigForClient == nil:
		wrong.Missing("TLS.ClientCAs", "name the CA of your clients: nil would trust every public CA")
	case len(c.TLS.Certificates) == 0 && c.TLS.GetCertificate == nil && c.TLS.GetConfigForClient == nil:
		wrong.Missing("TLS.Certificates", "set the sidecar's certificate")
	}
}
