package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
	"github.com/ackmark/ackmark/sidecar"
)

// Sidecar is the effective configuration of `ackmark sidecar`.
type Sidecar struct {
	Brokers        []string
	Listen         string
	SocketMode     fs.FileMode
	AllowUIDs      []uint32
	AllowGIDs      []uint32
	DrainTimeout   time.Duration
	ReconnectGrace time.Duration
	WillTimeout    time.Duration
	StateDir       string // a path, auto or none: see StatePath
	Transactions   Transactions
	Limits         Limits
	TLS            TLS
	Admin          Admin
	LogLevel       slog.Level
	LogFormat      string // auto, json or text
	MemoryRatio    float64
	Apps           []App
	Routes         []Route
	RouteSetters   []RouteSetter
	Kafka          map[string]string
}

// Limits bound what the sidecar holds and takes. Zero: automatic.
type Limits struct {
	Bytes, Records                   int64
	Sessions, Connections            int64
	AppBytes, AppRecords             int64
	PartitionBytes, PartitionRecords int64
	RecordBytes, MessageBytes        int64
	ReportRing                       int64
	StateBytes                       int64
	Linger                           time.Duration
}

// TLS files for a TCP listener.
type TLS struct {
	Certificate, Key, ClientCA string
	KeyPassword                string // or where to read it
}

// Password is that of an encrypted key.
func (t TLS) Password() (string, error) {
	text, err := secret.Parse(t.KeyPassword).Read()
	if err != nil {
		return "", fmt.Errorf("tls.key_password %w", err)
	}
	return text, nil
}

// App is an entry of the allow-list.
type App struct {
	Name   string
	Topics []string // nil: all
	Groups []string // nil: all
	Token  string   // or where to read it
}

// Route says which part of a topic's keys an app sends through the sidecar.
type Route struct{ App, Topic, By string }

// RouteSetter says who may set which routes while the sidecar runs.
type RouteSetter struct {
	UIDs         []uint32 // nil: the sidecar's own user and root
	Apps, Topics []string // nil: all
}

// Secret is the token itself.
func (a App) Secret() (string, error) { return secret.Parse(a.Token).Read() }

// Field is one setting: its key in the file, and how it is read and shown.
type Field struct {
	// Key is the path in the file, with slashes: log/level.
	Key string
	// Usage is the help of its flag.
	Usage string
	// Default is shown in the help and by `config echo`.
	Default string
	// Automatic says, where Default is empty, what the sidecar makes it from: "a quarter of
	// limits.bytes".
	Automatic string

	set  func(s *Sidecar, v any) error
	show func(s *Sidecar) any
}

// Flag is --log-level.
func (f Field) Flag() string { return strings.NewReplacer("/", "-", "_", "-").Replace(f.Key) }

// Help is Usage with what the default is, if the flag does not show it by itself.
func (f Field) Help() string {
	if f.Automatic == "" {
		return f.Usage + " [" + f.Env() + "]"
	}
	return f.Usage + " [" + f.Env() + "] (default automatic: " + f.Automatic + ")"
}

// Env is ACKMARK_LOG_LEVEL.
func (f Field) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(f.Key, "/", "_"))
}

const (
	envPrefix   = "ACKMARK_"
	keyPassword = "tls/key_password"
)

// Live tells of a key whether SIGHUP puts a new value in force; the others wait for a restart.
func Live(key string) bool { return slices.Contains(live, key) }

var live = []string{
	"allow_uids", "allow_gids", "drain_timeout", "reconnect_grace", "will_timeout", "limits/connections", "limits/app_bytes", "limits/app_records",
	"limits/partition_bytes", "limits/partition_records", "tls/certificate", "tls/key", keyPassword, "tls/client_ca", "log/level", "apps", "routes", routeSetters,
}

// Fields are all settings that have a flag and a variable, in the order of the help.
func Fields() []Field { return fields }

var fields = slices.Concat(listenFields, transactionFields, adminFields, logFields)

var listenFields = []Field{
	{
		Key: "brokers", Usage: "Kafka brokers to start from, host:port, comma separated (required)",
		set: func(s *Sidecar, v any) (err error) { s.Brokers, err = asList(v); return err }, show: func(s *Sidecar) any { return s.Brokers },
	},
	{
		Key: "listen", Default: "unix:///run/ackmark/sidecar.sock", Usage: "where apps connect: unix:///path, or tcp://host:port with mutual TLS",
		set: func(s *Sidecar, v any) (err error) { s.Listen, err = asListen(v); return err }, show: func(s *Sidecar) any { return s.Listen },
	},
	{
		Key: "socket_mode", Default: "0700", Usage: "who may connect: 0700 for this user, 0770 for the group of the socket's directory too (fsGroup); nobody else may write to that directory",
		set:  func(s *Sidecar, v any) (err error) { s.SocketMode, err = asMode(v); return err },
		show: func(s *Sidecar) any { return fmt.Sprintf("%#o", s.SocketMode) },
	},
	ids("allow_uids", "user ids that may connect to the socket, beside the sidecar's own", func(s *Sidecar) *[]uint32 { return &s.AllowUIDs }),
	ids("allow_gids", "group ids that may connect to the socket", func(s *Sidecar) *[]uint32 { return &s.AllowGIDs }),
	{
		Key: "drain_timeout", Default: "20s", Usage: "how long SIGTERM waits for Kafka's acknowledgements; what is left then is reported and the exit code is 3",
		set: duration(func(s *Sidecar) *time.Duration { return &s.DrainTimeout }), show: func(s *Sidecar) any { return s.DrainTimeout.String() },
	},
	{
		Key: "reconnect_grace", Default: "1s", Usage: "how long an app whose stream broke may come back before the sidecar commits and leaves its group for it; a process that is proven dead is not waited for",
		set: duration(func(s *Sidecar) *time.Duration { return &s.ReconnectGrace }), show: func(s *Sidecar) any { return s.ReconnectGrace.String() },
	},
	{
		Key: "will_timeout", Default: "30s", Usage: "how long that may take; keep it below the apps' session timeout",
		set: duration(func(s *Sidecar) *time.Duration { return &s.WillTimeout }), show: func(s *Sidecar) any { return s.WillTimeout.String() },
	},
	{
		Key: "state_dir", Default: auto, Usage: "directory in which sessions are written down, so that the next sidecar commits for apps that died together with this one: " +
			"a path, auto for a directory beside the unix socket, or none",
		set: func(s *Sidecar, v any) (err error) { s.StateDir, err = asStateDir(v); return err }, show: func(s *Sidecar) any { return s.StateDir },
	},
	automatic("limits/bytes", "bytes that all apps together may have outstanding", "a quarter of the memory limit, 8MiB to 256MiB; 64MiB without a limit", func(s *Sidecar) *int64 { return &s.Limits.Bytes }),
	automatic("limits/records", "records that all apps together may have outstanding", fmt.Sprintf("%d; %d with a transactional id", sidecar.DefaultMaxRecords, sidecar.DefaultMaxRecordsExactlyOnce), func(s *Sidecar) *int64 { return &s.Limits.Records }),
	limit("limits/sessions", "app processes connected at the same time", sidecar.DefaultMaxSessions, func(s *Sidecar) *int64 { return &s.Limits.Sessions }),
	limit("limits/connections", "connections served at the same time", sidecar.DefaultMaxConnections, func(s *Sidecar) *int64 { return &s.Limits.Connections }),
	automatic("limits/app_bytes", "bytes that one app may have outstanding", "three quarters of limits.bytes", func(s *Sidecar) *int64 { return &s.Limits.AppBytes }),
	automatic("limits/app_records", "records that one app may have outstanding", "three quarters of limits.records", func(s *Sidecar) *int64 { return &s.Limits.AppRecords }),
	automatic("limits/partition_bytes", "bytes that may wait for one output partition", "half of limits.bytes", func(s *Sidecar) *int64 { return &s.Limits.PartitionBytes }),
	automatic("limits/partition_records", "records that may wait for one output partition", "half of limits.records", func(s *Sidecar) *int64 { return &s.Limits.PartitionRecords }),
	limit("limits/record_bytes", "largest record, before compression: Kafka decides about what is left after it", sidecar.DefaultMaxRecordBytes, func(s *Sidecar) *int64 { return &s.Limits.RecordBytes }),
	limit("limits/message_bytes", "largest gRPC message", sidecar.DefaultMaxMessageBytes, func(s *Sidecar) *int64 { return &s.Limits.MessageBytes }),
	limit("limits/report_ring", "reports of queued emits kept for an app until it has seen them", sidecar.DefaultReportRing, func(s *Sidecar) *int64 { return &s.Limits.ReportRing }),
	{
		Key: "limits/linger", Automatic: "25ms, or linger.ms where kafka: sets it",
		Usage: "how long records wait for others at most, while linger.ms gathers fewer than 8 a batch and others come",
		set: func(s *Sidecar, v any) error {
			if v == auto {
				s.Limits.Linger = 0
				return nil
			}
			return duration(func(s *Sidecar) *time.Duration { return &s.Limits.Linger })(s, v)
		},
		show: func(s *Sidecar) any {
			if s.Limits.Linger == 0 {
				return int64(0)
			}
			return s.Limits.Linger.String()
		},
	},
	limit("limits/state_bytes", "bytes that state_dir may take; of the container's memory, where it is a tmpfs", sidecar.DefaultStateBytes, func(s *Sidecar) *int64 { return &s.Limits.StateBytes }),
	pemFile("tls/certificate", "PEM certificate of a tcp:// listener", func(s *Sidecar) *string { return &s.TLS.Certificate }),
	pemFile("tls/key", "PEM key of a tcp:// listener", func(s *Sidecar) *string { return &s.TLS.Key }),
	{
		Key: keyPassword, Usage: "password of an encrypted tls.key, or file:/path or env:NAME to read it from",
		set: func(s *Sidecar, v any) (err error) {
			if s.TLS.KeyPassword, err = asSecret(v); s.TLS.KeyPassword == redacted {
				err = errors.New(wasRedacted)
			}
			return err
		},
		show: func(s *Sidecar) any {
			if s.TLS.KeyPassword == "" {
				return ""
			}
			return secret.Parse(s.TLS.KeyPassword).Shown()
		},
	},
	pemFile("tls/client_ca", "PEM certificates of the authorities that sign the apps' certificates", func(s *Sidecar) *string { return &s.TLS.ClientCA }),
}

var logFields = []Field{
	{
		Key: "log/level", Default: "info", Usage: "debug, info, warn or error",
		set: func(s *Sidecar, v any) error { return asLevel(&s.LogLevel, v) }, show: func(s *Sidecar) any { return strings.ToLower(s.LogLevel.String()) },
	},
	{
		Key: "log/format", Default: "auto", Usage: "json, text, or auto: text on a terminal, else json",
		set: func(s *Sidecar, v any) (err error) {
			s.LogFormat, err = asChoice(v, "auto", "json", "text")
			return err
		}, show: func(s *Sidecar) any { return s.LogFormat },
	},
	{
		Key: "memory_ratio", Default: "0.9", Usage: "share of the container's memory limit that GOMEMLIMIT is set to; 0 leaves it alone",
		set: func(s *Sidecar, v any) (err error) { s.MemoryRatio, err = asRatio(v); return err }, show: func(s *Sidecar) any { return s.MemoryRatio },
	},
}

// limit is a count or a size. A 0, as earlier versions printed it, stands for the default.
func limit(key, usage string, otherwise int64, at func(*Sidecar) *int64) Field {
	f := automatic(key, usage, "", at)
	f.Default = strconv.FormatInt(otherwise, 10)
	read := f.set
	f.set = func(s *Sidecar, v any) error {
		err := read(s, v)
		if err == nil && *at(s) == 0 {
			*at(s) = otherwise
		}
		return err
	}
	return f
}

// auto is how an automatic limit is written out.
const auto = "auto"

// automatic is a limit that the sidecar makes from others: 0, or auto.
func automatic(key, usage, from string, at func(*Sidecar) *int64) Field {
	return Field{
		Key: key, Usage: usage, Automatic: from,
		set: func(s *Sidecar, v any) (err error) {
			if v == auto {
				*at(s) = 0
				return nil
			}
			*at(s), err = asCount(v)
			return err
		},
		show: func(s *Sidecar) any { return *at(s) },
	}
}

func ids(key, usage string, at func(*Sidecar) *[]uint32) Field {
	return Field{
		Key: key, Usage: usage,
		set:  func(s *Sidecar, v any) (err error) { *at(s), err = asIDs(v); return err },
		show: func(s *Sidecar) any { return append([]uint32{}, *at(s)...) },
	}
}

func pemFile(key, usage string, at func(*Sidecar) *string) Field {
	return Field{
		Key: key, Usage: usage,
		set: func(s *Sidecar, v any) (err error) { *at(s), err = asText(v); return err }, show: func(s *Sidecar) any { return *at(s) },
	}
}

func duration(at func(*Sidecar) *time.Duration) func(*Sidecar, any) error {
	return func(s *Sidecar, v any) error {
		text, isText := v.(string)
		d, err := time.ParseDuration(text)
		if !isText || err != nil || d <= 0 {
			return fmt.Errorf("is %s; write a positive duration with its unit, as in 10s or 1m30s", shown(v))
		}
		*at(s) = d
		return nil
	}
}
