package producer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/ackmark/ackmark/internal/budget"
	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/peercred"
	"github.com/ackmark/ackmark/internal/route"
	"github.com/ackmark/ackmark/internal/smallfile"
	"github.com/ackmark/ackmark/internal/storm"
	"github.com/ackmark/ackmark/internal/tlsfiles"
)

// DialConfig configures the sidecar client. Zero fields mean the defaults named.
type DialConfig struct {
	// Target is the sidecar's address: unix:///path/to/sidecar.sock, or tcp://host:port with TLS.
	// Required.
	Target string
	// App is the app's name, as in the sidecar's allow-list. Default: the name of the executable.
	App string
	// Token proves that this is the app, if the sidecar wants one.
	Token string
	// SidecarUIDs are the users that the sidecar at a unix socket may run as, beside root and this
	// process's own. Nothing is sent to another one: neither Token nor records. Name the sidecar's
	// user where its runAsUser is another than the app's. Default: the owner of the socket's
	// directory, if nobody else may write to a directory on the way; to an emptyDir everybody may.
	// A system that does not tell who listens, a Dialer and TCP are not checked so.
	SidecarUIDs []uint32
	// SessionID names this process among those of the pod: 1 to 64 characters. Default: random. Of
	// two clients that have one name at the same time the second goes on under another one, made of
	// it.
	SessionID string
	// TLS or TLSFiles is required for tcp targets, with a client certificate.
	TLS *tls.Config
	// TLSFiles name the files of TLS instead. They are read again for each connection: what was
	// renewed is in force from the next one on. While they cannot be read, what they said before
	// stays in force, and the log says so.
	TLSFiles TLSFiles
	// MaxFrameBytes closes a frame of units. Default 64 KiB, which is also the most that has an
	// effect.
	MaxFrameBytes int
	// MaxBufferedBytes bounds the encoded units that are accepted and not reported, whatever credit
	// the sidecar gives. Default: a quarter of the memory limit (8 to 64 MiB; 64 MiB without a
	// limit). One call to Deliver that is larger passes alone.
	MaxBufferedBytes int64
	// MaxBufferedRecords bounds the records that are accepted and not reported; a unit without
	// outputs counts as one. Default 100,000.
	MaxBufferedRecords int
	// OnFull chooses what a full producer does. Default [Block].
	OnFull OnFull
	// CloseTimeout is how long Close waits for what is on its way. Default 10 s.
	CloseTimeout time.Duration
	// TracerProvider makes a span of each record that is emitted under a sampled span; those of
	// units are the sidecar's. It is that of Fallback.Direct, too, where that has none. Default:
	// none, at no cost.
	TracerProvider trace.TracerProvider
	// MeterProvider gets the metrics of docs/metrics.md. Default: none, at no cost.
	MeterProvider metric.MeterProvider
	// Logger is the log. Default slog.Default().
	Logger *slog.Logger
	// Fallback configures the direct way to Kafka while the sidecar is not available. Default:
	// none.
	Fallback FallbackConfig
	// Dialer replaces the connection to Target, for tests: Target is then only a name.
	Dialer func(ctx context.Context) (net.Conn, error)

	boot    func() uint64                              // the boot-time clock
	peer    func(*net.UnixConn) (peercred.Cred, error) // who listens at a unix socket
	renewed *tlsfiles.Renewed
	routes  func(route.Routes) // is told what the sidecar says of them
}

// TLSFiles are PEM files. Certificate and Key are this app's, CA the authorities that the sidecar's
// certificate may come from; these three are required.
type TLSFiles struct {
	Certificate, Key, CA string
	// KeyPassword opens a Key that is encrypted: PKCS#8, with AES or 3DES, as openssl pkcs8 -topk8
	// writes it. KeyPasswordFile is a file that holds it instead, read again as the others are.
	KeyPassword, KeyPasswordFile string
}

func (f TLSFiles) password() (string, error) {
	if f.KeyPasswordFile == "" {
		return f.KeyPassword, nil
	}
	text, err := smallfile.Read(f.KeyPasswordFile, 64<<10)
	return strings.TrimRight(string(text), "\r\n"), err
}

func (f TLSFiles) read() (*tls.Config, error) {
	pair, err := tlsfiles.Pair(f.Certificate, f.Key, f.password)
	if err != nil {
		remedy := err.Error()
		if errors.Is(err, tlsfiles.ErrNoPassword) {
			remedy += ": set TLSFiles.KeyPassword or KeyPasswordFile"
		}
		return nil, &ConfigError{Config: dialConfig, Field: "TLSFiles.Certificate", Value: fmt.Sprintf("%q, with Key %q", f.Certificate, f.Key), Remedy: remedy, Err: err}
	}
	pool, err := tlsfiles.Pool(f.CA)
	if err != nil {
		return nil, &ConfigError{Config: dialConfig, Field: "TLSFiles.CA", Value: fmt.Sprintf("%q", f.CA), Remedy: err.Error(), Err: err}
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: pair, RootCAs: pool}, nil
}

// encryption returns what the next connection uses, nil for none.
func (c *DialConfig) encryption() *tls.Config {
	if c.renewed != nil {
		return c.renewed.Current()
	}
	return c.TLS
}

// encrypted tells whether connections are.
func (c *DialConfig) encrypted() bool { return c.renewed != nil || c.TLS != nil }

// Dial returns a client of the sidecar at the target, with the defaults of [DialConfig]. It
// connects on first use; while the sidecar cannot be reached it keeps trying, and what is delivered
// waits. [Producer.Check] tells what is wrong.
func Dial(target string) Producer { return DialConfig{Target: target}.New() }

// New returns a client of the sidecar; see [Dial]. An invalid configuration is returned by every
// call and by Check.
func (c DialConfig) New() Producer {
	c = c.withDefaults()
	err := c.validate()
	if err == nil && c.TLSFiles != (TLSFiles{}) {
		c.renewed, err = tlsfiles.New(c.TLSFiles.read, c.Logger)
	}
	cl := newClient(c)
	if err != nil {
		cl.life.refuse(invalidConfig(err))
	}
	return cl
}

func (c DialConfig) withDefaults() DialConfig {
	if c.App == "" {
		c.App = appName(os.Args[0])
	}
	if c.SessionID == "" {
		c.SessionID = randomName(12)
	}
	if c.MaxFrameBytes == 0 {
		c.MaxFrameBytes = 64 << 10
	}
	if c.MaxBufferedBytes == 0 {
		c.MaxBufferedBytes = min(budget.DefaultBytes(), 64<<20)
	}
	if c.MaxBufferedRecords == 0 {
		c.MaxBufferedRecords = 100_000
	}
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 10 * time.Second
	}
	c.Logger = storm.Counted(c.Logger)
	if c.boot == nil {
		c.boot = bootNanos
	}
	if c.peer == nil {
		c.peer = peercred.Of
	}
	c.Fallback = c.Fallback.withDefaults(c)
	return c
}

// appName makes a name that a sidecar accepts from the path of an executable.
func appName(executable string) string {
	name := strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-", r)) {
			return r
		}
		return '-'
	}, filepath.Base(executable))
	return name[:min(len(name), 128)]
}

// dialConfig is how errors name the type.
const dialConfig = "producer.DialConfig"

func (c DialConfig) validate() error {
	wrong := configerr.For(dialConfig)
	wrong.If(len(c.SessionID) > 64, "SessionID", c.SessionID, fmt.Sprintf("it has %d characters: use at most 64, or leave it empty", len(c.SessionID)))
	wrong.If(c.MaxFrameBytes < 0, "MaxFrameBytes", c.MaxFrameBytes, "a number of bytes, or 0 for the default of 64 KiB")
	wrong.If(c.MaxBufferedBytes < 0, "MaxBufferedBytes", c.MaxBufferedBytes, "a number of bytes, or 0 for the default")
	wrong.If(c.MaxBufferedRecords < 0, "MaxBufferedRecords", c.MaxBufferedRecords, "a number of records, or 0 for the default")
	wrong.If(c.TLS != nil && c.TLSFiles != (TLSFiles{}), "TLSFiles", configerr.Words("set, and so is TLS"), "set one of them")
	wrong.If(c.TLSFiles.KeyPassword != "" && c.TLSFiles.KeyPasswordFile != "", "TLSFiles.KeyPasswordFile", c.TLSFiles.KeyPasswordFile, "set it or KeyPassword, not both")
	wrong.If(c.CloseTimeout < 0, "CloseTimeout", c.CloseTimeout, "a duration, or 0 for the default of 10s")
	c.OnFull.validate(wrong)
	wrong.Add(c.Fallback.validate())
	if c.Dialer == nil {
		_, _, err := c.address()
		wrong.Add(err)
	}
	return wrong.Err()
}

// maxSocketPath is the longest path of a unix socket that Linux takes.
const maxSocketPath = 107

// address takes the target apart.
func (c DialConfig) address() (network, addr string, err error) {
	wrong := configerr.For(dialConfig)
	scheme, rest, ok := strings.Cut(c.Target, ":")
	path := strings.TrimPrefix(rest, "//")
	switch {
	case c.Target == "":
		wrong.Missing("Target", "name the sidecar's socket, like unix:///run/ackmark/sidecar.sock")
	case ok && scheme == "unix":
		wrong.If(path == "" || len(path) > maxSocketPath, "Target", c.Target,
			fmt.Sprintf("the socket's path has %d characters, it may have 1 to %d", len(path), maxSocketPath))
	case ok && scheme == "tcp":
		if _, _, err := net.SplitHostPort(path); err != nil {
			wrong.Failed("Target", c.Target, err, "write tcp://host:port")
		} else if c.TLS == nil && c.TLSFiles == (TLSFiles{}) {
			wrong.Missing("TLS", fmt.Sprintf("over TCP, as to %s, the sidecar speaks mutual TLS only: set it or TLSFiles; inside a pod use unix:///path", c.Target))
		}
	default:
		wrong.Wrong("Target", c.Target, "write unix:///path/to/sidecar.sock or tcp://host:port")
	}
	return scheme, path, wrong.Err()
}
