package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

func writePair(t *testing.T, files settings.TLS, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "sidecar"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for path, text := range map[string][]byte{files.Certificate: cert, files.ClientCA: cert, files.Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes})} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Renewed files are in force for the next connection. Files that cannot be read leave the ones
// before in force, and the log says so once.
func TestRenewedTLSFiles(t *testing.T) {
	dir := t.TempDir()
	files := settings.TLS{Certificate: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k"), ClientCA: filepath.Join(dir, "ca")}
	writePair(t, files, 1)
	var log strings.Builder
	cfg, err := mutualTLS(files, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		now, err := cfg.GetConfigForClient(nil)
		if err != nil || now.ClientCAs == nil {
			t.Fatal(now, err)
		}
		leaf, err := x509.ParseCertificate(now.Certificates[0].Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if pool := x509.NewCertPool(); !func() bool { pool.AddCert(leaf); return pool.Equal(now.ClientCAs) }() {
			t.Error("the authorities are others than those of the files")
		}
		return leaf.SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("serial %d", got)
	}
	writePair(t, files, 2)
	if got := serial(); got != 2 {
		t.Errorf("renewed: serial %d, want 2", got)
	}
	if err := os.WriteFile(files.Certificate, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := serial(); got != 2 {
			t.Errorf("unreadable: serial %d, want 2", got)
		}
	}
	if n := strings.Count(log.String(), "stay in force"); n != 1 {
		t.Errorf("%d lines: %s", n, log.String())
	}
	writePair(t, files, 3)
	if got := serial(); got != 3 {
		t.Errorf("mended: serial %d, want 3", got)
	}
}

// The listener's key may be encrypted; its password is never shown, and without it the error names
// the setting.
func TestEncryptedListenerKey(t *testing.T) {
	const testdata = "../../../../internal/tlsfiles/testdata/"
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ password, want string }{
		"itself":   {"s3cret", ""},
		"file":     {"file:" + password, ""},
		"wrong":    {"0ther-s3cret", "the password does not open the key"},
		"none":     {"", "no password is given; set tls.key_password"},
		"gone":     {"file:/nowhere/x", "tls.key_password refers to a file, but there is no file /nowhere/x"},
		"redacted": {"(redacted)", "as `config echo` prints it"},
	} {
		e, err := settings.Load(settings.Sources{Flags: map[string]string{
			"brokers": "a:1", "listen": "tcp://127.0.0.1:0", "tls/certificate": testdata + "cert.pem", "tls/key": testdata + "aes256.key", "tls/client_ca": testdata + "cert.pem",
			"tls/key_password": tc.password,
		}})
		if e == nil {
			t.Fatal(err)
		}
		sidecarConfig(e, slog.New(slog.DiscardHandler))
		if err = e.Err(); (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "0ther-s3cret")) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
		text, err := e.YAML(settings.Limits{})
		if err != nil || strings.Contains(string(text), "s3cret") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}
