package cli

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// An app is asked at its admin port: alive or not, ready or not and why, in one line without what
// would move a terminal's cursor; a port where nobody answers is named.
func TestHealthOfAnAdminPort(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			http.Error(w, "orders/3 stands still\x1b[2J since 6m\nand more", http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	moved := httptest.NewServer(http.RedirectHandler(s.URL, http.StatusFound))
	defer moved.Close()
	addr := func(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }
	for _, x := range []struct {
		args []string
		want string // "": well
		code int
	}{
		{[]string{"--admin", addr(s), "--service", "liveness"}, "", ExitClean},
		{[]string{"--admin", addr(s)}, "readiness is not given: /readyz answers 503 Service Unavailable: orders/3 stands still[2J since 6m", ExitFailed},
		{[]string{"--admin", addr(gone)}, "no admin port answers at " + addr(gone), ExitFailed},
		{[]string{"--admin", addr(moved)}, "answers 302 Found", ExitFailed},
		{[]string{"--admin", "9404"}, "write host:port", ExitUsage},
		{[]string{"--admin", ""}, "--admin is empty", ExitUsage},
	} {
		cmd := NewHealthcheckCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(&out)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		cmd.SetArgs(x.args)
		err := cmd.ExecuteContext(t.Context())
		if code := exitCode(err); code != x.code || x.want == "" && out.String() != "liveness: SERVING\n" ||
			x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want) || strings.ContainsAny(err.Error(), "\n\x1b")) {
			t.Errorf("%v: %v, code %d, printed %q", x.args, err, code, out.String())
		}
	}
}
