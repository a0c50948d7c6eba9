package settings

import (
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Sidecar is the effective configuration of `ackmark sidecar`.
type Sidecar struct {
	Brokers      []string
	Listen       string
	SocketMode   fs.FileMode
	DrainTimeout time.Duration
	Limits       Limits
	TLS          TLS
	LogLevel     slog.Level
	LogFormat    string // auto, json or text
	MemoryRatio  float64
	Apps         []App
	Kafka        map[string]string
}

// Limits bound what the sidecar holds. Zero: the sidecar's default.
type Limits struct {
	ProcessBytes, ProcessRecords     int64
	AppBytes, AppRecords             int64
	PartitionBytes, PartitionRecords int64
	MessageBytes                     int64
}

// TLS files for a TCP listener.
type TLS struct{ Certificate, Key, ClientCA string }

// App is an entry of the allow-list.
type App struct {
	Name   string
	Topics []string
	Token  string
}

// Field is one setting: its key in the file, and how it is read and shown.
type Field struct {
	// Key is the path in the file, with slashes: log/level.
	Key string
	// Usage is the help of its flag.
	Usage string
	// Default is shown in the help and by `config echo`.
	Default string

	set  func(s *Sidecar, v any) error
	show func(s *Sidecar) any
}

// Name is the key as people write it: log.level.
func (f Field) Name() string { return strings.ReplaceAll(f.Key, "/", ".") }

// Flag is --log-level.
func (f Field) Flag() string { return strings.NewReplacer("/", "-", "_", "-").Replace(f.Key) }

// Env is ACKMARK_LOG_LEVEL.
func (f Field) Env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(f.Key, "/", "_"))
}

const envPrefix = "ACKMARK_"

// Fields are all settings that have a flag and a variable, in the order of the help.
func Fields() []Field { return fields }

var fields = []Field{
	{
		Key: "brokers", Usage: "Kafka brokers to start from, host:port, comma separated (required)",
		set: func(s *Sidecar, v any) (err error) { s.Brokers, err = asList(v); return err }, show: func(s *Sidecar) any { return s.Brokers },
	},
	{
		Key: "listen", Default: "unix:///run/ackmark/sidecar.sock", Usage: "where apps connect: unix:///path, or tcp://host:port with mutual TLS",
		set: func(s *Sidecar, v any) (err error) { s.Listen, err = asListen(v); return err }, show: func(s *Sidecar) any { return s.Listen },
	},
	{
		Key: "socket_mode", Default: "0700", Usage: "mode of the socket's directory: 0700 for one user, 0770 for a group (fsGroup)",
		set:  func(s *Sidecar, v any) (err error) { s.SocketMode, err = asMode(v); return err },
		show: func(s *Sidecar) any { return fmt.Sprintf("%#o", s.SocketMode) },
	},
	{
		Key: "drain_timeout", Default: "10s", Usage: "how long SIGTERM waits for Kafka's acknowledgements; what is left then is reported and the exit code is 3",
		set: duration(func(s *Sidecar) *time.Duration { return &s.DrainTimeout }), show: func(s *Sidecar) any { return s.DrainTimeout.String() },
	},
	limit("limits/process_bytes", "bytes that the sidecar holds at most", func(s *Sidecar) *int64 { return &s.Limits.ProcessBytes }),
	limit("limits/process_records", "records that the sidecar holds at most", func(s *Sidecar) *int64 { return &s.Limits.ProcessRecords }),
	limit("limits/app_bytes", "bytes held for one app at most", func(s *Sidecar) *int64 { return &s.Limits.AppBytes }),
	limit("limits/app_records", "records held for one app at most", func(s *Sidecar) *int64 { return &s.Limits.AppRecords }),
	limit("limits/partition_bytes", "bytes held for one topic-partition at most", func(s *Sidecar) *int64 { return &s.Limits.PartitionBytes }),
	limit("limits/partition_records", "records held for one topic-partition at most", func(s *Sidecar) *int64 { return &s.Limits.PartitionRecords }),
	limit("limits/message_bytes", "largest gRPC message accepted", func(s *Sidecar) *int64 { return &s.Limits.MessageBytes }),
	pemFile("tls/certificate", "PEM certificate of a tcp:// listener", func(s *Sidecar) *string { return &s.TLS.Certificate }),
	pemFile("tls/key", "PEM key of a tcp:// listener", func(s *Sidecar) *string { return &s.TLS.Key }),
	pemFile("tls/client_ca", "PEM certificates of the authorities that sign the apps' certificates", func(s *Sidecar) *string { return &s.TLS.ClientCA }),
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

func limit(key, usage string, at func(*Sidecar) *int64) Field {
	return Field{
		Key: key, Usage: usage, Default: "0",
		set: func(s *Sidecar, v any) (err error) { *at(s), err = asCount(v); return err }, show: func(s *Sidecar) any { return *at(s) },
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
		d, err := time.ParseDuration(fmt.Sprint(v))
		if err != nil || d < 0 {
			return fmt.Errorf("is %q; write a duration with its unit, as in 10s or 1m30s", fmt.Sprint(v))
		}
		*at(s) = d
		return nil
	}
}

func asText(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case map[string]any, []any, nil:
		return "", fmt.Errorf("is %v; write one text", v)
	}
	return fmt.Sprint(v), nil
}

func asList(v any) ([]string, error) {
	switch v := v.(type) {
	case []any:
		var out []string
		for _, x := range v {
			s, ok := x.(string)
			if !ok || s == "" {
				return nil, fmt.Errorf("has the entry %v; each must be a text", x)
			}
			out = append(out, s)
		}
		return out, nil
	case []string:
		return v, nil
	case string:
		return splitList(v), nil
	}
	return nil, fmt.Errorf("is %v; write a list, or texts separated by commas", v)
}

func asListen(v any) (string, error) {
	s, err := asText(v)
	if err != nil {
		return "", err
	}
	path, unix := strings.CutPrefix(s, "unix://")
	_, tcp := strings.CutPrefix(s, "tcp://")
	if (unix && strings.HasPrefix(path, "/") && len(path) > 1) || tcp {
		return s, nil
	}
	return "", fmt.Errorf("is %q; write unix:///absolute/path.sock or tcp://host:port", s)
}

func asMode(v any) (fs.FileMode, error) {
	var n uint64
	var err error
	switch v := v.(type) {
	case int: // YAML reads 0770 as an octal number
		n = uint64(v)
	default:
		n, err = strconv.ParseUint(strings.TrimPrefix(fmt.Sprint(v), "0o"), 8, 32)
	}
	if err != nil || (n != 0o700 && n != 0o770) {
		return 0, fmt.Errorf("is %v; write 0700 (one user) or 0770 (a group): whoever may open the socket may produce", v)
	}
	return fs.FileMode(n), nil
}

func asLevel(l *slog.Level, v any) error {
	if err := l.UnmarshalText([]byte(fmt.Sprint(v))); err != nil {
		return fmt.Errorf("is %q; write debug, info, warn or error", fmt.Sprint(v))
	}
	return nil
}

func asChoice(v any, choices ...string) (string, error) {
	for _, c := range choices {
		if v == c {
			return c, nil
		}
	}
	return "", fmt.Errorf("is %q; write %s", fmt.Sprint(v), strings.Join(choices, ", "))
}

func asRatio(v any) (float64, error) {
	f, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, fmt.Errorf("is %q; write a number from 0 to 1", fmt.Sprint(v))
	}
	return f, nil
}

// asCount reads 1000, 64MiB, 10k.
func asCount(v any) (int64, error) {
	s := strings.TrimSpace(fmt.Sprint(v))
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ")
	units := map[string]int64{"": 1, "b": 1, "k": 1e3, "kb": 1e3, "kib": 1 << 10, "m": 1e6, "mb": 1e6, "mib": 1 << 20, "g": 1e9, "gb": 1e9, "gib": 1 << 30}
	unit, ok := units[strings.ToLower(strings.TrimSpace(s[len(digits):]))]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n < 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("is %q; write a whole number, with a unit if you like: 5000, 64MiB; 0 is the default", s)
	}
	return n * unit, nil
}
