package admin

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// arrived is a request as it arrives over a connection to this address.
func arrived(t *testing.T, method, target, host, local string, header map[string]string) *http.Request {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = host
	for name, value := range header {
		r.Header.Set(name, value)
	}
	if local != "" {
		addr, err := net.ResolveTCPAddr("tcp", local)
		if err != nil {
			t.Fatal(err)
		}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
	}
	return r
}

func guarded(hosts ...string) *guard {
	return &guard{hosts: hosts, next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })}
}

// A name that an attacker owns may lead to 127.0.0.1: what it asks for is not answered.
func TestOnlyItsOwnNamesAreAnswered(t *testing.T) {
	const loopback, pod = "127.0.0.1:9404", "10.1.2.3:9404"
	for _, c := range []struct {
		host, local string
		want        int
	}{
		{"localhost:9404", loopback, 200},
		{"LOCALHOST.:9404", loopback, 200},
		{"localhost", loopback, 200},
		{"127.0.0.1:9404", loopback, 200},
		{"127.0.0.1:8080", loopback, 200}, // a port forwarding
		{"[::1]:9404", loopback, 200},
		{"[::1]", loopback, 200},
		{"[::ffff:127.0.0.1]:9404", loopback, 200},
		{"10.1.2.3:9404", pod, 200}, // kubelet and Prometheus call a pod by its address
		{"localhost:9404", pod, 200},
		{"ops.example.com", loopback, 200}, // configured
		{"OPS.example.com:443", loopback, 200},
		{"evil.example:9404", loopback, 421},
		{"evil.example", pod, 421},
		{"127.0.0.1.evil.example:9404", loopback, 421},
		{"localhost.evil.example", loopback, 421},
		{"evil-ops.example.com", loopback, 421},
		{"10.1.2.3:9404", loopback, 421}, // not where the connection came to
		{"10.1.2.4:9404", pod, 421},
		{"", loopback, 421},
		{".", loopback, 421},
		{":9404", loopback, 421},
		{"0x7f000001", loopback, 421},
	} {
		w := httptest.NewRecorder()
		guarded("ops.example.com").ServeHTTP(w, arrived(t, "GET", "/api/status", c.host, c.local, nil))
		if w.Code != c.want {
			t.Errorf("Host %q at %s: %d, want %d: %s", c.host, c.local, w.Code, c.want, w.Body)
		}
	}
}

// What a browser says that another site's page asks for is refused, but for the page itself, which
// a link may lead to.
func TestOtherSitesAreRefused(t *testing.T) {
	navigate := func(site string) map[string]string {
		return map[string]string{"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
	}
	for _, c := range []struct {
		path   string
		header map[string]string
		want   int
	}{
		{"/api/status", nil, 200}, // curl, Prometheus
		{"/api/status", map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200},
		{"/api/status", map[string]string{"Sec-Fetch-Site": "none"}, 200}, // typed
		{"/api/status", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403},
		{"/api/status", map[string]string{"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403}, // another port of localhost
		{"/api/status", map[string]string{"Sec-Fetch-Site": "sideways"}, 403},
		{"/api/status", navigate("cross-site"), 403},
		{"/metrics", navigate("cross-site"), 403},
		{"/", navigate("cross-site"), 200},
		{"/", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403},
		{"/", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}, 403},
		{"/api/events", map[string]string{"Origin": "https://evil.example"}, 403},
		{"/api/events", map[string]string{"Origin": "null"}, 403},
		{"/api/events", map[string]string{"Origin": "http://localhost:3000"}, 403},
		{"/api/events", map[string]string{"Origin": "http://localhost:9404"}, 200},
		{"/api/events", map[string]string{"Origin": "http://localhost:9404", "Sec-Fetch-Site": "cross-site"}, 403},
	} {
		w := httptest.NewRecorder()
		guarded().ServeHTTP(w, arrived(t, "GET", c.path, "localhost:9404", "127.0.0.1:9404", c.header))
		if w.Code != c.want {
			t.Errorf("%s with %v: %d, want %d", c.path, c.header, w.Code, c.want)
		}
	}
}

// Nothing can be changed here, and nothing is taken in.
func TestOnlyReadingIsTaken(t *testing.T) {
	for method, want := range map[string]int{"GET": 200, "HEAD": 200, "POST": 405, "PUT": 405, "DELETE": 405, "PATCH": 405, "OPTIONS": 405, "TRACE": 405, "CONNECT": 405, "PROPFIND": 405} {
		w := httptest.NewRecorder()
		guarded().ServeHTTP(w, arrived(t, method, "/", "localhost", "", nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", method, w.Code, want)
		}
		if allow := w.Header().Get("Allow"); want == 405 && allow != "GET, HEAD" {
			t.Errorf("%s: Allow is %q", method, allow)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/", strings.NewReader("a body"))
	r.Host = "localhost"
	w := httptest.NewRecorder()
	if guarded().ServeHTTP(w, r); w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a GET with a body: %d", w.Code)
	}
}

// Refusals have the headers, too.
func TestSecurityHeaders(t *testing.T) {
	for _, host := range []string{"localhost", "evil.example"} {
		w := httptest.NewRecorder()
		guarded().ServeHTTP(w, arrived(t, "GET", "/", host, "", nil))
		policy := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy lacks %q: %s", host, want, policy)
			}
		}
		for _, never := range []string{"unsafe", "http:", "https:", "*", "data:"} {
			if strings.Contains(policy, never) {
				t.Errorf("%s: the policy has %q: %s", host, never, policy)
			}
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q", host, name, got)
			}
		}
		if c := w.Result().Cookies(); len(c) > 0 {
			t.Errorf("cookies: %v", c)
		}
		for name := range w.Header() {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s opens this to other sites", host, name)
			}
		}
	}
}
