package login

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
)

// EndpointProperty names where tokens come from.
const EndpointProperty = "sasl.oauthbearer.token.endpoint.url"

// OAuth is OAUTHBEARER: tokens from a file, or for the credentials of a client (RFC 6749, 4.4).
type OAuth struct {
	// File holds a token; it is read for each authentication.
	File string
	// Endpoint gives tokens to ClientID and Secret.
	Endpoint  *url.URL
	ClientID  string
	Secret    *secret.Renewed
	Scope     string
	URLEncode bool // id and secret are encoded in the Authorization header, as RFC 6749 has it
	// CA is a PEM file with the authorities of the endpoint; "": the system's.
	CA string
	// Connect and Read bound a request.
	Connect, Read time.Duration
	Retries       Retries
	// Extensions go to the broker with the token (KIP-342).
	Extensions map[string]string
}

// Mechanism is a SASL mechanism whose log can be replaced.
type Mechanism interface {
	sasl.Mechanism
	LogTo(*slog.Logger)
}

// NewOAuth makes the mechanism. It fetches nothing yet.
func NewOAuth(o OAuth) Mechanism {
	r := &renewing[string]{log: slog.Default(), retries: o.Retries, patience: patience, timeout: o.Connect + o.Read}
	if o.File != "" {
		r.what, r.fetch, r.always, r.retries = EndpointProperty+" (file "+o.File+")", o.read, true, Retries{}
	} else {
		r.what, r.fetch = EndpointProperty+" ("+shownURL(o.Endpoint)+")", o.ask
	}
	return &bearer{renewing: r, extensions: o.Extensions}
}

func (o OAuth) read(context.Context) (lease[string], error) {
	data, err := secret.Contents(o.File)
	if err != nil {
		return lease[string]{}, fmt.Errorf("cannot be read: %w", err)
	}
	got, err := leased(strings.TrimSpace(string(data)), time.Time{})
	if err != nil {
		err = fmt.Errorf("holds no token to use: %w", err)
	}
	return got, err
}

func (o OAuth) ask(ctx context.Context) (lease[string], error) {
	begun := time.Now()
	clientSecret := o.Secret.Current()
	body := url.Values{"grant_type": {"client_credentials"}}
	if o.Scope != "" {
		body.Set("scope", o.Scope)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.Endpoint.String(), strings.NewReader(body.Encode()))
	if err != nil {
		return lease[string]{}, errors.New("is no address that can be asked")
	}
	id, password := o.ClientID, clientSecret
	if o.URLEncode {
		id, password = url.QueryEscape(id), url.QueryEscape(password)
	}
	basic := base64.StdEncoding.EncodeToString([]byte(id + ":" + password))
	req.Header.Set("Authorization", "Basic "+basic)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	got, err := asker{ca: o.CA, connect: o.Connect}.ask(req)
	if err != nil {
		return lease[string]{}, err
	}
	if !got.ok() {
		return lease[string]{}, denied(got, append(queried(o.Endpoint), clientSecret, url.QueryEscape(clientSecret), basic)...)
	}
	return granted(got, begun)
}

// queried is what an address carries that shownURL does not show: its query, and the values in it,
// but those that stand in every text.
func queried(u *url.URL) []string {
	all := []string{u.RawQuery}
	for _, values := range u.Query() {
		for _, value := range values {
			if len(value) > 3 {
				all = append(all, value, url.QueryEscape(value))
			}
		}
	}
	return all
}

// denied says why there is no token, in the words of RFC 6749, 5.2, where they are there.
func denied(got answer, secrets ...string) error {
	var said struct {
		Code        string `json:"error"`
		Description string `json:"error_description"`
	}
	text := got.statusText()
	if json.Unmarshal(got.body, &said) == nil && said.Code+said.Description != "" {
		text += " (" + printable(without(strings.TrimSpace(said.Code+" "+said.Description), secrets...), 200) + ")"
	}
	remedy := "look at the endpoint"
	if got.status >= 400 && got.status < 500 {
		remedy = "check the address, sasl.oauthbearer.client.credentials.client.id, …client.secret and sasl.oauthbearer.scope"
	}
	return fmt.Errorf("answers %s; %s", text, remedy)
}

// granted reads a token from an answer. What else is in it stays out of errors: it may be one.
func granted(got answer, begun time.Time) (lease[string], error) {
	var said struct {
		Access  string      `json:"access_token"`
		ID      string      `json:"id_token"` // taken by Kafka's client, too
		Expires json.Number `json:"expires_in"`
	}
	if err := json.Unmarshal(got.body, &said); err != nil {
		return lease[string]{}, fmt.Errorf("answers %s with what is no token answer (%d bytes, %s); is it the token endpoint?", got.statusText(), len(got.body), cmp.Or(got.kind, "of no type"))
	}
	token := strings.TrimSpace(cmp.Or(said.Access, said.ID))
	if token == "" {
		return lease[string]{}, fmt.Errorf("answers %s without an access_token; is it the token endpoint?", got.statusText())
	}
	var until time.Time
	if seconds, err := strconv.ParseFloat(said.Expires.String(), 64); err == nil && seconds > 0 && seconds < 1e9 {
		until = begun.Add(time.Duration(seconds * float64(time.Second)))
	}
	l, err := leased(token, until)
	if err != nil {
		err = fmt.Errorf("gives a token that cannot be used: %w", err)
	}
	return l, err
}

// bearer is OAUTHBEARER with the token of the moment.
type bearer struct {
	*renewing[string]
	extensions map[string]string
}

// Name implements sasl.Mechanism.
func (b *bearer) Name() string { return "OAUTHBEARER" }

// Authenticate implements sasl.Mechanism.
func (b *bearer) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	token, err := b.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	session, first, err := oauth.Auth{Token: token, Extensions: b.extensions}.AsMechanism().Authenticate(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	return &judged{session, b, token}, first, nil
}

// judged hears what a broker says to a token.
type judged struct {
	sasl.Session
	b     *bearer
	token string
}

// Challenge implements sasl.Session. The broker's only challenge says why a token is refused
// (RFC 7628, 3.2.2): a key that was changed, or a token that was withdrawn. Then the next attempt
// has another one, and no record may fail before it. A token that is new is not the reason, and the
// broker's own error counts.
func (j *judged) Challenge(resp []byte) (bool, []byte, error) {
	if len(resp) > 0 && j.b.refused(func(t string) bool { return t == j.token }) {
		said := printable(without(string(resp), j.token), 200)
		return false, nil, &failure{"the broker refused the token of " + j.b.what + " (" + said + "); another one is fetched"}
	}
	return j.Session.Challenge(resp)
}
