package tlsfiles_test

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/internal/tlsfiles"
)

func password(text string) tlsfiles.Password { return func() (string, error) { return text, nil } }

func testdata(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join("testdata", name)
}

// What openssl writes today is opened, and is the key that it was made from; so is a key that is
// not encrypted, with and without a password.
func TestEncryptedKeys(t *testing.T) {
	plain, err := os.ReadFile(testdata(t, "plain.key"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(plain)
	want, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"plain", "aes128", "aes192", "aes256", "aes256-sha1", "aes256-sha512", "des3"} {
		pair, err := tlsfiles.Pair(testdata(t, "cert.pem"), testdata(t, name+".key"), password("s3cret"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if key, ok := pair[0].PrivateKey.(interface{ Equal(crypto.PrivateKey) bool }); !ok || !key.Equal(want) {
			t.Errorf("%s: another key", name)
		}
	}
	if _, err := tlsfiles.Pair(testdata(t, "cert.pem"), testdata(t, "plain.key"), nil); err != nil {
		t.Errorf("a plain key without a password: %v", err)
	}
}

// What cannot be opened is refused in words that help, with the command that converts it, and
// without the password.
func TestKeysThatCannotBeOpened(t *testing.T) {
	const convert = "openssl pkcs8 -topk8 -v2 aes-256-cbc"
	for name, tc := range map[string]struct {
		key      string
		password tlsfiles.Password
		want     string
	}{
		"wrong password":    {"aes256.key", password("wr0ng"), "the password does not open the key"},
		"no password":       {"aes256.key", nil, tlsfiles.ErrNoPassword.Error()},
		"an empty password": {"aes256.key", password(""), tlsfiles.ErrNoPassword.Error()},
		"no password file":  {"aes256.key", func() (string, error) { return "", errors.New("there is no file x") }, "there is no file x"},
		"PBES1":             {"pbes1.key", password("s3cret"), convert},
		"scrypt":            {"scrypt.key", password("s3cret"), convert},
		"OpenSSL's of old":  {"traditional.key", password("s3cret"), convert},
		"no key at all":     {"cert.pem", password("s3cret"), "cert.pem"},
	} {
		_, err := tlsfiles.Pair(testdata(t, "cert.pem"), testdata(t, tc.key), tc.password)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want an error with %q", name, err, tc.want)
		} else if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
}

// No file makes a connection compute for ever, or panic.
func FuzzEncryptedKey(f *testing.F) {
	for _, name := range []string{"aes256", "des3", "scrypt", "pbes1"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".key"))
		if err != nil {
			f.Fatal(err)
		}
		block, _ := pem.Decode(text)
		f.Add(block.Bytes)
	}
	cert, err := os.ReadFile(filepath.Join("testdata", "cert.pem"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		dir := t.TempDir()
		certificate, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
		for path, data := range map[string][]byte{certificate: cert, key: pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = tlsfiles.Pair(certificate, key, password("s3cret"))
	})
}
