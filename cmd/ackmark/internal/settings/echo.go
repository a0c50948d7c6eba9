package settings

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/login"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
)

const (
	redacted    = secret.Redacted
	wasRedacted = "is " + redacted + ", as `config echo` prints it; write the secret itself, or leave it to a variable"
)

// appsHelp stands above apps in what `config echo` prints.
const appsHelp = `Allow-list: which apps may connect, what they may write to and which consumer groups they may speak for.
Empty: any app, all topics, all groups. A '*' at the end matches any rest; without topics or groups: all.
The token is the app's DialConfig.Token. Put it in quotes.
  - name: orders
    topics: [orders.upper, "audit.*"]
    groups: [orders]
    token: "secret"`

// YAML is the effective configuration as a file, with the source of each value as a comment and
// without its secrets, but for where they are read. Automatic limits are told as such, or a file
// made on one machine would set them for another; inEffect is what they come to here.
func (e *Effective) YAML(inEffect Limits) ([]byte, error) {
	here := e.Sidecar
	here.Limits = inEffect
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields {
		at := root
		path := strings.Split(f.Key, delimiter)
		for _, part := range path[:len(path)-1] {
			at = child(at, part)
		}
		value, comment := f.show(&e.Sidecar), e.from[f.Key].String()
		if f.Automatic != "" && value == any(int64(0)) {
			value, comment = auto, fmt.Sprintf("%v here: %s", f.show(&here), f.Automatic)
		}
		if err := add(at, path[len(path)-1], value, comment); err != nil {
			return nil, err
		}
	}
	for _, list := range []func(*yaml.Node) error{e.addApps, e.addRoutes, e.addRouteSetters} {
		if err := list(root); err != nil {
			return nil, err
		}
	}
	kafka := child(root, "kafka")
	for _, name := range slices.Sorted(maps.Keys(e.Kafka)) {
		v := shownKafka(name, e.Kafka[name])
		if err := add(kafka, name, v, e.from[kafkaPrefix+name].String()); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	err := enc.Encode(root)
	return b.Bytes(), err
}

// shownKafka is a Kafka property as it may be printed. What comes behind a URL's question mark may
// be a key of the endpoint's.
func shownKafka(name, value string) string {
	if slices.Contains(secrets, name) {
		return secret.Parse(value).Shown()
	}
	if before, _, found := strings.Cut(value, "?"); found && name == login.EndpointProperty {
		return before + "?" + redacted
	}
	return value
}

func (e *Effective) addApps(root *yaml.Node) error {
	type app struct {
		Name   string   `yaml:"name"`
		Topics []string `yaml:"topics,flow,omitempty"`
		Groups []string `yaml:"groups,flow,omitempty"`
		Token  string   `yaml:"token,omitempty"`
	}
	apps := []app{}
	for _, a := range e.Apps {
		shown := app{Name: a.Name, Topics: a.Topics, Groups: a.Groups}
		if a.Token != "" {
			shown.Token = secret.Parse(a.Token).Shown()
		}
		apps = append(apps, shown)
	}
	if err := add(root, "apps", apps, ""); err != nil {
		return err
	}
	root.Content[len(root.Content)-2].HeadComment = appsHelp
	return nil
}

// child returns the map with this key, which it adds if need be.
func child(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	c := &yaml.Node{Kind: yaml.MappingNode}
	m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, c)
	return c
}

func add(m *yaml.Node, key string, value any, comment string) error {
	v := new(yaml.Node)
	if err := v.Encode(value); err != nil {
		return err
	}
	k := &yaml.Node{Kind: yaml.ScalarNode, Value: key}
	if v.Kind == yaml.SequenceNode && key != "apps" && key != "routes" && key != routeSetters {
		v.Style = yaml.FlowStyle
	}
	v.LineComment = comment
	m.Content = append(m.Content, k, v)
	return nil
}
