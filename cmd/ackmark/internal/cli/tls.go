package cli

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"

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

// tlsFileError is a setting whose file cannot be used.
type tlsFileError struct{ key, problem string }

func (e *tlsFileError) Error() string { return strings.ReplaceAll(e.key, "/", ".") + " " + e.problem }

func readTLS(files settings.TLS) (*tls.Config, error) {
	pair, pairErr := tlsfiles.Pair(files.Certificate, files.Key, files.Password)
	if pairErr != nil {
		remedy := "name PEM files of one pair"
		if errors.Is(pairErr, tlsfiles.ErrNoPassword) {
			remedy = "set tls.key_password"
		}
		pairErr = &tlsFileError{"tls/certificate", "and tls.key cannot be used: " + pairErr.Error() + "; " + remedy}
	}
	pool, caErr := tlsfiles.Pool(files.ClientCA)
	if caErr != nil {
		caErr = &tlsFileError{"tls/client_ca", "cannot be used: " + caErr.Error() + "; name a PEM file"}
	}
	if err := errors.Join(pairErr, caErr); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: pair, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"},
	}, nil
}
