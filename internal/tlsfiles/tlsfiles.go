// Package tlsfiles reads TLS files again for each connection, so that a renewed certificate, key or
// authority is in force from the next one on: of the sidecar's listener, of its Kafka client, and
// of the client that dials a sidecar.
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
	"time"

	"github.com/ackmark/ackmark/internal/kept"
)

// Renewed remembers what the files said when they last could be read.
type Renewed struct{ *kept.Kept[*tls.Config] }

// New reads the files for the first time, with a function that is called again for each connection.
func New(read func() (*tls.Config, error), log *slog.Logger) (*Renewed, error) {
	k, err := kept.New("the TLS files", read, log)
	if err != nil {
		return nil, err
	}
	return &Renewed{k}, nil
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

// Password is asked for when a key is encrypted. Nil: there is none.
type Password func() (string, error)

// Pair reads a certificate and its key.
func Pair(certificate, key string, password Password) ([]tls.Certificate, error) {
	chain, err := os.ReadFile(certificate)
	if err != nil {
		return nil, err
	}
	private, err := os.ReadFile(key)
	if err != nil {
		return nil, err
	}
	if private, err = decrypted(private, password); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	pair, err := tls.X509KeyPair(chain, private)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certificate, key, err)
	}
	return []tls.Certificate{pair}, nil
}
