package settings_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

// props reads name=value, one a line.
func props(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			m[name] = value
		}
	}
	return m
}

const (
	oauthBearer = "security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER\n"
	endpoint    = "sasl.oauthbearer.token.endpoint.url=https://idp.test/token\n"
	oauthModule = "sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
)

// What Java and librdkafka users have is taken as it is.
func TestLoginsThatAreTaken(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "k3y")
	t.Setenv("CREDS_TEST_SECRET", "s3cret")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"KIP-768 file":  oauthBearer + "sasl.oauthbearer.token.endpoint.url=file:///var/run/token",
		"Kafka 4.1":     oauthBearer + endpoint + "sasl.oauthbearer.client.credentials.client.id=a\nsasl.oauthbearer.client.credentials.client.secret=s3cret\nsasl.oauthbearer.scope=x",
		"librdkafka":    oauthBearer + endpoint + "sasl.oauthbearer.method=oidc\nsasl.oauthbearer.client.id=a\nsasl.oauthbearer.client.secret=s3cret\nsasl.oauthbearer.extensions=logicalCluster=l,identityPoolId=p",
		"Java's JAAS":   oauthBearer + endpoint + oauthModule + ` clientId="a" clientSecret="s3 = c;r\"et" scope='x' extension_logicalCluster="lkc-1" ;` + "\nsasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler",
		"times":         oauthBearer + endpoint + oauthModule + " clientId=a clientSecret=b;\nsasl.login.connect.timeout.ms=1000\nsasl.login.read.timeout.ms=1000\nsasl.login.retry.backoff.ms=5\nsasl.login.retry.backoff.max.ms=50\nsasl.oauthbearer.header.urlencode=True",
		"secret's file": oauthBearer + endpoint + "sasl.oauthbearer.client.id=a\nsasl.oauthbearer.client.secret=file:" + file,
		"SCRAM by JAAS": "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nsasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username=\"u\" password=\"env:CREDS_TEST_SECRET\";",
		"PLAIN by file": "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=plain\nsasl.username=u\nsasl.password=file://" + file,
		"MSK":           "security.protocol=SASL_SSL\nsasl.mechanism=AWS_MSK_IAM\nsasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required;\nsasl.client.callback.handler.class=software.amazon.msk.auth.iam.IAMClientCallbackHandler",
	} {
		opts, err := settings.KafkaOptions(props(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		cl, err := kgo.NewClient(opts...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		cl.Close()
	}
}

// What cannot be is refused in one line that names the property and the remedy, and no secret.
func TestLoginsThatAreRefused(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		t.Setenv(name, "")
	}
	const client = "sasl.oauthbearer.client.id=a\nsasl.oauthbearer.client.secret=s3cret\n"
	const plain = "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n"
	for name, tc := range map[string]struct{ text, want string }{
		"no endpoint":             {oauthBearer + client, "sasl.oauthbearer.token.endpoint.url is missing; name the address"},
		"no scheme":               {oauthBearer + client + "sasl.oauthbearer.token.endpoint.url=idp.test/token", "is no address; write https://host/path"},
		"another scheme":          {oauthBearer + client + "sasl.oauthbearer.token.endpoint.url=ftp://idp.test", "is no address"},
		"secret in the address":   {oauthBearer + client + "sasl.oauthbearer.token.endpoint.url=https://a:s3cret@idp.test", "has a user or password in it"},
		"broken address":          {oauthBearer + client + "sasl.oauthbearer.token.endpoint.url=https://a:s3cret@[idp.test", "is no address"},
		"file and client":         {oauthBearer + client + "sasl.oauthbearer.token.endpoint.url=file:///token", "is a file, which holds a whole token"},
		"no client":               {oauthBearer + endpoint, "client.id is missing"},
		"no secret":               {oauthBearer + endpoint + "sasl.oauthbearer.client.id=a", "client.secret is missing"},
		"two secrets":             {oauthBearer + endpoint + client + "sasl.oauthbearer.client.credentials.client.secret=s3cret-other", "is given twice"},
		"two secrets, in JAAS":    {oauthBearer + endpoint + client + oauthModule + ` clientSecret="s3cret-other";`, "is given twice"},
		"password for a token":    {oauthBearer + endpoint + client + "sasl.username=u", "sasl.username is not used by sasl.mechanism OAUTHBEARER"},
		"client for a password":   {plain + "sasl.username=u\nsasl.password=s3cret\nsasl.oauthbearer.client.id=a", "sasl.oauthbearer.client.id is not used by sasl.mechanism PLAIN"},
		"no mechanism":            {"security.protocol=SASL_SSL", "needs PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM"},
		"no SASL":                 {"security.protocol=SSL\n" + client, "security.protocol must be SASL_SSL"},
		"Kerberos":                {"security.protocol=SASL_SSL\nsasl.mechanism=GSSAPI", `is "GSSAPI"; it must be PLAIN`},
		"another module":          {plain + oauthModule + ` clientSecret="s3cret";`, "has a login module for OAUTHBEARER, and sasl.mechanism is PLAIN"},
		"an unknown module":       {plain + `sasl.jaas.config=com.example.Own required password="s3cret";`, "names a login module that is not known"},
		"no semicolon":            {oauthBearer + endpoint + oauthModule + ` clientSecret="s3cret"`, "with the semicolon at the end"},
		"open quotes":             {oauthBearer + endpoint + oauthModule + ` clientSecret="s3cret;`, "is not of the form that Java has"},
		"escapes":                 {oauthBearer + endpoint + oauthModule + ` clientSecret="s3cret\n";`, "has a backslash before 'n' in quotes"},
		"two modules":             {oauthBearer + endpoint + oauthModule + " a=s3cret; " + oauthModule + ";", "is not of the form that Java has"},
		"an option twice":         {oauthBearer + endpoint + oauthModule + ` clientId=a clientId=s3cret;`, "has an option twice"},
		"an unknown option":       {oauthBearer + endpoint + oauthModule + ` secret="s3cret";`, `has the option "secret", which is not used here; clientId, clientSecret, scope are`},
		"AWS options":             {"security.protocol=SASL_SSL\nsasl.mechanism=AWS_MSK_IAM\nsasl.jaas.config=software.amazon.msk.auth.iam.IAMLoginModule required awsProfileName=s3cret;", "come from AWS_ variables"},
		"no AWS":                  {"security.protocol=SASL_SSL\nsasl.mechanism=AWS_MSK_IAM", "finds no credentials in the environment"},
		"an extension":            {oauthBearer + endpoint + client + "sasl.oauthbearer.extensions=auth=s3cret", `has the extension "auth"`},
		"an extension's value":    {oauthBearer + endpoint + client + "sasl.oauthbearer.extensions=a=s3cret\x01b", `has the extension "a" with a character that Kafka refuses`},
		"no extension":            {oauthBearer + endpoint + client + "sasl.oauthbearer.extensions=s3cret", "write name=value"},
		"a Java class":            {oauthBearer + endpoint + client + "sasl.login.callback.handler.class=com.example.Own", "other Java classes cannot be loaded"},
		"refresh":                 {oauthBearer + endpoint + client + "sasl.login.refresh.buffer.seconds=10", "fetched anew after 80 % of their life"},
		"assertions":              {oauthBearer + endpoint + "sasl.oauthbearer.assertion.private.key.passphrase=s3cret", "belongs to a grant that is not known here"},
		"anybody's tokens":        {oauthBearer + "sasl.oauthbearer.config=principal=s3cret", "makes tokens that anybody could make"},
		"no such file":            {plain + "sasl.username=u\nsasl.password=file:/nowhere/x", "sasl.password refers to a file, but there is no file /nowhere/x"},
		"no such variable":        {plain + "sasl.username=u\nsasl.password=env:CREDS_NOT_SET", `sasl.password refers to the environment variable "CREDS_NOT_SET", which is not set`},
		"a directory":             {plain + "sasl.username=u\nsasl.password=file:/", "sasl.password refers to a file, but"},
		"JAAS in no file":         {plain + "sasl.jaas.config=file:/nowhere/x", "there is no file /nowhere/x"},
		"no authority":            {oauthBearer + endpoint + client + "https.ca.location=/nowhere/x", "https.ca.location cannot be used"},
		"a password of no key":    {"security.protocol=SSL\nssl.key.password=s3cret", "is the password of ssl.key.location, which is missing"},
		"a password without TLS":  {"ssl.key.password=s3cret", "must be SSL or SASL_SSL when ssl.* is set"},
		"an encrypted key":        {"security.protocol=SSL\nssl.certificate.location=" + tlsTestdata + "cert.pem\nssl.key.location=" + tlsTestdata + "aes256.key", "no password is given; set ssl.key.password"},
		"a key in another format": {"security.protocol=SSL\nssl.key.password=s3cret\nssl.certificate.location=" + tlsTestdata + "cert.pem\nssl.key.location=" + tlsTestdata + "scrypt.key", "openssl pkcs8 -topk8"},
	} {
		_, err := settings.KafkaOptions(props(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "--kafka ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s:\n got %v\nwant %s", name, err, tc.want)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: a secret stands in: %v", name, err)
		}
	}
}

// tlsTestdata has encrypted keys.
const tlsTestdata = "../../../../internal/tlsfiles/testdata/"

// Properties that are known take their password for the key, also from a file.
func TestEncryptedKafkaKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"s3cret", "file:" + file} {
		if _, err := settings.KafkaOptions(props("security.protocol=SSL\nssl.certificate.location=" + tlsTestdata + "cert.pem\nssl.key.location=" + tlsTestdata + "aes256.key\nssl.key.password=" + password)); err != nil {
			t.Error(err)
		}
	}
}

// What `config echo` prints of a reference is the reference, so that it is a configuration.
func TestReferencesAreEchoed(t *testing.T) {
	t.Setenv("CREDS_TEST_SECRET", "s3cret")
	text := "brokers: [a:1]\napps: [{name: a, token: 'env:CREDS_TEST_SECRET'}]\nkafka: {security.protocol: SASL_SSL, sasl.mechanism: PLAIN, sasl.username: u, sasl.password: 'env:CREDS_TEST_SECRET'}"
	e, err := settings.Load(settings.Sources{File: write(t, text)})
	if err != nil {
		t.Fatal(err)
	}
	if token, err := e.Apps[0].Secret(); err != nil || token != "s3cret" {
		t.Errorf("%q, %v", token, err)
	}
	echo, err := e.YAML(settings.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	again, err := settings.Load(settings.Sources{File: write(t, string(echo))})
	if err != nil {
		t.Fatalf("%v\n%s", err, echo)
	}
	if again.Kafka["sasl.password"] != "env:CREDS_TEST_SECRET" || again.Apps[0].Token != "env:CREDS_TEST_SECRET" || strings.Contains(string(echo), "s3cret") {
		t.Errorf("%s", echo)
	}
	_, err = settings.Load(settings.Sources{File: write(t, "brokers: [a:1]\napps: [{name: a, token: 'file:/nowhere/x'}]")})
	if err == nil || !strings.Contains(err.Error(), "apps[0] token refers to a file, but there is no file /nowhere/x") {
		t.Errorf("an app without its token would be open to all: %v", err)
	}
}

// A password in a file is read for each login; while the file is gone, the one before is sent.
func TestPasswordsAreReadForEachLogin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	opts := func() []kgo.Opt {
		t.Helper()
		opts, err := settings.KafkaOptions(props("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=u\nsasl.password=file:" + file))
		if err != nil {
			t.Fatal(err)
		}
		return opts
	}
	if err := os.WriteFile(file, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(opts()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	mechanisms, ok := cl.OptValue(kgo.SASL).([]sasl.Mechanism)
	if !ok || len(mechanisms) != 1 {
		t.Fatalf("%T", cl.OptValue(kgo.SASL))
	}
	for _, step := range []struct{ text, want string }{{"one", "one"}, {"two\n", "two"}, {"", "two"}, {"three", "three"}} {
		if err := os.WriteFile(file, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, first, err := mechanisms[0].Authenticate(t.Context(), "a:1"); err != nil || string(first) != "\x00u\x00"+step.want {
			t.Errorf("%q, %v; want the password %s", first, err, step.want)
		}
	}
}
