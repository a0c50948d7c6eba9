package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"

	"github.com/ackmark/ackmark/internal/smallfile"
)

// maxFile bounds the settings file.
const maxFile = 1 << 20

// yamlQuote is what YAML's errors show of a file: it may be a secret.
var yamlQuote = regexp.MustCompile("`[^`]*`|(anchor )'[^']*'")

func loadFile(k *koanf.Koanf, path string) error {
	text, err := smallfile.Read(path, maxFile)
	if err == nil {
		err = k.Load(yamlFile(text), nil)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--config %s: no such file; `ackmark config echo` prints one to start from", path)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("--config %s is a directory; name a YAML file", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("--config %s: no right to read it; run as its owner, or chmod it", path)
	case text == nil && err != nil:
		return fmt.Errorf("--config: %w", err)
	case err != nil:
		text := yamlQuote.ReplaceAllString(strings.ReplaceAll(err.Error(), "\n", " "), "${1}…")
		return fmt.Errorf("--config %s: %s; check the indentation and the colons, and put secrets in quotes", path, text)
	}
	return nil
}

// yamlFile is a file's text for koanf, read as people mean it where YAML reads something else.
type yamlFile []byte

// ReadBytes implements koanf.Provider.
func (f yamlFile) ReadBytes() ([]byte, error) { return f, nil }

// Read implements koanf.Provider.
func (f yamlFile) Read() (map[string]any, error) {
	var root yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(f))
	if err := decoder.Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one document, and only one can be in force: remove the line \"---\" between them")
	}
	if root.Kind == 0 { // nothing but comments
		return map[string]any{}, nil
	}
	asWrittenIn(&root, nil)
	out := map[string]any{}
	return out, root.Decode(&out)
}

// zeroFirst is what people write as a number with zeros before it, and YAML reads by eights.
var zeroFirst = regexp.MustCompile(`^[-+]?0[0-9_]+$`)

// asWrittenIn makes texts of what is one here, and for YAML a number, a date or a truth value:
// names, Kafka properties, and ids and counts that begin with a zero: 01000 is a thousand. Secrets
// stay what they are for YAML, and are refused.
func asWrittenIn(n *yaml.Node, path []string) {
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			asWrittenIn(c, path)
		}
	case yaml.SequenceNode:
		for _, c := range n.Content {
			asWrittenIn(c, path)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			asWrittenIn(n.Content[i+1], append(slices.Clip(path), n.Content[i].Value))
		}
	case yaml.ScalarNode:
		if n.Style == 0 && n.Tag != "!!null" && isText(n, path) {
			n.Tag = "!!str"
		}
	}
}

func isText(n *yaml.Node, path []string) bool {
	if len(path) == 0 {
		return false
	}
	switch last := path[len(path)-1]; path[0] {
	case "kafka":
		return !slices.Contains(secrets, last)
	case "apps", "routes", routeSetters:
		return slices.Contains([]string{"name", "app", "topic", "by"}, last)
	case "socket_mode":
		return false
	}
	return zeroFirst.MatchString(n.Value)
}
