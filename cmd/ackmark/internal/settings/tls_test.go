package settings

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// issue writes a certificate that is its own authority, and its key, and returns the pair.
func issue(t *testing.T, certificate, key string, serial int64) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	bytes, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	chain, secret := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: bytes})
	for path, text := range map[string][]byte{certificate: chain, key: secret} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(chain, secret)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(chain)
	return pair, pool
}

// tlsBroker is a broker with mutual TLS that remembers who came, and can end the connections.
type tlsBroker struct {
	mu    sync.Mutex
	pair  tls.Certificate
	pool  *x509.CertPool
	conns []net.Conn
	last  int64
}

type remembered struct {
	net.Listener
	b *tlsBroker
}

func (r remembered) Accept() (net.Conn, error) {
	conn, err := r.Listener.Accept()
	if err == nil {
		r.b.mu.Lock()
		defer r.b.mu.Unlock()
		r.b.conns = append(r.b.conns, conn)
	}
	return conn, err
}

func (b *tlsBroker) config() *tls.Config {
	return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		return &tls.Config{Certificates: []tls.Certificate{b.pair}, ClientCAs: b.pool, ClientAuth: tls.RequireAndVerifyClientCert,
			VerifyConnection: func(cs tls.ConnectionState) error {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.last = cs.PeerCertificates[0].SerialNumber.Int64()
				return nil
			}}, nil
	}}
}

// The files of ssl.* that are renewed are in force from the Kafka client's next connection on:
// certificate, key and authorities. Files that cannot be read leave the ones before in force, and
// the log says so once.
func TestRenewedKafkaTLSFiles(t *testing.T) {
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	b := &tlsBroker{}
	b.pair, b.pool = issue(t, certificate, key, 1)
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(network, addr string) (net.Listener, error) {
		lis, err := net.Listen(network, addr)
		return tls.NewListener(remembered{lis, b}, b.config()), err
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	for _, names := range []string{"https", "none"} {
		client, wrong := ParseKafka(map[string]string{"security.protocol": "SSL", "ssl.ca.location": certificate, "ssl.certificate.location": certificate,
			"ssl.key.location": key, "ssl.endpoint.identification.algorithm": names},
			func(name string) FieldError { return FieldError{Field: name} })
		if len(wrong) > 0 {
			t.Fatal(wrong)
		}
		var log strings.Builder
		client.TLS.LogTo(slog.New(slog.NewTextHandler(&log, nil)))
		cl, err := kgo.NewClient(append(client.Options, kgo.SeedBrokers(kafka.ListenAddrs()...))...)
		if err != nil {
			t.Fatal(err)
		}
		reconnect := func(want int64) {
			t.Helper()
			b.mu.Lock()
			b.last = 0
			for _, conn := range b.conns {
				_ = conn.Close()
			}
			b.conns = nil
			b.mu.Unlock()
			if cl.Ping(t.Context()) != nil { // it may have found that its connection is over
				if err := cl.Ping(t.Context()); err != nil {
					t.Fatalf("names %s: %v", names, err)
				}
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.last != want {
				t.Errorf("names %s: the broker saw serial %d, want %d", names, b.last, want)
			}
		}
		renew := func(serial int64) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.pair, b.pool = issue(t, certificate, key, serial)
		}
		renew(2)
		reconnect(2)
		renew(3)
		reconnect(3)
		text, err := os.ReadFile(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(key, text[:len(text)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		reconnect(3)
		reconnect(3)
		cl.Close()
		if n := strings.Count(log.String(), "stay in force"); n != 1 {
			t.Errorf("names %s: %d lines: %s", names, n, log.String())
		}
		renew(1)
	}
}
