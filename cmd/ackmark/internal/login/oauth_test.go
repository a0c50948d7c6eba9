package login

import (
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
	"github.com/ackmark/ackmark/internal/kept"
	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafkatest.Main{M: m}) }

const clientSecret = "cl1ent-s3cret/&+"

// jwt is an unsigned token for tests.
func jwt(subject string, until time.Time) string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return part(map[string]any{"alg": "none"}) + "." + part(map[string]any{"sub": subject, "exp": until.Unix()}) + ".sig"
}

func serve(t *testing.T, h http.HandlerFunc) *url.URL {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL + "/token?tenant=hidden")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func client(t *testing.T, endpoint *url.URL, change func(*OAuth)) *bearer {
	t.Helper()
	s, err := secret.Renew("the files of the secret", secret.Parse(clientSecret), slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	o := OAuth{Endpoint: endpoint, ClientID: "orders", Secret: s, Connect: time.Second, Read: 2 * time.Second}
	if change != nil {
		change(&o)
	}
	b, ok := NewOAuth(o).(*bearer)
	if !ok {
		t.Fatal("no bearer")
	}
	b.LogTo(slog.New(slog.DiscardHandler))
	return b
}

// The request is the one that Kafka's own client makes, and the token reaches the broker with its
// extensions.
func TestClientCredentials(t *testing.T) {
	token := jwt("orders", time.Now().Add(time.Hour))
	for name, tc := range map[string]struct {
		change    func(*OAuth)
		user, pwd string
		body      string
	}{
		"bare":        {nil, "orders", clientSecret, "grant_type=client_credentials"},
		"scope":       {func(o *OAuth) { o.Scope = "kafka read" }, "orders", clientSecret, "grant_type=client_credentials&scope=kafka+read"},
		"url-encoded": {func(o *OAuth) { o.URLEncode, o.ClientID = true, "a b" }, "a+b", url.QueryEscape(clientSecret), "grant_type=client_credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				user, pwd, _ := r.BasicAuth()
				if r.Method != http.MethodPost || r.URL.Query().Get("tenant") != "hidden" || user != tc.user || pwd != tc.pwd || string(body) != tc.body {
					t.Errorf("%s %s with %s:%s and %q", r.Method, r.URL, user, pwd, body)
				}
				fmt.Fprintf(w, `{"access_token": %q, "expires_in": 3600, "token_type": "Bearer"}`, token)
			})
			b := client(t, endpoint, tc.change)
			b.extensions = map[string]string{"logicalCluster": "lkc-1"}
			_, first, err := b.Authenticate(t.Context(), "kafka:9092")
			if err != nil {
				t.Fatal(err)
			}
			if want := "n,,\x01auth=Bearer " + token + "\x01logicalCluster=lkc-1\x01\x01"; string(first) != want {
				t.Errorf("%q, want %q", first, want)
			}
		})
	}
}

// How long a token lasts is what it says itself, or else what the answer says.
func TestHowLongATokenLasts(t *testing.T) {
	for name, tc := range map[string]struct {
		token, expires string
		want           time.Duration
	}{
		"its own end":             {jwt("a", time.Now().Add(time.Hour)), "60", time.Hour},
		"the answer's":            {"opaque-token", "60", time.Minute},
		"the answer's, as a text": {"opaque-token", `"60"`, time.Minute},
		"nobody says":             {"opaque-token", "null", 0},
		"nonsense":                {"opaque-token", "-5", 0},
		"not quite a JWT":         {"a.%.c", "60", -1},
		"another three parts":     {"a.b.c", "60", time.Minute},
	} {
		b := client(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"access_token": %q, "expires_in": %s}`, tc.token, tc.expires)
		}), nil)
		_, err := b.current(t.Context())
		switch until := b.last.until; {
		case tc.want < 0:
			if err == nil {
				t.Errorf("%s: taken", name)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case tc.want == 0 && !until.IsZero(), tc.want > 0 && (time.Until(until) > tc.want || time.Until(until) < tc.want-5*time.Second):
			t.Errorf("%s: until %s", name, until)
		}
	}
}

// raw answers with a text, and another one again and again until the client has had enough. To one
// that takes a megabyte of it it gives an answer then, which is none.
func raw(first, again string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, err = io.WriteString(conn, first)
		for sent := 0; err == nil; sent += len(again) {
			if sent > 1<<20 {
				_, _ = io.WriteString(conn, "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				return
			}
			_, err = io.WriteString(conn, again)
		}
	}
}

// A server of HTTP/2 cannot send headers without end either.
func TestEndlessHeadersOfHTTP2(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := range 1000 {
			w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1000))
		}
		fmt.Fprint(w, `{"access_token": "t"}`)
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	defer s.Close()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writePEM(t, ca, s.Certificate().Raw)
	if got, err := client(t, u, func(o *OAuth) { o.CA = ca }).current(t.Context()); err == nil {
		t.Errorf("a megabyte of headers is taken, with %q", got)
	}
}

// Whatever an endpoint answers, the error names the property and the endpoint, says what to do, has
// one line, and no secret: not the client's, not a token, not what the address carries.
func TestBadEndpoints(t *testing.T) {
	hang := func(r *http.Request) {
		_, _ = io.ReadAll(r.Body) // else the server does not see that the client is gone
		<-r.Context().Done()
	}
	elsewhere := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the credentials went elsewhere: %s %v", r.URL, r.Header)
	})
	stolen := jwt("s3cret-claims", time.Now().Add(-time.Hour))
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"hangs": {func(_ http.ResponseWriter, r *http.Request) { hang(r) }, "does not answer: "},
		"hangs in the middle": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"access_token": "`)
			_ = http.NewResponseController(w).Flush()
			hang(r)
		}, "does not answer: "},
		"cuts the connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "does not answer: EOF"},
		"garbage":             {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>"+stolen) }, "with what is no token answer (84 bytes, text/html); is it the token endpoint?"},
		"binary":              {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0, 1, 2, 255}) }, "with what is no token answer"},
		"empty":               {func(http.ResponseWriter, *http.Request) {}, "answers 200 OK with what is no token answer (0 bytes, of no type)"},
		"no token":            {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token": "x"}`) }, "answers 200 OK without an access_token"},
		"not a token":         {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"access_token": "a\u0001auth=b"}`) }, "gives a token that cannot be used: it has characters that no token has"},
		"expired": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"access_token": %q, "expires_in": 3600}`, stolen)
		}, "gives a token that cannot be used: it expired 1h0m"},
		"10 MB": {func(w http.ResponseWriter, _ *http.Request) {
			line := strings.Repeat("x", 1<<20)
			for range 10 {
				if _, err := io.WriteString(w, line); err != nil {
					return
				}
			}
		}, "answers with more than 1048576 bytes"},
		"endless headers":    {raw("HTTP/1.1 200 OK\r\n", "X-Header: "+strings.Repeat("x", 1000)+"\r\n"), "does not answer: "},
		"one endless header": {raw("HTTP/1.1 200 OK\r\nX-Header: ", strings.Repeat("x", 1000)), "does not answer: "},
		"endless hints":      {raw("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), "does not answer: "},
		"hangs in the headers": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX-He")
			_, _ = conn.Read(make([]byte, 1)) // until the client is gone
		}, "does not answer: "},
		"a bomb": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			zipped := gzip.NewWriter(w)
			defer zipped.Close()
			for range 64 {
				if _, err := zipped.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, "answers with more than 1048576 bytes"},
		"redirects to another host": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.String()+"&user=s3cret-claims", http.StatusTemporaryRedirect)
		}, "redirects to " + elsewhere.Scheme + "://" + elsewhere.Host + "/token, which is not followed"},
		"redirects to itself": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }, "/other, which is not followed"},
		"refuses the client": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error": "invalid_client", "error_description": "AADSTS7000215\nlevel=ERROR forged"}`)
		}, "answers 401 Unauthorized (invalid_client AADSTS7000215 level=ERROR forged); check the address, sasl.oauthbearer.client.credentials.client.id"},
		"says what it was told": {func(w http.ResponseWriter, r *http.Request) {
			_, pwd, _ := r.BasicAuth()
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "bad", "error_description": pwd + " " + r.Header.Get("Authorization") + " " + url.QueryEscape(pwd) + " " + r.URL.String() + " " + r.URL.Query().Get("tenant")})
		}, "answers 400 Bad Request (bad (redacted) Basic (redacted) (redacted) /token?(redacted) (redacted))"},
		"is overloaded":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "answers 503 Service Unavailable; look at the endpoint"},
		"has its own status": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) }, "answers 599; look at the endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			endpoint := serve(t, tc.answer)
			b := client(t, endpoint, func(o *OAuth) {
				if o.Connect, o.Read = 10*time.Millisecond, 20*time.Millisecond; !strings.HasPrefix(name, "hangs") {
					o.Connect, o.Read = 5*time.Second, 5*time.Second
				}
			})
			_, _, err := b.Authenticate(t.Context(), "kafka:9092")
			if err == nil {
				t.Fatal("it is taken")
			}
			text := err.Error()
			if !strings.HasPrefix(text, "sasl.oauthbearer.token.endpoint.url (http://"+endpoint.Host+"/token) ") || !strings.Contains(text, tc.want) {
				t.Errorf("got  %s\nwant %s", text, tc.want)
			}
			for _, bad := range []string{"\n", clientSecret, url.QueryEscape(clientSecret), stolen, "s3cret-claims", "hidden"} {
				if strings.Contains(text, bad) {
					t.Errorf("%q stands in %s", bad, text)
				}
			}
			if !errors.As(err, new(*failure)) {
				t.Errorf("%T would be the fate of a record", err)
			}
		})
	}
}

// Nobody listens: a dial that fails must not look like a broker that cannot be dialled.
func TestNobodyListens(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err = client(t, u, nil).current(t.Context())
	if err == nil || !strings.Contains(err.Error(), "connection refused") || errors.Unwrap(err) != nil {
		t.Errorf("%v", err)
	}
}

// The endpoint's certificate is checked: by the system's authorities, or by those of
// https.ca.location, which are read again.
func TestTheEndpointsCertificate(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"access_token": "t"}`) }))
	defer s.Close()
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, u, nil).current(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: %v", err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	b := client(t, u, func(o *OAuth) { o.CA = ca })
	if _, err := b.current(t.Context()); err == nil || !strings.Contains(err.Error(), "https.ca.location") {
		t.Errorf("no file: %v", err)
	}
	writePEM(t, ca, s.Certificate().Raw)
	if got, err := b.current(t.Context()); err != nil || got != "t" {
		t.Errorf("its own authority: %q, %v", got, err)
	}
}

// A token's file is read for each authentication; while it holds none, the one before is used.
func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	b, ok := NewOAuth(OAuth{File: file, Connect: time.Second, Read: time.Second}).(*bearer)
	if !ok {
		t.Fatal("no bearer")
	}
	b.LogTo(slog.New(slog.NewTextHandler(&log, nil)))
	one, two := jwt("one", time.Now().Add(time.Hour)), jwt("two", time.Now().Add(time.Hour))
	stale := kept.Stale()
	for i, step := range []struct{ text, want, err string }{
		{"", "", "holds no token to use: it is empty"},
		{one + "\n", one, ""},
		{two, two, ""},
		{jwt("late", time.Now().Add(-time.Minute)), two, ""},
		{strings.Repeat("x", 70_000), two, ""},
		{one, one, ""},
	} {
		write(step.text)
		got, err := b.current(t.Context())
		if got != step.want || (err != nil) != (step.err != "") || err != nil && !strings.Contains(err.Error(), step.err) {
			t.Errorf("step %d: %q, %v", i, got, err)
		}
		if n := kept.Stale() - stale; n == 1 != (got != strings.TrimSpace(step.text) || got == "") {
			t.Errorf("step %d: %d are stale", i, n)
		}
	}
	if write(jwt("late", time.Now().Add(-time.Minute))); func() bool { _, _ = b.current(t.Context()); return kept.Stale() == stale }() {
		t.Error("a token that is over is not stale")
	}
	if write(two); kept.Stale() != stale {
		t.Error("the file was mended, and nobody has asked since: it is stale still")
	}
	write(one)
	if _, err := b.current(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got, err := b.current(t.Context()); err != nil || got != one {
		t.Errorf("without the file: %q, %v", got, err)
	}
	for _, bad := range []string{one, two, "xxxxx"} {
		if strings.Contains(log.String(), bad) {
			t.Errorf("%q stands in the log", bad)
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 5 {
		t.Errorf("%d warnings, want 5:\n%s", n, log.String())
	}
}

// A token that a broker refuses is dropped, and no record fails for it; a new one that it refuses
// is the broker's verdict.
func TestTheBrokerRefusesAToken(t *testing.T) {
	n := 0
	b := client(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		fmt.Fprintf(w, `{"access_token": "token-%d", "expires_in": 3600}`, n)
	}), nil)
	session, _, err := b.Authenticate(t.Context(), "kafka:9092")
	if err != nil {
		t.Fatal(err)
	}
	said := []byte(`{"status":"invalid_token","token":"token-1"}`)
	if done, answer, err := session.Challenge(said); done || err != nil || string(answer) != "\x01" {
		t.Errorf("a new one: %v %q %v", done, answer, err)
	}
	b.begun = b.begun.Add(-time.Hour)
	session, _, err = b.Authenticate(t.Context(), "kafka:9092")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := session.Challenge(said); !errors.As(err, new(*failure)) || !strings.Contains(err.Error(), "invalid_token") || strings.Contains(err.Error(), "token-1") {
		t.Errorf("an old one: %v", err)
	}
	if got, err := b.current(t.Context()); err != nil || got != "token-2" {
		t.Errorf("%q, %v", got, err)
	}
	if done, _, err := session.Challenge(nil); !done || err != nil {
		t.Errorf("accepted: %v %v", done, err)
	}
}
