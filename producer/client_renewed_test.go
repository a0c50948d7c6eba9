package producer_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/producer/producertest"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// lines is a log that is written and read at once.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// issue writes another certificate, which is its own authority, into the files.
func issue(t *testing.T, f producer.TLSFiles) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	pair, pool := selfSigned(t)
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	for path, text := range map[string][]byte{f.Certificate: chain, f.CA: chain, f.Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pair, pool
}

// Renewed files are in force from the next connection on, on both sides: the sidecar trusts the new
// certificate only, and shows the new one only. Files that cannot be read leave the ones before in
// force, and the log says so once.
func TestClientRenewedTLSFiles(t *testing.T) {
	dir := t.TempDir()
	files := producer.TLSFiles{Certificate: filepath.Join(dir, "c"), Key: filepath.Join(dir, "k"), CA: filepath.Join(dir, "ca")}
	pair, pool := issue(t, files)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := lis.Addr().String()
	var seen atomic.Pointer[[]byte]
	serve := func() (stop func()) {
		cfg := &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
			VerifyConnection: func(cs tls.ConnectionState) error { seen.Store(&cs.PeerCertificates[0].Raw); return nil }}
		server := grpc.NewServer(grpc.Creds(credentials.NewTLS(cfg)))
		sidecarpb.RegisterSidecarServer(server, newScript(t))
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(lis) }()
		return func() {
			server.Stop()
			<-ended
			if lis, err = net.Listen("tcp", addr); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop := serve()
	log := &lines{}
	p := producer.DialConfig{Target: "tcp://" + addr, App: "test", TLSFiles: files, Logger: slog.New(slog.NewTextHandler(log, nil))}.New()
	check := func(what string) {
		t.Helper()
		var err error
		for deadline := time.Now().Add(producertest.Patience); time.Now().Before(deadline); { // each Check is another attempt
			if err = p.Check(t.Context()); err == nil {
				break
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if string(*seen.Load()) != string(pair.Certificate[0]) {
			t.Errorf("%s: the sidecar saw another certificate than that of the files", what)
		}
	}
	check("first")
	pair, pool = issue(t, files)
	stop()
	stop = serve()
	check("renewed")
	if err := os.WriteFile(files.Key, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop()
	stop = serve()
	check("unreadable")
	if n := log.count("stay in force"); n != 1 {
		t.Errorf("%d lines", n)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	stop()
	_ = lis.Close()
}

// What is wrong with the files is said at the start, by their names.
func TestClientTLSFilesThatCannotBeRead(t *testing.T) {
	for field, files := range map[string]producer.TLSFiles{
		"DialConfig.TLSFiles.Certificate": {CA: "/nowhere/ca"},
		"/nowhere/c":                      {Certificate: "/nowhere/c", Key: "/nowhere/k", CA: "/nowhere/ca"},
	} {
		p := producer.DialConfig{Target: "tcp://127.0.0.1:1", TLSFiles: files}.New()
		mustSay(t, p.Check(t.Context()), producer.CodeInvalidConfig, field)
		_ = p.Close()
	}
	p := producer.DialConfig{Target: "tcp://127.0.0.1:1", TLS: &tls.Config{}, TLSFiles: producer.TLSFiles{CA: "x"}}.New()
	mustSay(t, p.Check(t.Context()), "DialConfig.TLSFiles", "set one of them")
	_ = p.Close()
}

// A key that is encrypted is opened with its password, or with the one of a file, read anew for
// each connection; a wrong one and a missing one are said, and not shown.
func TestClientKeyPasswords(t *testing.T) {
	const testdata = "../internal/tlsfiles/testdata/"
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		with producer.TLSFiles
		want string // "": it is opened
	}{
		"a password":       {producer.TLSFiles{KeyPassword: "s3cret"}, ""},
		"in a file":        {producer.TLSFiles{KeyPasswordFile: file}, ""},
		"none":             {producer.TLSFiles{}, "set TLSFiles.KeyPassword or KeyPasswordFile"},
		"a wrong one":      {producer.TLSFiles{KeyPassword: "wr0ng"}, "the password does not open the key"},
		"no file":          {producer.TLSFiles{KeyPasswordFile: file + "x"}, "no such file"},
		"one, and another": {producer.TLSFiles{KeyPassword: "s3cret", KeyPasswordFile: file}, "not both"},
	} {
		x.with.Certificate, x.with.Key, x.with.CA = testdata+"cert.pem", testdata+"aes256.key", testdata+"cert.pem"
		p := producer.DialConfig{Target: "tcp://127.0.0.1:1", TLSFiles: x.with, Logger: slog.New(slog.DiscardHandler)}.New()
		ctx, cancel := context.WithTimeout(t.Context(), producertest.Patience)
		err := p.Check(ctx) // nobody listens there
		cancel()
		_ = p.Close()
		invalid := strings.Contains(err.Error(), producer.CodeInvalidConfig)
		if invalid != (x.want != "") || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
