package sidecar_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/ackmark/ackmark/internal/wire"
	"github.com/ackmark/ackmark/sidecar"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
	"github.com/ackmark/ackmark/sidecar/sidecartest"
)

// runError runs a sidecar that is expected not to come up.
func runError(t *testing.T, cfg sidecar.Config) error {
	t.Helper()
	cfg.Brokers = []string{"127.0.0.1:1"}
	s, err := sidecar.New(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = s.Run(ctx)
	if ctx.Err() != nil {
		t.Fatal("it came up")
	}
	return err
}

func TestTheSocketIsPrivate(t *testing.T) {
	kafka := cluster(t)
	for _, mode := range []os.FileMode{0o700, 0o770} {
		sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.SocketMode = mode })
		path := strings.TrimPrefix(sc.Target, "unix://")
		dir, err := os.Stat(filepath.Dir(path))
		if err != nil || dir.Mode().Perm() != mode&^0o020 {
			t.Errorf("directory: %v, %v; want %v", dir.Mode(), err, mode)
		}
		socket, err := os.Stat(path)
		if err != nil || socket.Mode().Perm() != mode&0o660 {
			t.Errorf("socket: %v, %v; want %v", socket.Mode(), err, mode&0o660)
		}
		st, err := sidecarpb.NewSidecarClient(dial(t, sc.Target)).Status(context.Background(), &sidecarpb.StatusRequest{})
		if err != nil || st.GetSidecarId() == "" {
			t.Errorf("%v, %v", st, err)
		}
		c := hello(t, dial(t, sc.Target), "s")
		if st, _ = sc.Status(context.Background()); sidecar.ProvesDeaths && st.GetSessions()[0].GetPeerPid() != int64(os.Getpid()) {
			t.Errorf("peer pid %d, this process is %d", st.GetSessions()[0].GetPeerPid(), os.Getpid())
		}
		c.goodbye()
		if err := sc.Stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket stays behind: %v", err)
		}
	}
}

func TestSocketPathsThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	private := filepath.Join(dir, "private")
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(private, "s.sock"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	wide := filepath.Join(dir, "wide")
	if err := os.Mkdir(wide, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(wide, 0o777); err != nil {
		t.Fatal(err)
	}
	for path, part := range map[string]string{
		filepath.Join(wide, "s.sock"):    "lets others in",
		filepath.Join(file, "s.sock"):    "not a directory",
		filepath.Join(private, "s.sock"): "is no socket",
	} {
		err := runError(t, sidecar.Config{Listen: "unix://" + path})
		if _, ok := errors.AsType[*sidecar.SocketError](err); !ok || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", path, err, part)
		}
	}
	if b, err := os.ReadFile(filepath.Join(private, "s.sock")); err != nil || string(b) != "precious" {
		t.Errorf("somebody's file was touched: %q, %v", b, err)
	}
	if info, err := os.Stat(wide); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("somebody's directory was changed: %v, %v", info.Mode(), err)
	}
}

func TestStaleAndLivingSockets(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	if err := runError(t, sidecar.Config{Listen: sc.Target}); err == nil || !strings.Contains(err.Error(), "another sidecar serves it") {
		t.Errorf("second sidecar: %v", err)
	}
	c := hello(t, dial(t, sc.Target), "s") // the first one goes on
	c.units(plain("out", 1)...)
	c.reported(1)

	// Somebody who is no sidecar, and holds no lock.
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s.sock")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	lis.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := runError(t, sidecar.Config{Listen: "unix://" + path}); err == nil || !strings.Contains(err.Error(), "another process serves it") {
		t.Errorf("living socket: %v", err)
	}
	_ = lis.Close() // as a killed process leaves it
	stale := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.Listen = "unix://" + path })
	hello(t, dial(t, stale.Target), "s")
}

func TestARestartedSidecarIsANewOne(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), nil)
	conn := dial(t, sc.Target)
	first := hello(t, conn, "s").welcome
	sc.Restart()
	conn.ResetConnectBackoff()
	second := hello(t, dial(t, sc.Target), "s").welcome
	if first.GetSidecarId() == second.GetSidecarId() || second.GetResumed() {
		t.Errorf("%v, then %v", first, second)
	}
}

// Whatever comes over the socket, the others go on.
func TestGarbageHarmsNobody(t *testing.T) {
	kafka := cluster(t)
	sc := sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) { c.MaxMessageBytes, c.MaxRecordBytes, c.MaxConnections = 200_000, 100_000, 8 })
	good := hello(t, dial(t, sc.Target), "good")
	path := strings.TrimPrefix(sc.Target, "unix://")
	var junk []net.Conn
	for i, bytes := range []string{"GET / HTTP/1.1\r\n\r\n", strings.Repeat("\xff", 4096), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x00\xff\xff\x07", 500), ""} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(i, err)
		}
		junk = append(junk, conn)
		_, _ = io.WriteString(conn, bytes)
	}
	c := hello(t, dial(t, sc.Target), "oversized")
	if err := c.stream.SendMsg(&wire.Raw{Buffers: buffers(make([]byte, 300_000))}); err != nil {
		t.Fatal(err)
	}
	c.ends(codes.ResourceExhausted, "200000")
	// More connections than allowed are closed; those that are there stay.
	for range 8 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		junk = append(junk, conn)
	}
	good.units(plain("out", 10)...)
	good.reported(10)
	for _, j := range junk {
		_ = j.Close()
	}
	for { // until the sidecar has noticed that they are closed
		_, err := sidecarpb.NewSidecarClient(dial(t, sc.Target)).Status(context.Background(), &sidecarpb.StatusRequest{})
		if err == nil {
			break
		}
		if status.Code(err) != codes.Unavailable {
			t.Fatal(err)
		}
	}
}

func TestMutualTLS(t *testing.T) {
	kafka := cluster(t)
	ca, server, clientCert := certificates(t)
	_, _, strangerCert := certificates(t)
	addr := freeAddr(t)
	sidecartest.Start(t, kafka.ListenAddrs(), func(c *sidecar.Config) {
		c.Listen = "tcp://" + addr
		c.TLS = &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: ca, ClientAuth: tls.RequireAndVerifyClientCert}
	})
	call := func(certs ...tls.Certificate) error {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ca, Certificates: certs, ServerName: "sidecar"})))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, err = sidecarpb.NewSidecarClient(conn).Status(context.Background(), &sidecarpb.StatusRequest{})
		return err
	}
	if err := call(clientCert); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if err := call(); status.Code(err) != codes.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}
	if err := call(strangerCert); status.Code(err) != codes.Unavailable {
		t.Errorf("with another CA's certificate: %v", err)
	}
}

func freeAddr(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	return lis.Addr().String()
}

// certificates makes a CA and a certificate of it for either side.
func certificates(t *testing.T) (ca *x509.CertPool, server, client tls.Certificate) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	caTemplate := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	caDER, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	caCert, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}, caCert, key.Public(), caKey)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	ca = x509.NewCertPool()
	ca.AddCert(caCert)
	return ca, issue("sidecar"), issue("client")
}
