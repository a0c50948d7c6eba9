package settings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/login"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
	"github.com/ackmark/ackmark/internal/tlsfiles"
)

const (
	propPassword     = "sasl.password"
	propJAAS         = "sasl.jaas.config"
	propClientID     = "sasl.oauthbearer.client.credentials.client.id"
	propClientSecret = "sasl.oauthbearer.client.credentials.client.secret"
	propScope        = "sasl.oauthbearer.scope"
	propExtensions   = "sasl.oauthbearer.extensions"
	propKeyPassword  = "ssl.key.password"

	// librdkafka's names.
	propLibrdkafkaClientID     = "sasl.oauthbearer.client.id"
	propLibrdkafkaClientSecret = "sasl.oauthbearer.client.secret"
)

// secrets are the Kafka properties whose values are never shown. Each may be a reference instead.
var secrets = []string{propPassword, propJAAS, propClientSecret, propLibrdkafkaClientSecret, propKeyPassword}

// mechanisms are what sasl.mechanism may be.
var mechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"}

var mechanismWords = strings.Join(mechanisms[:len(mechanisms)-1], ", ") + " or " + mechanisms[len(mechanisms)-1]

func mechanism(b *builder, v string) error {
	m := strings.ToUpper(v)
	if !slices.Contains(mechanisms, m) {
		return fmt.Errorf("is %q; it must be %s", v, mechanismWords)
	}
	b.sasl.mechanism = m
	return nil
}

// saslProps are the properties of a login.
type saslProps struct {
	mechanism, username, password      string
	endpoint, id, secret, scope, ca    string
	extensions                         map[string]string
	urlEncode                          bool
	connect, read, backoff, backoffMax time.Duration
	given                              map[string]string // names, and how they were written; "jaas" stands for sasl.jaas.config
}

// defaultSASL has Kafka's figures; its timeouts are ten seconds.
var defaultSASL = saslProps{connect: 10 * time.Second, read: 10 * time.Second, backoff: 100 * time.Millisecond, backoffMax: 10 * time.Second}

// saslText is a property of a login that is a text.
func saslText(at func(*saslProps) *string, name string) property { return saslAlias(at, name, name) }

// saslAlias is another name of such a property.
func saslAlias(at func(*saslProps) *string, name, written string) property {
	return func(b *builder, v string) error {
		s := &b.sasl
		if *at(s) != "" && v != "" && *at(s) != v {
			return errors.New("is given twice, also by another name or in sasl.jaas.config, and differs; write it once")
		}
		if v != "" {
			*at(s) = v
			s.give(name, written)
		}
		return nil
	}
}

func (s *saslProps) give(name, written string) {
	if s.given == nil {
		s.given = map[string]string{}
	}
	s.given[name] = written
}

var saslProperties = map[string]property{
	"sasl.mechanism":           mechanism,
	"sasl.mechanisms":          mechanism,
	"sasl.username":            saslText(func(s *saslProps) *string { return &s.username }, "sasl.username"),
	propPassword:               saslText(func(s *saslProps) *string { return &s.password }, propPassword),
	login.EndpointProperty:     saslText(func(s *saslProps) *string { return &s.endpoint }, login.EndpointProperty),
	propClientID:               saslText(func(s *saslProps) *string { return &s.id }, propClientID),
	propLibrdkafkaClientID:     saslAlias(func(s *saslProps) *string { return &s.id }, propClientID, propLibrdkafkaClientID),
	propClientSecret:           saslText(func(s *saslProps) *string { return &s.secret }, propClientSecret),
	propLibrdkafkaClientSecret: saslAlias(func(s *saslProps) *string { return &s.secret }, propClientSecret, propLibrdkafkaClientSecret),
	propScope:                  saslText(func(s *saslProps) *string { return &s.scope }, propScope),
	"https.ca.location":        saslText(func(s *saslProps) *string { return &s.ca }, "https.ca.location"),
	propExtensions:             extensions,
	"sasl.oauthbearer.header.urlencode": func(b *builder, v string) (err error) {
		b.sasl.give("sasl.oauthbearer.header.urlencode", "sasl.oauthbearer.header.urlencode")
		if b.sasl.urlEncode, err = strconv.ParseBool(strings.ToLower(v)); err != nil {
			return fmt.Errorf("is %q; it must be true or false", v)
		}
		return nil
	},
	"sasl.login.connect.timeout.ms":   loginTime("sasl.login.connect.timeout.ms", func(s *saslProps) *time.Duration { return &s.connect }),
	"sasl.login.read.timeout.ms":      loginTime("sasl.login.read.timeout.ms", func(s *saslProps) *time.Duration { return &s.read }),
	"sasl.login.retry.backoff.ms":     loginTime("sasl.login.retry.backoff.ms", func(s *saslProps) *time.Duration { return &s.backoff }),
	"sasl.login.retry.backoff.max.ms": loginTime("sasl.login.retry.backoff.max.ms", func(s *saslProps) *time.Duration { return &s.backoffMax }),

	// What Java and librdkafka have beside it, where it says what is done anyway.
	"sasl.oauthbearer.method": oneOf("tokens come from an endpoint or a file", "oidc"),
	"sasl.login.callback.handler.class": oneOf("other Java classes cannot be loaded",
		"org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler",
		"org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler"),
	"sasl.client.callback.handler.class": oneOf("other Java classes cannot be loaded", "software.amazon.msk.auth.iam.IAMClientCallbackHandler"),
	"sasl.oauthbearer.jwt.retriever.class": oneOf("other Java classes cannot be loaded",
		"org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever",
		"org.apache.kafka.common.security.oauthbearer.ClientCredentialsJwtRetriever",
		"org.apache.kafka.common.security.oauthbearer.FileJwtRetriever"),
}

// moreSASL are the properties that are refused, and the one that reads the others.
func moreSASL() {
	saslProperties[propJAAS] = jaasConfig
	for names, why := range map[string]string{
		"sasl.login.refresh.window.factor sasl.login.refresh.window.jitter sasl.login.refresh.min.period.seconds sasl.login.refresh.buffer.seconds": "" +
			"is not used: tokens and keys are fetched anew after 80 % of their life; leave it out",
		"sasl.oauthbearer.scope.claim.name sasl.oauthbearer.sub.claim.name sasl.oauthbearer.clock.skew.seconds sasl.oauthbearer.expected.audience sasl.oauthbearer.expected.issuer sasl.oauthbearer.jwt.validator.class": "" +
			"is not used: the broker judges the token; leave it out",
		"sasl.oauthbearer.config enable.sasl.oauthbearer.unsecure.jwt": "" +
			"makes tokens that anybody could make; name a file or an endpoint in " + login.EndpointProperty,
		"sasl.oauthbearer.assertion.algorithm sasl.oauthbearer.assertion.claim.aud sasl.oauthbearer.assertion.claim.exp.seconds sasl.oauthbearer.assertion.claim.iss " +
			"sasl.oauthbearer.assertion.claim.jti.include sasl.oauthbearer.assertion.claim.nbf.seconds sasl.oauthbearer.assertion.claim.sub sasl.oauthbearer.assertion.file " +
			"sasl.oauthbearer.assertion.private.key.file sasl.oauthbearer.assertion.private.key.passphrase sasl.oauthbearer.assertion.template.file sasl.oauthbearer.grant.type": "" +
			"belongs to a grant that is not known here; use a client's id and secret, or let something else write the token into a file: " + login.EndpointProperty + "=file:///path",
		"sasl.kerberos.service.name": "belongs to GSSAPI, which is not known here; use " + mechanismWords,
	} {
		for name := range strings.FieldsSeq(names) {
			saslProperties[name] = refuse(why)
		}
	}
}

func loginTime(name string, at func(*saslProps) *time.Duration) property {
	return func(b *builder, v string) error {
		b.sasl.give(name, name)
		return milliseconds(v, func(d time.Duration) { *at(&b.sasl) = max(d, time.Millisecond) })
	}
}

// jaasConfig reads the properties that sasl.jaas.config has in Java's own form.
func jaasConfig(b *builder, v string) error {
	text, err := secret.Parse(v).Read()
	if err != nil {
		return err
	}
	j, err := parseJAAS(text)
	if err != nil {
		return err
	}
	props, extensions, err := j.properties()
	if err != nil {
		return err
	}
	b.jaasModule = j.module
	b.sasl.give("jaas", propJAAS)
	for name, value := range props {
		if err := saslProperties[name](b, value); err != nil {
			return fmt.Errorf("has a value for %s, which %w", name, err)
		}
	}
	return b.sasl.extend(extensions)
}

// extensions reads librdkafka's form: name=value,name=value.
func extensions(b *builder, v string) error {
	m := map[string]string{}
	for _, part := range splitList(v) {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return errors.New("has an entry without \"=\"; write name=value,name=value")
		}
		m[name] = value
	}
	b.sasl.give(propExtensions, propExtensions)
	return b.sasl.extend(m)
}

// extend adds extensions of KIP-342, as Kafka's client checks them.
func (s *saslProps) extend(m map[string]string) error {
	for name, value := range m {
		if name == "" || name == "auth" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return fmt.Errorf("has the extension %q; its name must be letters, and not auth", name)
		}
		if strings.ContainsFunc(value, func(r rune) bool { return (r < ' ' || r > '~') && !strings.ContainsRune("\t\r\n", r) }) {
			return fmt.Errorf("has the extension %q with a character that Kafka refuses; use printable ASCII", name)
		}
		if old, twice := s.extensions[name]; twice && old != value {
			return fmt.Errorf("has the extension %q twice; write it once", name)
		}
		if s.extensions == nil {
			s.extensions = map[string]string{}
		}
		s.extensions[name] = value
	}
	return nil
}

// judgeSASL refuses what several properties decide together.
func (b *builder) judgeSASL(sasl bool) {
	s := &b.sasl
	if !sasl {
		if s.mechanism != "" || len(s.given) > 0 {
			b.fail("security.protocol", "must be SASL_SSL or SASL_PLAINTEXT when sasl.* is set; without it no password would be sent")
		}
		return
	}
	if s.mechanism == "" {
		b.fail("sasl.mechanism", "is missing; security.protocol "+b.protocol+" needs "+mechanismWords)
		return
	}
	if b.jaasModule != "" && !slices.Contains(jaasModules[b.jaasModule].mechanisms, s.mechanism) {
		b.fail(propJAAS, "has a login module for "+strings.Join(jaasModules[b.jaasModule].mechanisms, " and ")+", and sasl.mechanism is "+s.mechanism+"; make them one")
		return
	}
	b.refuseOthers()
	if len(b.wrong) > 0 {
		return
	}
	switch s.mechanism {
	case "OAUTHBEARER":
		b.addOAuth()
	case "AWS_MSK_IAM":
		b.addAWS()
	default:
		b.addPassword()
	}
}

// forMechanism are the properties that each mechanism uses, and no other.
var forMechanism = map[string][]string{
	"PLAIN":         {"sasl.username", propPassword, "jaas"},
	"SCRAM-SHA-256": {"sasl.username", propPassword, "jaas"},
	"SCRAM-SHA-512": {"sasl.username", propPassword, "jaas"},
	"OAUTHBEARER": {
		login.EndpointProperty, propClientID, propClientSecret, propScope, propExtensions, "https.ca.location", "sasl.oauthbearer.header.urlencode",
		"sasl.login.connect.timeout.ms", "sasl.login.read.timeout.ms", "sasl.login.retry.backoff.ms", "sasl.login.retry.backoff.max.ms", "jaas",
	},
	"AWS_MSK_IAM": {"jaas"},
}

// refuseOthers refuses what would be ignored: somebody meant something by it.
func (b *builder) refuseOthers() {
	for _, name := range slices.Sorted(maps.Keys(b.sasl.given)) {
		if !slices.Contains(forMechanism[b.sasl.mechanism], name) {
			b.fail(b.sasl.given[name], "is not used by sasl.mechanism "+b.sasl.mechanism+"; leave it out, or choose another mechanism")
		}
	}
}

// lacks refuses that a property is missing.
func (b *builder) lacks(name, value string) bool {
	if value == "" {
		b.fail(name, "is missing; sasl.mechanism "+b.sasl.mechanism+" needs it")
	}
	return value == ""
}

// secretOf makes a secret that is read again for each login; nil where it cannot be read now.
func (b *builder) secretOf(name, v string) *secret.Renewed {
	r, err := secret.Renew("the files of "+name, secret.Parse(v), slog.Default())
	if err != nil {
		b.fail(name, err.Error())
		return nil
	}
	b.logs = append(b.logs, r.LogTo)
	return r
}

func (b *builder) addPassword() {
	user := b.sasl.username
	if b.lacks("sasl.username", user) || b.lacks(propPassword, b.sasl.password) {
		return
	}
	password := b.secretOf(propPassword, b.sasl.password)
	if password == nil {
		return
	}
	inSCRAM := func(context.Context) (scram.Auth, error) {
		return scram.Auth{User: user, Pass: password.Current()}, nil
	}
	switch b.sasl.mechanism {
	case "PLAIN":
		b.Options = append(b.Options, kgo.SASL(plain.Plain(func(context.Context) (plain.Auth, error) {
			return plain.Auth{User: user, Pass: password.Current()}, nil
		})))
	case "SCRAM-SHA-256":
		b.Options = append(b.Options, kgo.SASL(scram.Sha256(inSCRAM)))
	case "SCRAM-SHA-512":
		b.Options = append(b.Options, kgo.SASL(scram.Sha512(inSCRAM)))
	}
}

func (b *builder) addOAuth() {
	s := b.sasl
	u, err := url.Parse(s.endpoint)
	switch {
	case s.endpoint == "":
		b.fail(login.EndpointProperty, "is missing; name the address that gives tokens, https://host/path, or a file that holds one, file:///path")
		return
	case err != nil || u.Scheme != "file" && (u.Scheme != "https" && u.Scheme != "http" || u.Host == ""):
		b.fail(login.EndpointProperty, "is no address; write https://host/path, or file:///path for a file that holds a token")
		return
	case u.User != nil:
		b.fail(login.EndpointProperty, "has a user or password in it; write them as "+propClientID+" and …client.secret")
		return
	}
	o := login.OAuth{
		Endpoint: u, ClientID: s.id, Scope: s.scope, URLEncode: s.urlEncode, CA: s.ca, Connect: s.connect, Read: s.read,
		Retries: login.Retries{First: s.backoff, Most: max(s.backoff, s.backoffMax)}, Extensions: s.extensions,
	}
	if u.Scheme == "file" {
		if o.File = u.Path; u.Opaque != "" {
			o.File = u.Opaque
		}
		if s.id != "" || s.secret != "" || s.scope != "" || s.ca != "" || o.File == "" || u.Host != "" {
			b.fail(login.EndpointProperty, "is a file, which holds a whole token: write file:///path, and leave the client's id, secret and scope and https.ca.location out")
			return
		}
	} else if !b.askable(&o) {
		return
	}
	b.addMechanism(login.NewOAuth(o))
}

// askable completes what an endpoint needs.
func (b *builder) askable(o *login.OAuth) bool {
	if b.lacks(propClientID, b.sasl.id) || b.lacks(propClientSecret, b.sasl.secret) {
		return false
	}
	if o.CA != "" {
		if _, err := tlsfiles.Pool(o.CA); err != nil {
			b.fail("https.ca.location", "cannot be used: "+err.Error()+"; name a readable PEM file")
			return false
		}
	}
	o.Secret = b.secretOf(propClientSecret, b.sasl.secret)
	return o.Secret != nil
}

func (b *builder) addAWS() {
	m, err := login.NewAWS(os.Getenv)
	if err != nil {
		b.fail("sasl.mechanism", err.Error())
		return
	}
	b.addMechanism(m)
}

func (b *builder) addMechanism(m login.Mechanism) {
	b.Options = append(b.Options, kgo.SASL(m))
	b.logs = append(b.logs, m.LogTo)
}
