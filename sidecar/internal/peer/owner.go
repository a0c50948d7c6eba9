package peer

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"

	"google.golang.org/grpc/credentials"
)

// SameOwner tells whether who has begun a session, or speaks for a member, and who is there now are
// one: by the app's token, which was compared already, by the client's certificate, or as one
// process. Of connections of a listener of the user's own nothing is known: who may connect there
// is its owner's business. Old is the process that was, or nil.
func SameOwner(token bool, was, is Info, old *Process) bool {
	switch {
	case token:
		return true
	case was.Certificate != "" || is.Certificate != "":
		return sameCertificate(was, is)
	case was.Conn == nil && !was.Former || is.Conn == nil:
		return true
	case was.UID != is.UID:
		return false
	case was.Inode != 0 && is.Inode != 0:
		return was.Inode == is.Inode
	case was.PID != 0 || is.PID != 0:
		return was.PID == is.PID && !old.ProvenDead() // a dead one's pid may be another's
	}
	return true // another pid namespace on a kernel before 6.9: nothing but the user is known
}

// FormerOf tells whether a process may be a former one of a peer's: of the same user, and not
// proven to live.
func FormerOf(old *Process, was, is Info) bool {
	return !old.ProvenAlive() && was.UID == is.UID && sameCertificate(was, is)
}

// sameCertificate tells whether two certificates name the same. Before, who had issued it was in
// it, too: a session of that time is on disk perhaps, and its certificate may not be "" then.
func sameCertificate(was, is Info) bool {
	return was.Certificate == is.Certificate || was.Certificate != "" && was.Certificate == is.issued
}

// certificateOf is what stays of a client's certificate when it is renewed, by another authority,
// too: whom it names.
func certificateOf(info credentials.TLSInfo) (named, issued string) {
	if len(info.State.PeerCertificates) == 0 {
		return "", ""
	}
	c := info.State.PeerCertificates[0]
	return certificateIdentity(c), issuedIdentity(c)
}

// certificateIdentity does not depend on how an authority writes a text, or on the order of names.
func certificateIdentity(c *x509.Certificate) string {
	return hashed("%q %q %q %q %q", c.Subject.String(), sorted(c.DNSNames), sorted(c.EmailAddresses), sorted(c.IPAddresses), sorted(c.URIs))
}

func sorted[T any](list []T) []string {
	texts := make([]string, len(list))
	for i, one := range list {
		texts[i] = fmt.Sprint(one)
	}
	slices.Sort(texts)
	return texts
}

// issuedIdentity is what was kept of a certificate before: by another issuer it was another.
func issuedIdentity(c *x509.Certificate) string {
	return hashed("%q %q %q %q %q %q", c.RawIssuer, c.RawSubject, c.DNSNames, c.EmailAddresses, c.IPAddresses, c.URIs)
}

func hashed(format string, of ...any) string {
	h := sha256.New()
	fmt.Fprintf(h, format, of...)
	return hex.EncodeToString(h.Sum(nil))
}
