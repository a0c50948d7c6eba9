// Package tlsfiles reads TLS files again for each connection, so that a renewed certificate, key or
// authority is in force from the next one on: of the sidecar's listener, of its Kafka client, and
// of the client that dials a sidecar. Connections are few, and a watch would miss how some volumes
// replace files.
package tlsfiles

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// Renewed remembers what the files said when they last could be read.
type Renewed struct {
	read func() (*tls.Config, error)

	mu   sync.Mutex
	log  *slog.Logger
	last *tls.Config
	said string // the error that was logged: once, not for each connection
}

// New reads the files for the first time, with a function that is called again for each connection.
func New(read func() (*tls.Config, error), log *slog.Logger) (*Renewed, error) {
	first, err := read()
	if err != nil {
		return nil, err
	}
	return &Renewed{read: read, log: log, last: first}, nil
}

// LogTo replaces the log.
func (r *Renewed) LogTo(log *slog.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = log
}

// Current reads the files. While they cannot be read, as in the middle of a renewal, what they said
// before stays in force, and the log says so once.
func (r *Renewed) Current() *tls.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg, err := r.read()
	switch {
	case err == nil:
		r.last, r.said = cfg, ""
	case err.Error() != r.said:
		r.said = err.Error()
		r.log.Warn("the TLS files cannot be read: the ones before stay in force", "err", err)
	}
	return r.last
}

// Dial connects with what the files say now; the timeout bounds connection and handshake. The
// server is expected to have the name that addr has.
func (r *Renewed) Dial(ctx context.Context, network, addr string, timeout time.Duration) (net.Conn, error) {
	// The dialer takes the name from addr, where the configuration has none.
	return (&tls.Dialer{NetDialer: &net.Dialer{Timeout: timeout}, Config: r.Current()}).DialContext(ctx, network, addr)
}

// Pool reads authorities.
func Pool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(path + " holds no PEM certificate")
	}
	return pool, nil
}

// Pair reads a certificate and its key.
func Pair(certificate, key string) ([]tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certificate, key, err)
	}
	return []tls.Certificate{pair}, nil
}
