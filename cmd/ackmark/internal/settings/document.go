package settings

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

const documentHead = `The sidecar's settings, each with its default. A flag is stronger than a variable, that is stronger than this file,
and what is left out has its default. After a change: ackmark config check --config FILE; then SIGHUP puts in force what
is marked so, and a restart all of it.`

const kafkaHelp = `Properties of the Kafka client, by their Java or librdkafka names; also --kafka name=value, and variables:
ACKMARK_KAFKA_SASL_PASSWORD. Secrets in quotes, or where they are: file:/path, env:NAME. They wait for a restart, but
files that they name are read anew. Which there are for logins is in docs/operations.md (Credentials).
For example:
  client.id: orders-pod
  compression.type: zstd
  linger.ms: 5
  security.protocol: SASL_SSL
  ssl.ca.location: /etc/ackmark/kafka-ca.pem
  sasl.mechanism: SCRAM-SHA-512
  sasl.username: orders
  sasl.password: "file:/run/secrets/kafka-password"`

// Documented is a file with every setting and its default, explained.
func Documented() ([]byte, error) {
	none, _ := Load(Sources{}) // that brokers are missing is no matter
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields {
		at, path := root, strings.Split(f.Key, delimiter)
		for _, part := range path[:len(path)-1] {
			at = child(at, part)
		}
		value := automaticOr(f, f.show(&none.Sidecar))
		if err := add(at, path[len(path)-1], value, ""); err != nil {
			return nil, err
		}
		at.Content[len(at.Content)-2].HeadComment = f.explained()
	}
	for _, list := range []func(*yaml.Node) error{none.addApps, none.addRoutes, none.addRouteSetters} {
		if err := list(root); err != nil {
			return nil, err
		}
	}
	if err := add(root, "kafka", map[string]string{}, ""); err != nil {
		return nil, err
	}
	root.Content[len(root.Content)-2].HeadComment = kafkaHelp
	var b bytes.Buffer
	for line := range strings.SplitSeq(documentHead, "\n") {
		b.WriteString("# " + line + "\n")
	}
	b.WriteByte('\n')
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	err := enc.Encode(root)
	return b.Bytes(), err
}

// explained is the help of a field in a file.
func (f Field) explained() string {
	text := f.Usage
	if f.Automatic != "" {
		text += "; automatic: " + f.Automatic
	}
	text += " (--" + f.Flag() + ", " + f.Env()
	if Live(f.Key) {
		text += "; SIGHUP"
	}
	return wrapped(text+")", 100)
}

// wrapped breaks a text into lines of so many characters.
func wrapped(text string, width int) string {
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
