package login

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ackmark/ackmark/internal/tlsfiles"
)

// maxAnswer bounds what is read of an answer. A token with its claims has some kilobytes.
const maxAnswer = 1 << 20

// maxHeaders bounds an answer's headers: Go's default would take 10 MiB of them.
const maxHeaders = 64 << 10

// asker sends requests to one endpoint. Each has a connection of its own: they are seldom, and what
// the files and the environment say then counts.
type asker struct {
	ca      string        // PEM file; "": the system's authorities
	connect time.Duration // bound of the connection
	noProxy bool
}

// answer is what came back, short enough to be kept.
type answer struct {
	status int
	kind   string // Content-Type
	body   []byte
}

func (a answer) ok() bool { return a.status == http.StatusOK || a.status == http.StatusCreated }

func (a answer) statusText() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)))
}

var (
	errTooLong = fmt.Errorf("answers with more than %d bytes; is it the right address?", maxAnswer)
	errMoved   = errors.New("redirects")
)

func (a asker) ask(req *http.Request) (answer, error) {
	transport := &http.Transport{
		DialContext: (&net.Dialer{Timeout: a.connect}).DialContext, TLSHandshakeTimeout: a.connect, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		MaxResponseHeaderBytes: maxHeaders,
	}
	if !a.noProxy {
		transport.Proxy = http.ProxyFromEnvironment
	}
	if a.ca != "" {
		pool, err := tlsfiles.Pool(a.ca)
		if err != nil {
			return answer{}, fmt.Errorf("cannot be asked: https.ca.location: %w", err)
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}
	}
	defer transport.CloseIdleConnections()
	// A redirect would take the credentials to who was not configured.
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req.Header.Set("User-Agent", "ackmark")
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, cause(req.Context(), err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		return answer{}, redirected(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, cause(req.Context(), err)
	case len(body) > maxAnswer:
		return answer{}, errTooLong
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return answer{resp.StatusCode, printable(kind, 40), body}, nil
}

// redirected names where to, without what the address may carry.
func redirected(resp *http.Response) error {
	to := "elsewhere"
	if u, err := resp.Location(); err == nil {
		to = "to " + shownURL(u)
	}
	return fmt.Errorf("%w %s, which is not followed: credentials go where they were configured to; name that address if it is the right one", errMoved, to)
}

// cause is why a request failed, without its method and address: who reports it names them.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fmt.Errorf("does not answer: %w", err)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return fmt.Errorf("does not answer: %w", err)
}

// shownURL is an address without user, password and query.
func shownURL(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// printable is at most n characters of a foreign text, none of which can forge a line of a log.
func printable(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' || r == '\ufffd' {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > n {
		text = string(r[:n]) + "…"
	}
	return text
}

// without is a foreign text without secrets: an endpoint may answer with what it was asked.
func without(text string, secrets ...string) string {
	longest := slices.SortedFunc(slices.Values(secrets), func(a, b string) int { return len(b) - len(a) }) // or one would leave the end of another
	for _, s := range longest {
		if s != "" {
			text = strings.ReplaceAll(text, s, "(redacted)")
		}
	}
	return text
}
