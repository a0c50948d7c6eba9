package cli

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

// mutualTLS reads the files now, and again for each connection: a renewed certificate or authority is in force from the next one on. Connections are few, and
// a watch would miss how some volumes replace files.
func mutualTLS(files settings.TLS, log *slog.Logger) (*tls.Config, error) {
	first, err := readTLS(files)
	if err != nil {
		return nil, err
	}
	r := &renewedTLS{files: files, log: log, last: first}
	cfg := first.Clone()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.current(), nil }
	return cfg, nil
}

// renewedTLS remembers what the files said when they last could be read.
type renewedTLS struct {
	files settings.TLS
	log   *slog.Logger

	mu   sync.Mutex
	last *tls.Config
	said string // the error that was logged: once, not for each connection
}

func (r *renewedTLS) current() *tls.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	cfg, err := readTLS(r.files)
	switch {
	case err == nil:
		r.last, r.said = cfg, ""
	case err.Error() != r.said:
		r.said = err.Error()
		r.log.Warn("the TLS files cannot be read: the ones before stay in force", "err", err)
	}
	return r.last
}

func readTLS(files settings.TLS) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.certificate and tls.key: %w", err)
	}
	pem, err := os.ReadFile(files.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.client_ca: %s holds no PEM certificate", files.ClientCA)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"},
	}, nil
}
