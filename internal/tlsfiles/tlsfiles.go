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
	"time"

	"github.com/ackmark/ackmark/internal/kept"
	"github.com/ackmark/ackmark/internal/smallfile"
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

// maxBytes bounds a file: the authorities of a whole system have a quarter of it.
const maxBytes = 1 << 20

// Pool reads authorities.
func Pool(path string) (*x509.CertPool, error) {
	pem, err := smallfile.Read(path, maxBytes)
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
	chain, err := smallfile.Read(certificate, maxBytes)
	if err != nil {
		return nil, err
	}
	private, err := smallfile.Read(key, maxBytes)
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
