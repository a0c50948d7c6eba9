package login_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

// authority issues certificates.
type authority struct {
	name string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{name: name, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate for either side on this machine, with its key, which the password
// encrypts; "": it does not. Kafka takes another certificate while it runs if the name is the same.
func (a *authority) issue(t *testing.T, password string) (certificate, key []byte) {
	t.Helper()
	private := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "PRIVATE KEY"}
	if block.Bytes, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		t.Fatal(err)
	}
	if password != "" {
		block = &pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: encrypted(t, block.Bytes, password)}
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(block)
}

// encrypted is a key as `openssl pkcs8 -topk8 -v2 aes-256-cbc` writes it (RFC 8018, PBES2).
func encrypted(t *testing.T, der []byte, password string) []byte {
	t.Helper()
	var salt, iv [aes.BlockSize]byte
	_, _ = rand.Read(salt[:])
	_, _ = rand.Read(iv[:])
	const iterations = 2048
	key, err := pbkdf2.Key(sha256.New, password, salt[:], iterations, 32)
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	padding := aes.BlockSize - len(der)%aes.BlockSize
	data := append(bytes.Clone(der), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, iv[:]).CryptBlocks(data, data)
	marshal := func(v any) asn1.RawValue {
		out, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return asn1.RawValue{FullBytes: out}
	}
	algorithm := func(id asn1.ObjectIdentifier, parameters any) pkix.AlgorithmIdentifier {
		return pkix.AlgorithmIdentifier{Algorithm: id, Parameters: marshal(parameters)}
	}
	pkcs5 := func(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, n} }
	derivation := algorithm(pkcs5(12), struct {
		Salt       []byte
		Iterations int
		PRF        pkix.AlgorithmIdentifier
	}{salt[:], iterations, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, Parameters: asn1.NullRawValue}})
	scheme := algorithm(pkcs5(13), []pkix.AlgorithmIdentifier{derivation, algorithm(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, iv[:])})
	return marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}{scheme, data}).FullBytes
}

// put replaces a file of the directory by parts, as what renews certificates does.
func put(t *testing.T, dir, name string, parts ...[]byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	err := os.WriteFile(path+".new", bytes.Join(parts, nil), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// pair puts a certificate with its encrypted key and the key's password into the files of a name.
func (a *authority) pair(t *testing.T, dir, name string) {
	t.Helper()
	password := "s3cret of " + a.name
	certificate, key := a.issue(t, password)
	put(t, dir, name+".password", []byte(password+"\n"))
	put(t, dir, name+".key", key)
	put(t, dir, name+".pem", certificate)
}

// presented waits until who listens shows what this authority has issued: on some connections in a
// row, for each of a broker's network threads learns of it in its own time, and they take turns.
func (a *authority) presented(t *testing.T, addr string) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	kafkatest.Eventually(t, 20*time.Second, fmt.Sprintf("a certificate of %s at %s", a.name, addr), func() error {
		for range 6 {
			conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool})
			if err != nil {
				return err
			}
			if err := conn.Close(); err != nil {
				return err
			}
		}
		return nil
	})
}
