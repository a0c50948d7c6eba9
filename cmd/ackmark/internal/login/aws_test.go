package login

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func writePEM(t *testing.T, path string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newAWS(t *testing.T, env map[string]string) (Mechanism, error) {
	t.Helper()
	m, err := NewAWS(func(name string) string { return env[name] })
	if err == nil {
		m.LogTo(slog.New(slog.DiscardHandler))
	}
	if i, ok := m.(iam); ok {
		i.patience = 0
	}
	return m, err
}

const broker = "b-1.orders.abc123.c2.kafka.eu-central-1.amazonaws.com:9098"

// sent is what the broker is sent: a request that is signed for it.
func sent(t *testing.T, m Mechanism) map[string]string {
	t.Helper()
	_, first, err := m.Authenticate(t.Context(), broker)
	if err != nil {
		t.Fatal(err)
	}
	var said map[string]string
	if err := json.Unmarshal(first, &said); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said["x-amz-credential"], "/eu-central-1/kafka-cluster/aws4_request") || said["x-amz-signature"] == "" {
		t.Errorf("%v", said)
	}
	return said
}

func TestAWSEnvironment(t *testing.T) {
	m, err := newAWS(t, map[string]string{"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "k3y", "AWS_SESSION_TOKEN": "tok", "AWS_ROLE_ARN": "not asked for"})
	if err != nil {
		t.Fatal(err)
	}
	if said := sent(t, m); m.Name() != "AWS_MSK_IAM" || !strings.HasPrefix(said["x-amz-credential"], "AKID/") || said["x-amz-security-token"] != "tok" {
		t.Errorf("%s %v", m.Name(), said)
	}
}

func stsAnswer(id string, until time.Time) string {
	return fmt.Sprintf(`<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<SubjectFromWebIdentityToken>system:serviceaccount:a:b</SubjectFromWebIdentityToken><Credentials><SessionToken>session-%[1]s</SessionToken>
<SecretAccessKey>k3y</SecretAccessKey><Expiration>%[2]s</Expiration><AccessKeyId>%[1]s</AccessKeyId></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, id, until.UTC().Format(time.RFC3339))
}

// The token of the pod is exchanged at STS; when the credentials come to their end, with the token
// that the file holds then, and under the same name: the broker refuses another principal.
func TestAWSWebIdentity(t *testing.T) {
	token := file(t, "web-one\n")
	var names, tokens []string
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.URL.Query().Has("WebIdentityToken") {
			t.Errorf("%s %v: a token in an address ends in logs", r.URL, err)
		}
		f := r.PostForm
		if f.Get("Action") != "AssumeRoleWithWebIdentity" || f.Get("Version") != "2011-06-15" || f.Get("RoleArn") != "arn:aws:iam::1:role/orders" {
			t.Errorf("%v", f)
		}
		names, tokens = append(names, f.Get("RoleSessionName")), append(tokens, f.Get("WebIdentityToken"))
		fmt.Fprint(w, stsAnswer(fmt.Sprintf("ASIA%d", len(names)), time.Now().Add(5*time.Second)))
	})
	env := map[string]string{"AWS_ROLE_ARN": "arn:aws:iam::1:role/orders", "AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ENDPOINT_URL_STS": endpoint.String()}
	m, err := newAWS(t, env)
	if err != nil {
		t.Fatal(err)
	}
	if said := sent(t, m); !strings.HasPrefix(said["x-amz-credential"], "ASIA1/") || said["x-amz-security-token"] != "session-ASIA1" {
		t.Errorf("%v", said)
	}
	if err := os.WriteFile(token, []byte("web-two"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := m.(iam).renewing
	r.mu.Lock()
	r.renewAt = time.Now()
	r.mu.Unlock()
	if said := sent(t, m); !strings.HasPrefix(said["x-amz-credential"], "ASIA2/") {
		t.Errorf("%v", said)
	}
	if len(names) != 2 || names[0] == "" || names[0] != names[1] || tokens[0] != "web-one" || tokens[1] != "web-two" {
		t.Errorf("%v %v", names, tokens)
	}
}

func containerAnswer(id string, until time.Time) string {
	return fmt.Sprintf(`{"AccessKeyId": %q, "SecretAccessKey": "k3y", "Token": "tok", "Expiration": %q, "RoleArn": "x"}`, id, until.UTC().Format(time.RFC3339))
}

func TestAWSContainer(t *testing.T) {
	auth := file(t, "pod-auth\n")
	n := 0
	endpoint := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); r.Method != http.MethodGet || len(body) > 0 || r.Header.Get("Authorization") != "pod-auth" {
			t.Errorf("%s %v", r.Method, r.Header)
		}
		n++
		fmt.Fprint(w, containerAnswer(fmt.Sprintf("ASIA%d", n), time.Now().Add(time.Hour)))
	})
	for _, env := range []map[string]string{
		{"AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.String(), "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": auth},
		{"AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.String(), "AWS_CONTAINER_AUTHORIZATION_TOKEN": "pod-auth"},
	} {
		n = 0
		m, err := newAWS(t, env)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // one is enough for an hour
			if said := sent(t, m); !strings.HasPrefix(said["x-amz-credential"], "ASIA1/") || said["x-amz-security-token"] != "tok" {
				t.Errorf("%v", said)
			}
		}
	}
}

// What the environment lacks, or has that must not be asked, is said at the start.
func TestAWSEnvironmentsThatAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		want string
	}{
		"nothing":           {nil, "finds no credentials in the environment; set AWS_ACCESS_KEY_ID"},
		"half a key":        {map[string]string{"AWS_ACCESS_KEY_ID": "AKID"}, "set both, or none"},
		"half a role":       {map[string]string{"AWS_ROLE_ARN": "arn"}, "AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE"},
		"no address":        {map[string]string{"AWS_ROLE_ARN": "a", "AWS_WEB_IDENTITY_TOKEN_FILE": "f", "AWS_ENDPOINT_URL_STS": "sts"}, "AWS_ENDPOINT_URL_STS in the environment, which is no address"},
		"no region":         {map[string]string{"AWS_ROLE_ARN": "a", "AWS_WEB_IDENTITY_TOKEN_FILE": "f", "AWS_REGION": "x.evil.test/"}, "which is no region"},
		"another host":      {map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://evil.test/creds"}, `with the host "evil.test"; without TLS only loopback`},
		"a host that hides": {map[string]string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "@evil.test/creds"}, `with the host "evil.test"`},
	} {
		if _, err := newAWS(t, tc.env); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestSTSAddresses(t *testing.T) {
	for region, want := range map[string]string{
		"": "https://sts.amazonaws.com/", "eu-central-1": "https://sts.eu-central-1.amazonaws.com/", "us-gov-west-1": "https://sts.us-gov-west-1.amazonaws.com/",
		"cn-north-1": "https://sts.cn-north-1.amazonaws.com.cn/", "us-isob-east-1": "https://sts.us-isob-east-1.sc2s.sgov.gov/", "us-iso-east-1": "https://sts.us-iso-east-1.c2s.ic.gov/",
		"eusc-de-east-1": "https://sts.eusc-de-east-1.amazonaws.eu/",
	} {
		u, err := awsEnv{func(name string) string { return map[string]string{"AWS_REGION": region}[name] }}.sts()
		if err != nil || u.String() != want {
			t.Errorf("%q: %v, %v; want %s", region, u, err, want)
		}
	}
}

// Whatever the endpoints answer, the error names them and says what to do, without a secret.
func TestBadAWSEndpoints(t *testing.T) {
	elsewhere := serve(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the token went elsewhere: %v", r.Header) })
	answers := map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"garbage": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "s3cret-claims <") }, "with what are no credentials"},
		"others":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}<a/>") }, "with what are no credentials"},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.String(), http.StatusTemporaryRedirect)
		}, "which is not followed"},
		"10 MB":           {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 10<<20)) }, "answers with more than 1048576 bytes"},
		"empty":           {func(http.ResponseWriter, *http.Request) {}, "with what are no credentials (0 bytes, of no type)"},
		"cuts":            {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "does not answer: EOF"},
		"endless headers": {raw("HTTP/1.1 200 OK\r\n", "X-Header: "+strings.Repeat("x", 1000)+"\r\n"), "does not answer: "},
		"endless hints":   {raw("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), "does not answer: "},
		"an end of no time": {func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				fmt.Fprint(w, strings.Replace(stsAnswer("ASIA", time.Now()), "<Expiration>", "<Expiration>soon ", 1))
			} else {
				fmt.Fprint(w, `{"AccessKeyId": "ASIA", "SecretAccessKey": "k3y", "Token": "tok", "Expiration": "soon"}`)
			}
		}, "with what are no credentials"},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			<-r.Context().Done()
		}, "does not answer: no answer within 30ms"},
		"hangs in the middle": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "{")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.ReadAll(r.Body)
			<-r.Context().Done()
		}, "does not answer: no answer within 30ms"},
		"refuses": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_ = r.ParseForm()
			if told := r.PostForm.Get("WebIdentityToken"); told != "" {
				fmt.Fprintf(w, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>Not authorized: %s</Message></Error></ErrorResponse>`, told)
			} else {
				fmt.Fprintf(w, `{"code": "AccessDenied", "message": "Not authorized: %s"}`, r.Header.Get("Authorization"))
			}
		}, "answers 403 Forbidden (AccessDenied Not authorized: (redacted))"},
		"expired": {func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				fmt.Fprint(w, stsAnswer("ASIA", time.Now().Add(-time.Hour)))
			} else {
				fmt.Fprint(w, `{"AccessKeyId": "ASIA", "SecretAccessKey": "k3y", "Token": "tok", "Expiration": "2020-01-01T00:00:00Z"}`)
			}
		}, "gives credentials that expired"},
	}
	for name, tc := range answers {
		endpoint := serve(t, tc.answer)
		for kind, env := range map[string]map[string]string{
			"AssumeRoleWithWebIdentity":          {"AWS_ROLE_ARN": "arn", "AWS_WEB_IDENTITY_TOKEN_FILE": file(t, "s3cret-claims"), "AWS_ENDPOINT_URL_STS": endpoint.String()},
			"AWS_CONTAINER_CREDENTIALS_FULL_URI": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": endpoint.String(), "AWS_CONTAINER_AUTHORIZATION_TOKEN": "s3cret-claims"},
		} {
			m, err := newAWS(t, env)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(name, "hangs") {
				m.(iam).renewing.timeout = 30 * time.Millisecond
			}
			_, _, err = m.Authenticate(t.Context(), broker)
			if err == nil || !strings.HasPrefix(err.Error(), "AWS_MSK_IAM: "+kind+" (http://"+endpoint.Host+"/token") || !strings.Contains(err.Error(), tc.want) || !errors.As(err, new(*failure)) {
				t.Errorf("%s, %s: %v, want %q", kind, name, err, tc.want)
				continue
			}
			for _, bad := range []string{"s3cret-claims", "k3y", "hidden", "\n"} {
				if strings.Contains(err.Error(), bad) {
					t.Errorf("%s, %s: %q stands in %v", kind, name, bad, err)
				}
			}
		}
	}
	for name, path := range map[string]string{"gone": filepath.Join(t.TempDir(), "none"), "empty": file(t, "")} {
		m, err := newAWS(t, map[string]string{"AWS_ROLE_ARN": "arn", "AWS_WEB_IDENTITY_TOKEN_FILE": path, "AWS_ENDPOINT_URL_STS": (&url.URL{Scheme: "http", Host: "127.0.0.1:1"}).String()})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = m.Authenticate(t.Context(), broker); err == nil || !strings.Contains(err.Error(), "AWS_WEB_IDENTITY_TOKEN_FILE") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
