package peer

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"

	"github.com/ackmark/ackmark/internal/peercred"
)

// processThat is dead for certain, or not.
type processThat bool

func (dead processThat) PeerDead() bool { return bool(dead) }

func TestSameOwner(t *testing.T) {
	conn := new(net.UnixConn)
	unix := func(uid uint32, pid int32, inode uint64) Info {
		return Info{Conn: conn, UID: uid, PID: pid, Inode: inode}
	}
	cert := func(c string) Info { return Info{Certificate: c} }
	for name, x := range map[string]struct {
		token   bool
		was, is Info
		dead    bool
		want    bool
	}{
		"same process":                      {was: unix(1, 7, 70), is: unix(1, 7, 70), want: true},
		"another process":                   {was: unix(1, 7, 70), is: unix(1, 8, 80)},
		"another user":                      {was: unix(1, 7, 70), is: unix(2, 7, 70)},
		"the pid of a dead process":         {was: unix(1, 7, 70), is: unix(1, 7, 71)},
		"old kernel, same process":          {was: unix(1, 7, 0), is: unix(1, 7, 0), want: true},
		"old kernel, another process":       {was: unix(1, 7, 0), is: unix(1, 8, 0)},
		"old kernel, the pid of a dead one": {was: unix(1, 7, 0), is: unix(1, 7, 0), dead: true},
		"old kernel, one namespace hidden":  {was: unix(1, 7, 0), is: unix(1, 0, 0)},
		"both hidden, same user":            {was: unix(1, 0, 0), is: unix(1, 0, 0), want: true},
		"both hidden, another user":         {was: unix(1, 0, 0), is: unix(2, 0, 0)},
		"the app's token":                   {token: true, was: unix(1, 7, 70), is: unix(2, 8, 80), want: true},
		"same certificate":                  {was: cert("a"), is: cert("a"), want: true},
		"another certificate":               {was: cert("a"), is: cert("b")},
		"no certificate":                    {was: cert("a"), is: Info{}},
		"a listener of the user's own":      {want: true},
	} {
		if got := SameOwner(x.token, x.was, x.is, &Process{told: processThat(x.dead)}); got != x.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// A certificate is renewed with another serial number, key and term, and when the authority is
// replaced, which happens to intermediate ones unasked, by another issuer. Whom it names stays.
func TestARenewedCertificateIsTheSameOwner(t *testing.T) {
	of := func(issuer, der, name, path string, dns ...string) Info {
		named, issued := certificateOf(credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{{
			RawIssuer: []byte(issuer), RawSubject: []byte(der + name), Subject: pkix.Name{CommonName: name}, DNSNames: dns, URIs: []*url.URL{{Scheme: "spiffe", Host: "pods", Path: path}},
		}}}})
		return Info{Certificate: named, issued: issued}
	}
	first := of("R10", "utf8", "app", "/app", "app", "app.pods")
	for name, x := range map[string]struct {
		is             Info
		want, wantDisk bool // of a session that is kept as it was before
	}{
		"renewed":                        {of("R10", "utf8", "app", "/app", "app", "app.pods"), true, true},
		"by another issuer":              {of("R11", "utf8", "app", "/app", "app", "app.pods"), true, false},
		"by one that writes another way": {of("R11", "printable", "app", "/app", "app.pods", "app"), true, false},
		"of another subject":             {of("R10", "utf8", "other", "/app", "app", "app.pods"), false, false},
		"of another name":                {of("R10", "utf8", "app", "/app", "other", "app.pods"), false, false},
		"of one name less":               {of("R10", "utf8", "app", "/app", "app"), false, false},
		"of another URI":                 {of("R10", "utf8", "app", "/other", "app", "app.pods"), false, false},
		"none":                           {Info{}, false, false},
	} {
		if got := SameOwner(false, first, x.is, nil); got != x.want {
			t.Errorf("%s: the same owner: %t", name, got)
		}
		disk := Info{Certificate: first.issued, Former: true}
		if got := SameOwner(false, disk, x.is, nil); got != x.wantDisk {
			t.Errorf("%s: the owner of a session that is kept: %t", name, got)
		}
		if got := FormerOf(&Process{told: processThat(true)}, disk, x.is); got != x.wantDisk {
			t.Errorf("%s: a former one of it: %t", name, got)
		}
	}
}

func TestPeersThatMayConnect(t *testing.T) {
	r := NewRules([]uint32{70001}, []uint32{70002}, "")
	for _, x := range []struct {
		cred peercred.Cred
		want bool
	}{
		{peercred.Cred{UID: uint32(os.Geteuid()), GID: 5}, true},
		{peercred.Cred{UID: 70001, GID: 5}, true},
		{peercred.Cred{UID: 5, GID: 70002}, true},
		{peercred.Cred{UID: 5, GID: 5, Groups: []uint32{6, 70002}}, true},
		{peercred.Cred{UID: 5, GID: 5, Groups: []uint32{6, 70001}}, false},
		{peercred.Cred{UID: 70002, GID: 70001}, false},
	} {
		if r.allow(&x.cred) != x.want {
			t.Errorf("%+v: want %v", x.cred, x.want)
		}
	}
}

// Rules that are replaced count for connections that are open, too, in both directions.
func TestRulesThatAreReplaced(t *testing.T) {
	r := NewRules([]uint32{70001}, nil, "")
	let := Info{UID: 70001, rules: r, judged: r.allowed.Load(), cred: &peercred.Cred{UID: 70001}}
	if why := let.WhyRefused(); why != "" {
		t.Error(why)
	}
	r.Replace([]uint32{70002}, nil)
	if why := let.WhyRefused(); !strings.Contains(why, "uid 70001") {
		t.Errorf("%q", why)
	}
	r.Replace(nil, []uint32{70003})
	let.cred.Groups = []uint32{70003}
	if why := let.WhyRefused(); why != "" {
		t.Error(why)
	}
}
