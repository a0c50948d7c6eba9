package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/spf13/cobra"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/sidecar"
)

// NewSidecarCommand returns `ackmark sidecar`.
func NewSidecarCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "sidecar", Short: "Run the producer of a pod: its processes send their outputs here", Args: noArgs,
		Long: `One sidecar per pod holds the only Kafka producer: idempotent, acks=all. The processes of the pod send it their
outputs over a unix socket in a shared volume and learn from it what Kafka has acknowledged.

Settings come from flags, over ACKMARK_ variables, over the file of --config, over defaults. Kafka client properties
(--kafka, ACKMARK_KAFKA_SASL_PASSWORD, kafka: in the file) have the names of the Java client and of librdkafka.

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
		e, err := flags.load(os.Environ())
		if err != nil {
			return usageError{err}
		}
		return runSidecar(cmd, e)
	}
	return cmd
}

func runSidecar(cmd *cobra.Command, e *settings.Effective) error {
	log := newLogger(cmd.ErrOrStderr(), e.LogLevel, e.LogFormat)
	setMemoryLimit(log, e.MemoryRatio)
	cfg, err := sidecarConfig(e, log)
	if err != nil {
		return usageError{err}
	}
	cfg.Logger = log
	s, err := sidecar.New(cfg)
	if err != nil {
		return asUsage(err)
	}
	err = s.Run(cmd.Context())
	if _, left := errors.AsType[*sidecar.UndeliveredError](err); left {
		return codedError{err, ExitUndelivered}
	}
	return asUsage(err)
}

// setMemoryLimit makes the garbage collector work harder before the kernel kills. No limit in the container is no error.
func setMemoryLimit(log *slog.Logger, ratio float64) {
	if ratio == 0 {
		return
	}
	if _, err := memlimit.Set(memlimit.WithRatio(ratio)); err != nil {
		log.Warn("GOMEMLIMIT is left as it was: the container's memory limit cannot be read", "err", err)
	}
}

// settingNames tell a person which setting a field of sidecar.Config is.
var settingNames = []string{
	"MaxBytes", "limits.bytes", "MaxRecords", "limits.records", "MaxSessions", "limits.sessions", "MaxConnections", "limits.connections",
	"PartitionBytes", "limits.partition_bytes", "PartitionRecords", "limits.partition_records", "AppBytes", "limits.app_bytes", "AppRecords", "limits.app_records",
	"MaxRecordBytes", "limits.record_bytes", "MaxMessageBytes", "limits.message_bytes", "ReportRing", "limits.report_ring", "Linger", "kafka.linger.ms",
	"SocketMode", "socket_mode", "DrainTimeout", "drain_timeout", "ReconnectGrace", "reconnect_grace",
	"WillTimeout", "will_timeout", "Brokers", "brokers", "Listen", "listen", "Apps", "apps",
}

// asUsage gives errors about the configuration their exit code, and the names that people wrote.
func asUsage(err error) error {
	rename := strings.NewReplacer(settingNames...)
	if e, ok := errors.AsType[*sidecar.ConfigError](err); ok {
		return usageError{fmt.Errorf("%s is %v: %s", rename.Replace(e.Field), e.Value, rename.Replace(e.Remedy))}
	}
	if _, ok := errors.AsType[*sidecar.OptionError](err); ok {
		return usageError{err}
	}
	return err
}

func sidecarConfig(e *settings.Effective, log *slog.Logger) (sidecar.Config, error) {
	cfg := sidecar.Config{
		Brokers: e.Brokers, Options: e.Client.Options, Listen: e.Listen, SocketMode: e.SocketMode, AllowUIDs: e.AllowUIDs, AllowGIDs: e.AllowGIDs,
		MaxBytes: e.Limits.Bytes, MaxRecords: int(e.Limits.Records), MaxSessions: int(e.Limits.Sessions), MaxConnections: int(e.Limits.Connections),
		PartitionBytes: e.Limits.PartitionBytes, PartitionRecords: int(e.Limits.PartitionRecords),
		AppBytes: e.Limits.AppBytes, AppRecords: int(e.Limits.AppRecords),
		MaxRecordBytes: int(e.Limits.RecordBytes), MaxMessageBytes: int(e.Limits.MessageBytes), ReportRing: int(e.Limits.ReportRing),
		DrainTimeout: e.DrainTimeout, ReconnectGrace: e.ReconnectGrace, WillTimeout: e.WillTimeout, Version: version(),
	}
	if e.Client.TLS != nil {
		e.Client.TLS.LogTo(log)
	}
	if linger := e.Client.Linger; linger != nil {
		cfg.Linger = *linger
		if cfg.Linger == 0 {
			cfg.Linger = -1 // zero is the default there; linger.ms=0 is none at all
		}
	}
	for _, a := range e.Apps {
		cfg.Apps = append(cfg.Apps, sidecar.App{Name: a.Name, Topics: a.Topics, Groups: a.Groups, Token: a.Token})
	}
	var err error
	if e.TLS != (settings.TLS{}) {
		cfg.TLS, err = mutualTLS(e.TLS, log)
	}
	return cfg, err
}
