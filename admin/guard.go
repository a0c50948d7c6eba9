package admin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// guard refuses what no honest caller sends. A page that somebody's browser has open elsewhere can
// send requests to loopback, and by rebinding a name of its own to 127.0.0.1 it could read the
// answers, too: so the names by which this server may be called are listed, and a request that says
// that it comes from another site is refused.
type guard struct {
	hosts []string // beside loopback and the address that the connection came to, in lower case
	next  http.Handler
}

// securityHeaders are on every answer. Nothing runs or loads but what this server has, no other
// page shows this one in a frame, and nothing is kept.
var securityHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Cache-Control":                "no-store",
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name, value := range securityHeaders {
		w.Header().Set(name, value)
	}
	if code, why := g.refusal(r); code != 0 {
		if code == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", "GET, HEAD")
		}
		w.Header().Set("Connection", "close") // what it has of a body is not waited for
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second))
		http.Error(w, why, code)
		return
	}
	g.next.ServeHTTP(w, r)
}

// refusal is why a request is refused, or 0.
func (g *guard) refusal(r *http.Request) (code int, why string) {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return http.StatusMethodNotAllowed, "only GET and HEAD: nothing can be changed here"
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return http.StatusRequestEntityTooLarge, "a request here has no body"
	case !g.named(r.Host, local):
		return http.StatusMisdirectedRequest, "this server is not known by the name in the Host header: call it by localhost or its address, or add the name to its hosts (Config.Hosts, --admin-hosts)"
	case fromElsewhere(r):
		return http.StatusForbidden, "a page of another site asks: open this address by itself"
	}
	return 0, ""
}

// named tells whether a Host header names this server: by a name or address of loopback, by the
// address that the connection came to, or by one of the configured hosts. Ports do not count: they
// are others behind a port forwarding, and an attacker's name has none of these hosts.
func (g *guard) named(host string, local net.Addr) bool {
	name := hostName(host)
	if name == "localhost" || name != "" && slices.Contains(g.hosts, name) {
		return true
	}
	addr, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	if addr = addr.Unmap(); addr.IsLoopback() {
		return true
	}
	tcp, ok := local.(*net.TCPAddr)
	return ok && tcp.AddrPort().Addr().Unmap().WithZone("") == addr.WithZone("")
}

// hostName is a Host header's name without its port, in lower case: brackets and the root's dot are
// no part of it.
func hostName(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

// fromElsewhere tells whether a browser says that a page of another origin made it send this. What
// is no browser says nothing of the kind. A link that somebody follows to the page itself is let
// through: the page has no data in it, and asks for them by itself.
func fromElsewhere(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return true
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	follows := r.URL.Path == "/" && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	return !follows
}
