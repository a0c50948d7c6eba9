package producer_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/ackmark/ackmark/producer"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// selfSigned makes a certificate that is its own authority.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// Over TCP both sides show certificates; a client without one is told so, not left hanging.
func TestClientMutualTLS(t *testing.T) {
	cert, pool := selfSigned(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert})))
	sidecarpb.RegisterSidecarServer(server, newScript(t))
	go func() { _ = server.Serve(lis) }()
	defer server.Stop()
	target := "tcp://" + lis.Addr().String()

	p := producer.DialConfig{Target: target, App: "test", TLS: &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: pool}}.New()
	defer p.Close()
	if err := p.Check(t.Context()); err != nil {
		t.Errorf("Check: %v", err)
	}
	mustBeAcked(t, deliver(t, p, numbered(3)...))

	none := producer.DialConfig{Target: target, App: "test", TLS: &tls.Config{RootCAs: pool}, Logger: slog.New(slog.DiscardHandler)}.New()
	defer none.Close()
	mustSay(t, none.Check(t.Context()), target, "certificate")
}
