package tlsfiles

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // the cipher of a file that somebody else has encrypted
	"crypto/pbkdf2"
	"crypto/sha1" //nolint:gosec // PBKDF2's default; HMAC-SHA-1 is not broken
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
)

// ErrNoPassword is a key that is encrypted, where no password is configured.
var ErrNoPassword = errors.New("the key is encrypted, and no password is given")

// convert writes any key that openssl can read as one that this package can.
const convert = "`openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD.pem -out NEW.pem`"

// decrypted is a PEM file in which an encrypted key (RFC 5208, "ENCRYPTED PRIVATE KEY") is replaced
// by what it holds. All else stays as it is.
func decrypted(file []byte, password Password) ([]byte, error) {
	var out []byte
	for rest := file; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Headers["DEK-Info"] != "" { // OpenSSL's own format of old; its checks are too weak to tell a wrong password
			return nil, errors.New("the key is encrypted in a format that is not PKCS#8; convert it: " + convert)
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" {
			plain, err := decryptBlock(block.Bytes, password)
			if err != nil {
				return nil, err
			}
			block = &pem.Block{Type: "PRIVATE KEY", Bytes: plain}
		}
		out = append(out, pem.EncodeToMemory(block)...)
	}
	if out == nil {
		return file, nil // no PEM: what parses it says so
	}
	return out, nil
}

func decryptBlock(der []byte, password Password) ([]byte, error) {
	if password == nil {
		return nil, ErrNoPassword
	}
	phrase, err := password()
	if err != nil {
		return nil, err
	}
	if phrase == "" {
		return nil, ErrNoPassword
	}
	return decryptPKCS8(der, phrase)
}

// The structures of RFC 5208 and RFC 8018.
type (
	encryptedKey struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	pbes2 struct{ Derivation, Cipher pkix.AlgorithmIdentifier }
	pbkdf struct {
		Salt       []byte
		Iterations int
		KeyLength  int                      `asn1:"optional"`
		PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
	}
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

var hashes = map[string]func() hash.Hash{
	"":                    sha1.New, // the default
	"1.2.840.113549.2.7":  sha1.New,
	"1.2.840.113549.2.8":  sha256.New224,
	"1.2.840.113549.2.9":  sha256.New,
	"1.2.840.113549.2.10": sha512.New384,
	"1.2.840.113549.2.11": sha512.New,
}

// ciphers, and how long their keys are.
var ciphers = map[string]struct {
	make func([]byte) (cipher.Block, error)
	key  int
}{
	"1.2.840.113549.3.7":      {des.NewTripleDESCipher, 24},
	"2.16.840.1.101.3.4.1.2":  {aes.NewCipher, 16},
	"2.16.840.1.101.3.4.1.22": {aes.NewCipher, 24},
	"2.16.840.1.101.3.4.1.42": {aes.NewCipher, 32},
}

// maxIterations bounds what a file can make each connection compute: half a second.
const maxIterations = 2_000_000

var (
	errUnsupported = errors.New("the key is encrypted in a way that cannot be decrypted here (PBES2 with PBKDF2 and AES or 3DES can); convert it: " + convert)
	errTorn        = errors.New("the encrypted key cannot be parsed; is the file complete?")
	errPassword    = errors.New("the password does not open the key")
)

// decryptPKCS8 opens an EncryptedPrivateKeyInfo with PBES2, PBKDF2 and a CBC cipher: what openssl
// and Java write today.
func decryptPKCS8(der []byte, password string) ([]byte, error) {
	var sealed encryptedKey
	if rest, err := asn1.Unmarshal(der, &sealed); err != nil || len(rest) > 0 {
		return nil, errTorn
	}
	var scheme pbes2
	if !sealed.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, errUnsupported
	}
	if _, err := asn1.Unmarshal(sealed.Algorithm.Parameters.FullBytes, &scheme); err != nil {
		return nil, errTorn
	}
	kind, known := ciphers[scheme.Cipher.Algorithm.String()]
	if !known || !scheme.Derivation.Algorithm.Equal(oidPBKDF2) {
		return nil, errUnsupported
	}
	key, err := derive(scheme.Derivation.Parameters.FullBytes, password, kind.key)
	if err != nil {
		return nil, err
	}
	block, err := kind.make(key)
	if err != nil {
		return nil, err
	}
	var iv []byte
	size := block.BlockSize()
	if _, err := asn1.Unmarshal(scheme.Cipher.Parameters.FullBytes, &iv); err != nil || len(iv) != size || len(sealed.Data) == 0 || len(sealed.Data)%size != 0 {
		return nil, errTorn
	}
	plain := make([]byte, len(sealed.Data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, sealed.Data)
	return unpadded(plain, size)
}

func derive(parameters []byte, password string, length int) ([]byte, error) {
	var p pbkdf
	if _, err := asn1.Unmarshal(parameters, &p); err != nil || p.Iterations < 1 || p.KeyLength != 0 && p.KeyLength != length {
		return nil, errTorn
	}
	if p.Iterations > maxIterations {
		return nil, fmt.Errorf("the key asks for %d iterations; at most %d are made, for each connection", p.Iterations, maxIterations)
	}
	prf := ""
	if p.PRF.Algorithm != nil {
		prf = p.PRF.Algorithm.String()
	}
	sum, known := hashes[prf]
	if !known {
		return nil, errUnsupported
	}
	return pbkdf2.Key(sum, password, p.Salt, p.Iterations, length)
}

// unpadded takes the padding off. What is then no key was opened with another password: one in 256
// of these looks padded.
func unpadded(plain []byte, size int) ([]byte, error) {
	n := int(plain[len(plain)-1])
	if n < 1 || n > size {
		return nil, errPassword
	}
	plain = plain[:len(plain)-n]
	if _, err := x509.ParsePKCS8PrivateKey(plain); err != nil {
		return nil, errPassword
	}
	return plain, nil
}
