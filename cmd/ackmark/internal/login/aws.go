package login

import (
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/aws"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
)

// awsSources names what is looked for, in the order of AWS's own libraries.
const awsSources = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE (IRSA), " +
	"or AWS_CONTAINER_CREDENTIALS_FULL_URI or AWS_CONTAINER_CREDENTIALS_RELATIVE_URI (EKS Pod Identity, ECS)"

const (
	stsConnect = 5 * time.Second
	stsTimeout = 15 * time.Second
)

// awsRetries are those of every AWS endpoint.
var awsRetries = Retries{100 * time.Millisecond, 10 * time.Second}

// NewAWS makes AWS_MSK_IAM with the credentials that the environment describes, as AWS's own
// libraries read it. It fetches nothing yet; the error says what the environment lacks.
func NewAWS(getenv func(string) string) (Mechanism, error) {
	e := awsEnv{getenv}
	if id, key := e.get("AWS_ACCESS_KEY_ID"), e.get("AWS_SECRET_ACCESS_KEY"); id != "" || key != "" {
		if id == "" || key == "" {
			return nil, errors.New("finds one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment; set both, or none")
		}
		static := aws.Auth{AccessKey: id, SecretKey: key, SessionToken: e.get("AWS_SESSION_TOKEN")}
		return iamStatic{static.AsManagedStreamingIAMMechanism()}, nil
	}
	r := &renewing[aws.Auth]{log: slog.Default(), retries: awsRetries, patience: patience, timeout: stsTimeout}
	var err error
	switch {
	case e.get("AWS_WEB_IDENTITY_TOKEN_FILE") != "" || e.get("AWS_ROLE_ARN") != "":
		r.what, r.fetch, err = e.webIdentity()
	case e.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "" || e.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "":
		r.what, r.fetch, err = e.container()
	default:
		err = errors.New("AWS_MSK_IAM finds no credentials in the environment; set " + awsSources)
	}
	if err != nil {
		return nil, err
	}
	return iam{r, aws.ManagedStreamingIAM(r.current)}, nil
}

// iam is AWS_MSK_IAM with the credentials of the moment.
type iam struct {
	*renewing[aws.Auth]
	sasl.Mechanism
}

// iamStatic is AWS_MSK_IAM with credentials that do not end.
type iamStatic struct{ sasl.Mechanism }

// LogTo implements Mechanism: there is nothing to tell.
func (iamStatic) LogTo(*slog.Logger) {}

type awsEnv struct{ getenv func(string) string }

func (e awsEnv) get(name string) string { return strings.TrimSpace(e.getenv(name)) }

// webIdentity exchanges a token, which Kubernetes renews in its file, for the credentials of a
// role.
func (e awsEnv) webIdentity() (string, func(context.Context) (lease[aws.Auth], error), error) {
	file, role := e.get("AWS_WEB_IDENTITY_TOKEN_FILE"), e.get("AWS_ROLE_ARN")
	if file == "" || role == "" {
		return "", nil, errors.New("finds one of AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE in the environment; set both")
	}
	endpoint, err := e.sts()
	if err != nil {
		return "", nil, err
	}
	w := webIdentity{
		endpoint: endpoint, file: file, role: role,
		// One name for the life of the process: a broker refuses to go on with another principal.
		session: cmp.Or(e.get("AWS_ROLE_SESSION_NAME"), fmt.Sprintf("ackmark-%d", time.Now().UnixNano())),
	}
	return "AWS_MSK_IAM: AssumeRoleWithWebIdentity (" + shownURL(endpoint) + ", " + role + ")", w.fetch, nil
}

// partitions are the parts of AWS whose names do not end in amazonaws.com, by the start of their
// regions.
var partitions = []struct{ prefix, suffix string }{
	{"cn-", "amazonaws.com.cn"}, {"us-isob-", "sc2s.sgov.gov"}, {"us-isof-", "csp.hci.ic.gov"}, {"us-iso-", "c2s.ic.gov"},
	{"eu-isoe-", "cloud.adc-e.uk"}, {"eusc-", "amazonaws.eu"},
}

// sts is the address of the Security Token Service.
func (e awsEnv) sts() (*url.URL, error) {
	for _, name := range []string{"AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"} {
		if own := e.get(name); own != "" {
			u, err := url.Parse(own)
			if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
				return nil, fmt.Errorf("finds %s in the environment, which is no address; write https://host", name)
			}
			return u, nil
		}
	}
	region := cmp.Or(e.get("AWS_REGION"), e.get("AWS_DEFAULT_REGION"))
	if region == "" {
		return &url.URL{Scheme: "https", Host: "sts.amazonaws.com", Path: "/"}, nil
	}
	if strings.Trim(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return nil, fmt.Errorf("finds AWS_REGION in the environment with %q, which is no region", printable(region, 40))
	}
	suffix := "amazonaws.com"
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			suffix = p.suffix
		}
	}
	return &url.URL{Scheme: "https", Host: "sts." + region + "." + suffix, Path: "/"}, nil
}

type webIdentity struct {
	endpoint            *url.URL
	file, role, session string
}

func (w webIdentity) fetch(ctx context.Context) (lease[aws.Auth], error) {
	var none lease[aws.Auth]
	data, err := secret.Contents(w.file)
	if err != nil {
		return none, fmt.Errorf("cannot be asked: AWS_WEB_IDENTITY_TOKEN_FILE: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if err := checkToken(token); err != nil {
		return none, fmt.Errorf("cannot be asked: AWS_WEB_IDENTITY_TOKEN_FILE %s holds no token: %w", w.file, err)
	}
	body := url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "Version": {"2011-06-15"},
		"RoleArn": {w.role}, "RoleSessionName": {w.session}, "WebIdentityToken": {token},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.endpoint.String(), strings.NewReader(body.Encode()))
	if err != nil {
		return none, errors.New("is no address that can be asked")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	got, err := asker{connect: stsConnect}.ask(req)
	if err != nil {
		return none, err
	}
	if !got.ok() {
		return none, stsDenied(got, token)
	}
	var said struct {
		Keys awsKeys `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if err := xml.Unmarshal(got.body, &said); err != nil {
		return none, notKeys(got)
	}
	return said.Keys.lease(got)
}

func stsDenied(got answer, token string) error {
	var said struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	text := got.statusText()
	if xml.Unmarshal(got.body, &said) == nil && said.Code+said.Message != "" {
		text += " (" + printable(without(strings.TrimSpace(said.Code+" "+said.Message), token), 200) + ")"
	}
	return fmt.Errorf("answers %s; check the role's trust policy, AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE", text)
}

// awsKeys are credentials as STS (XML) and a container's endpoint (JSON) write them.
type awsKeys struct {
	ID         string `xml:"AccessKeyId" json:"AccessKeyId"`
	Key        string `xml:"SecretAccessKey" json:"SecretAccessKey"`
	XMLToken   string `xml:"SessionToken" json:"-"`
	JSONToken  string `xml:"-" json:"Token"`
	Expiration string `xml:"Expiration" json:"Expiration"`
}

func notKeys(got answer) error {
	return fmt.Errorf("answers %s with what are no credentials (%d bytes, %s); is it the right endpoint?", got.statusText(), len(got.body), cmp.Or(got.kind, "of no type"))
}

func (k awsKeys) lease(got answer) (lease[aws.Auth], error) {
	var none lease[aws.Auth]
	if k.ID == "" || k.Key == "" {
		return none, notKeys(got)
	}
	var until time.Time
	if k.Expiration != "" {
		var err error
		if until, err = time.Parse(time.RFC3339, k.Expiration); err != nil {
			return none, notKeys(got)
		}
		if now := time.Now(); !now.Before(until) {
			return none, fmt.Errorf("gives credentials that expired %s ago, at %s; compare the clocks", now.Sub(until).Round(time.Second), until.UTC().Format(time.RFC3339))
		}
	}
	return lease[aws.Auth]{aws.Auth{AccessKey: k.ID, SecretKey: k.Key, SessionToken: cmp.Or(k.XMLToken, k.JSONToken)}, until}, nil
}

// containerHosts are where EKS and ECS answer without TLS, beside loopback.
var containerHosts = []string{"169.254.170.2", "169.254.170.23", "fd00:ec2::23"}

// container asks the endpoint that ECS, or the Pod Identity agent of EKS, has for a container.
func (e awsEnv) container() (string, func(context.Context) (lease[aws.Auth], error), error) {
	name, address := "AWS_CONTAINER_CREDENTIALS_FULL_URI", e.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if path := e.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); path != "" { // it wins in AWS's libraries
		name, address = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "http://169.254.170.2"+path
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "", nil, fmt.Errorf("finds %s in the environment, which is no address", name)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !nearby(u.Hostname())) {
		return "", nil, fmt.Errorf("finds %s in the environment with the host %q; without TLS only loopback and %s are asked, as AWS's own libraries do", name, printable(u.Host, 60), strings.Join(containerHosts, ", "))
	}
	c := container{u, e.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), e.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")}
	return "AWS_MSK_IAM: " + name + " (" + shownURL(u) + ")", c.fetch, nil
}

func nearby(host string) bool {
	if slices.Contains(containerHosts, host) || host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

type container struct {
	endpoint    *url.URL
	file, token string
}

func (c container) fetch(ctx context.Context) (lease[aws.Auth], error) {
	var none lease[aws.Auth]
	token := c.token
	if c.file != "" {
		data, err := secret.Contents(c.file)
		if err != nil {
			return none, fmt.Errorf("cannot be asked: AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: %w", err)
		}
		token = strings.TrimSpace(string(data))
	}
	if strings.ContainsAny(token, "\r\n") {
		return none, errors.New("cannot be asked: its authorization token has more than one line")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.endpoint.String(), nil)
	if err != nil {
		return none, errors.New("is no address that can be asked")
	}
	req.Header.Set("Accept", "application/json")
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	got, err := asker{connect: stsConnect, noProxy: true}.ask(req)
	if err != nil {
		return none, err
	}
	if !got.ok() {
		return none, containerDenied(got, token)
	}
	var keys awsKeys
	if err := json.Unmarshal(got.body, &keys); err != nil {
		return none, notKeys(got)
	}
	return keys.lease(got)
}

func containerDenied(got answer, token string) error {
	var said struct{ Code, Message string }
	text := got.statusText()
	if json.Unmarshal(got.body, &said) == nil && said.Code+said.Message != "" {
		text += " (" + printable(without(strings.TrimSpace(said.Code+" "+said.Message), token), 200) + ")"
	}
	return fmt.Errorf("answers %s; check the role that the pod or task has", text)
}
