package cli

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/tlsfiles"
)

// MutualTLS is the listener's configuration, read from the files now and again for each connection.
func MutualTLS(files settings.TLS, log *slog.Logger) (*tls.Config, *tlsfiles.Renewed, error) {
	renewed, err := tlsfiles.New(func() (*tls.Config, error) { return readTLS(files) }, log)
	if err != nil {
		return nil, nil, err
	}
	cfg := renewed.Current().Clone()
	cfg.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return renewed.Current(), nil }
	return cfg, renewed, nil
}

// tlsNow is a listener's configuration that can be replaced, for the next connection on.
type tlsNow struct{ now atomic.Pointer[tls.Config] }

// in puts it in the place of a configuration; nil stays nil.
func (t *tlsNow) in(cfg *tls.Config) *tls.Config {
	if cfg == nil || t == nil {
		return cfg
	}
	t.now.Store(cfg)
	out := cfg.Clone()
	out.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) { return t.now.Load().GetConfigForClient(h) }
	return out
}

// replace puts another one in force.
func (t *tlsNow) replace(cfg *tls.Config) {
	if cfg != nil && t.now.Load() != nil {
		t.now.Store(cfg)
	}
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
