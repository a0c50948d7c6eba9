package cli

import (
	"crypto/tls"
	"fmt"
	"log/slog"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/tlsfiles"
)

// mutualTLS is the listener's configuration, read from the files now and again for each connection.
func mutualTLS(files settings.TLS, log *slog.Logger) (*tls.Config, error) {
	renewed, err := tlsfiles.New(func() (*tls.Config, error) { return readTLS(files) }, log)
	if err != nil {
		return nil, err
	}
	cfg := renewed.Current().Clone()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return renewed.Current(), nil }
	return cfg, nil
}

func readTLS(files settings.TLS) (*tls.Config, error) {
	pair, err := tlsfiles.Pair(files.Certificate, files.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.certificate and tls.key: %w", err)
	}
	pool, err := tlsfiles.Pool(files.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: pair, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"},
	}, nil
}
