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

	"github.com/spf13/cobra"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
	"github.com/ackmark/ackmark/internal/kept"
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
	cfg, _, err := MutualTLS(files, slog.New(slog.NewTextHandler(&log, nil)))
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

// SIGHUP names other TLS files: those before, which nobody can read any more, are nobody's business
// then, or the alert about stale files would never resolve. And files that cannot be read change
// nothing, with all else that stands in the settings.
func TestAReloadNamesOtherTLSFiles(t *testing.T) {
	dir := t.TempDir()
	pair := func(name string, serial int64) settings.TLS {
		files := settings.TLS{Certificate: filepath.Join(dir, name), Key: filepath.Join(dir, name+".key"), ClientCA: filepath.Join(dir, name+".ca")}
		writePair(t, files, serial)
		return files
	}
	config := filepath.Join(dir, "sidecar.yaml")
	configure := func(files settings.TLS, level string) {
		write(t, config, "brokers: ['127.0.0.1:1']\nlisten: tcp://127.0.0.1:0\nlog: {level: "+level+"}\ntls: {certificate: "+files.Certificate+", key: "+files.Key+", client_ca: "+files.ClientCA+"}\n")
	}
	first, second := pair("first", 1), pair("second", 2)
	configure(first, "info")
	flags := addSidecarFlags(new(cobra.Command))
	flags.config = config
	var log strings.Builder
	r := &reloader{flags: flags, log: slog.New(slog.NewTextHandler(&log, nil))}
	e, s, err := flags.sidecar(nil, func(*settings.Effective) *slog.Logger { return r.log }, &r.tls, none)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r.server, r.start, r.now = s, e, e
	serial := func() int64 {
		t.Helper()
		now, err := r.tls.now.Load().GetConfigForClient(nil)
		if err != nil {
			t.Fatal(err)
		}
		return now.Certificates[0].Leaf.SerialNumber.Int64()
	}
	others := kept.Stale() // logins of other tests, whose endpoints fail
	write(t, first.Certificate, "half a fi")
	if n := serial(); n != 1 || kept.Stale() != others+1 {
		t.Fatalf("serial %d, and %d are stale", n, kept.Stale()-others)
	}
	configure(second, "info")
	r.reload()
	if n := serial(); n != 2 || kept.Stale() != others {
		t.Errorf("after the reload: serial %d, and %d are stale\n%s", n, kept.Stale()-others, log.String())
	}
	write(t, second.Key, "half a fi")
	configure(second, "debug")
	r.reload()
	if n := serial(); n != 2 || r.level.Level() != slog.LevelInfo || !strings.Contains(log.String(), "configuration not reloaded: all stays as it was") {
		t.Errorf("with half a key: serial %d, level %s\n%s", n, r.level.Level(), log.String())
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
