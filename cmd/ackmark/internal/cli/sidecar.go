package cli

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/cobra"

	"github.com/ackmark/ackmark/admin"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/adminport"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/systemd"
	"github.com/ackmark/ackmark/internal/budget"
	"github.com/ackmark/ackmark/sidecar"
)

// NewSidecarCommand returns `ackmark sidecar`.
func NewSidecarCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "sidecar", Short: "Run the producer of a pod: its processes send their outputs here", Args: noArgs,
		Annotations: map[string]string{reloads: "yes"},
		Long: `One sidecar per pod holds the only Kafka producer: idempotent, acks=all. The processes of the pod send it their
outputs over a unix socket in a shared volume and learn from it what Kafka has acknowledged.

Settings come from flags, over ACKMARK_ variables, over the file of --config, over defaults. Kafka client properties
(--kafka, ACKMARK_KAFKA_SASL_PASSWORD, kafka: in the file) have the names of the Java client and of librdkafka.

SIGHUP reads the settings again. In force without a restart are then apps, routes, allow_uids, allow_gids, limits of apps,
partitions and connections, the time-outs, the listener's TLS files and log.level; the log names what waits for a
restart. With one wrong setting all stays as it was.

SIGTERM stops the intake, delivers what is there, and exits with 0, or with 3 if something could not be delivered in
time: its inputs are not committed, so nothing is lost.`,
		Example: `  ackmark sidecar --brokers kafka-1:9092,kafka-2:9092
  ackmark sidecar --brokers kafka:9092 --listen unix:///run/ackmark/sidecar.sock --socket-mode 0770
  ackmark sidecar --config /etc/ackmark/sidecar.yaml --kafka compression.type=zstd
  ACKMARK_BROKERS=kafka:9093 ACKMARK_KAFKA_SECURITY_PROTOCOL=SSL ackmark sidecar

  # a file to start from
  ackmark config echo --brokers kafka:9092 > sidecar.yaml`,
	}
	flags := addSidecarFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return runSidecar(cmd, flags)
	}
	return cmd
}

func runSidecar(cmd *cobra.Command, flags *sidecarFlags) error {
	r := reloader{flags: flags}
	measured := measures{ctx: cmd.Context()}
	lastLines := func() {}
	defer func() { lastLines() }()
	e, s, err := flags.sidecar(os.Environ(), func(e *settings.Effective) *slog.Logger {
		r.level.Set(e.LogLevel)
		log, counted := newLogger(cmd.ErrOrStderr(), &r.level, e.LogFormat)
		r.log, lastLines = log, counted.Close
		return log
	}, &r.tls, measured.providers)
	if err != nil {
		return usageError{errors.Join(err, measured.end())}
	}
	defer measured.end() //nolint:errcheck // what a collector did not take is told by OpenTelemetry's error handler
	r.server, r.start, r.now = s, e, e
	port, err := openAdmin(e, s, measured.handler(), r.log)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer port.Close()
	if r.systemd, err = systemd.New(os.Getenv); err != nil {
		r.log.Warn("systemd is not told how the sidecar stands", "err", err)
	}
	defer r.systemd.Close()
	stop := r.follow(cmd.Context())
	err = s.Run(cmd.Context())
	stop()
	if _, left := errors.AsType[*sidecar.UndeliveredError](err); left {
		return codedError{err, ExitUndelivered}
	}
	return worded(e, err)
}

// worded is why the sidecar has ended, by the names of the settings.
func worded(e *settings.Effective, err error) error {
	if socket, ok := errors.AsType[*sidecar.SocketError](err); ok {
		return wordedError{asWritten(e, socket.Error()), err}
	}
	if commits, ok := errors.AsType[*sidecar.TransactionError](err); ok {
		return wordedError{asWritten(e, commits.Error()), err}
	}
	return err
}

// openAdmin serves the admin port, if the settings have one.
func openAdmin(e *settings.Effective, s *sidecar.Server, metrics http.Handler, log *slog.Logger) (*adminport.Port, error) {
	if e.Admin.Address == "" {
		return nil, nil
	}
	port, err := adminport.Open(e.Admin.Address, admin.Config{Source: s, Metrics: metrics, Hosts: e.Admin.Hosts, StallAfter: e.Admin.StallAfter, Profiles: e.Admin.Profiles}, log)
	if err != nil {
		return nil, fmt.Errorf("%s %s cannot be served: %w; choose another address, or off", e.Written("admin"), e.Admin.Address, err)
	}
	return port, nil
}

// sidecar reads the configuration and makes the sidecar, which judges it, too: the error is all
// that is wrong.
func (f *sidecarFlags) sidecar(environ []string, logger func(*settings.Effective) *slog.Logger, now *tlsNow, providers func(*settings.Effective, *sidecar.Config) error) (*settings.Effective, *sidecar.Server, error) {
	e, err := f.load(environ)
	if e == nil {
		return nil, nil, err
	}
	log := logger(e)
	setMemoryLimit(log, e.MemoryRatio)
	budget.CollectEarly()
	cfg := sidecarConfig(e, log)
	cfg.Logger, cfg.TLS = log, now.in(cfg.TLS)
	if err := providers(e, &cfg); err != nil {
		e.Add(err)
	}
	s, err := sidecar.New(cfg)
	refuse(e, err)
	if err := e.Err(); err != nil {
		return nil, nil, errors.Join(err, closeUnused(s))
	}
	return e, s, nil
}

func closeUnused(s *sidecar.Server) error {
	if s == nil {
		return nil
	}
	return s.Close()
}

// setMemoryLimit makes the garbage collector work harder before the kernel kills. No limit in the
// container is no error.
func setMemoryLimit(log *slog.Logger, ratio float64) {
	if ratio == 0 {
		return
	}
	if _, err := memlimit.Set(memlimit.WithRatio(ratio)); err != nil {
		log.Warn("GOMEMLIMIT is left as it was: the container's memory limit cannot be read", "err", err)
	}
}

// settingKeys tell which setting a field of sidecar.Config is.
var settingKeys = map[string]string{
	"MaxBytes": "limits/bytes", "MaxRecords": "limits/records", "MaxSessions": "limits/sessions", "MaxConnections": "limits/connections",
	"PartitionBytes": "limits/partition_bytes", "PartitionRecords": "limits/partition_records", "AppBytes": "limits/app_bytes", "AppRecords": "limits/app_records",
	"MaxRecordBytes": "limits/record_bytes", "MaxMessageBytes": "limits/message_bytes", "ReportRing": "limits/report_ring", "Linger": "kafka/linger.ms", "MaxLinger": "limits/linger",
	"SocketMode": "socket_mode", "AllowUIDs": "allow_uids", "AllowGIDs": "allow_gids", "DrainTimeout": "drain_timeout", "ReconnectGrace": "reconnect_grace",
	"WillTimeout": "will_timeout", "StateDir": "state_dir", "StateBytes": "limits/state_bytes", "Brokers": "brokers", "Listen": "listen", "Apps": "apps", "TLS": "tls", "Routes": "routes", "RouteSetters": "route_setters", "MetricsPerTopic": "metrics_per_topic",
	"TransactionalID": "transactional_id", "CommitEvery": "commit_every", "TransactionTimeout": "transaction_timeout",
}

var fieldWord = regexp.MustCompile(`[A-Z][A-Za-z]*[a-z]`)

// asWritten replaces fields of sidecar.Config by the names that people wrote.
func asWritten(e *settings.Effective, text string) string {
	return fieldWord.ReplaceAllStringFunc(text, func(word string) string {
		if key, ok := settingKeys[word]; ok {
			return e.Written(key)
		}
		return word
	})
}

// refuse adds to what is wrong with the settings what the sidecar says.
func refuse(e *settings.Effective, err error) {
	switch x := err.(type) { //nolint:errorlint // not errors.As: each of several counts
	case nil:
	case interface{ Unwrap() []error }:
		for _, one := range x.Unwrap() {
			refuse(e, one)
		}
	case *tlsFileError:
		e.Refuse(x.key, x.problem)
	case *sidecar.ConfigError:
		field, part, _ := strings.Cut(x.Field, ".")
		problem := fmt.Sprintf("is %s; %s", cmp.Or(x.Value, "missing"), asWritten(e, x.Remedy))
		key, known := settingKeys[field]
		switch {
		case field == "TLS": // said already: files are missing, or cannot be read
		case strings.HasPrefix(field, "Options"):
			e.Add(err)
		case known:
			e.Refuse(key, problem)
		default:
			e.Refuse(strings.ReplaceAll(strings.ToLower(field), "routesetters", "route_setters"), strings.ToLower(part)+" "+problem) // Apps[0].Name
		}
	default:
		e.Add(err)
	}
}

// wordedError is an error with another text.
type wordedError struct {
	text string
	error
}

func (e wordedError) Error() string { return e.text }
func (e wordedError) Unwrap() error { return e.error }

// sidecarConfig is the configuration of the sidecar. TLS files that cannot be read are refused in
// e.
func sidecarConfig(e *settings.Effective, log *slog.Logger) sidecar.Config {
	cfg := sidecar.Config{
		Brokers: e.Brokers, Options: e.Client.Options, Listen: e.Listen, SocketMode: e.SocketMode, AllowUIDs: e.AllowUIDs, AllowGIDs: e.AllowGIDs,
		MaxBytes: e.Limits.Bytes, MaxRecords: int(e.Limits.Records), MaxSessions: int(e.Limits.Sessions), MaxConnections: int(e.Limits.Connections),
		PartitionBytes: e.Limits.PartitionBytes, PartitionRecords: int(e.Limits.PartitionRecords),
		AppBytes: e.Limits.AppBytes, AppRecords: int(e.Limits.AppRecords),
		MaxRecordBytes: int(e.Limits.RecordBytes), MaxMessageBytes: int(e.Limits.MessageBytes), ReportRing: int(e.Limits.ReportRing),
		DrainTimeout: e.DrainTimeout, ReconnectGrace: e.ReconnectGrace, WillTimeout: e.WillTimeout, MaxLinger: e.Limits.Linger, StateDir: e.StatePath(), StateBytes: e.Limits.StateBytes, MetricsPerTopic: e.Admin.PerTopic, Version: version(),
	}
	if e.Transactions.ID != "" {
		cfg.TransactionalID, cfg.CommitEvery, cfg.TransactionTimeout = e.Transactions.ID, e.Transactions.Every, e.Transactions.Timeout
	}
	e.Client.LogTo(log)
	if linger := e.Client.Linger; linger != nil {
		cfg.Linger = *linger
		if cfg.Linger == 0 {
			cfg.Linger = -1 // zero is the default there; linger.ms=0 is none at all
		}
	}
	for i, a := range e.Apps {
		token, err := a.Secret()
		if err != nil {
			e.Refuse(fmt.Sprintf("apps[%d]", i), "token "+err.Error())
		}
		cfg.Apps = append(cfg.Apps, sidecar.App{Name: a.Name, Topics: a.Topics, Groups: a.Groups, Token: token})
	}
	for _, r := range e.Routes {
		cfg.Routes = append(cfg.Routes, sidecar.Route(r))
	}
	for _, r := range e.RouteSetters {
		cfg.RouteSetters = append(cfg.RouteSetters, sidecar.RouteSetter(r))
	}
	if strings.HasPrefix(e.Listen, "tcp://") && e.TLS.Certificate != "" && e.TLS.Key != "" && e.TLS.ClientCA != "" {
		var err error
		if cfg.TLS, e.Listener, err = MutualTLS(e.TLS, log); err != nil {
			refuse(e, err)
		}
	}
	return cfg
}
