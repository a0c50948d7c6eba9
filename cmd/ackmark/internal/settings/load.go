package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/ackmark/ackmark/internal/hostport"
)

// Sources are what the settings are read from, weakest first; each is optional.
type Sources struct {
	// File is a YAML file.
	File string
	// Environ is as from os.Environ.
	Environ []string
	// Flags holds the flags that were given: key (with slashes) to value.
	Flags map[string]string
	// KafkaFlags holds the Kafka properties that were given as flags.
	KafkaFlags map[string]string
}

// Effective is a configuration and where each of its values came from.
type Effective struct {
	Sidecar
	// Client is what the Kafka properties come to.
	Client Client
	from   map[string]string
}

// delimiter is none of the characters of a Kafka property: with a dot, bootstrap.servers would become a map.
const delimiter = "/"

// Load merges the sources and checks every value. It does not connect to anything.
func Load(src Sources) (*Effective, error) {
	k := koanf.New(delimiter)
	e := &Effective{from: map[string]string{}}
	if src.File != "" {
		if err := loadFile(k, src.File); err != nil {
			return nil, err
		}
		e.mark(k.Keys(), "file "+src.File)
	}
	env, err := fromEnv(src.Environ)
	if err != nil {
		return nil, err
	}
	for key, v := range env {
		if err := k.Set(key, v.value); err != nil {
			return nil, err
		}
		e.from[key] = "variable " + v.name
	}
	for key, v := range src.Flags {
		if err := k.Set(key, v); err != nil {
			return nil, err
		}
		e.from[key] = "flag --" + strings.NewReplacer("/", "-", "_", "-").Replace(key)
	}
	for name, v := range src.KafkaFlags {
		if err := k.Set("kafka"+delimiter+name, v); err != nil {
			return nil, err
		}
		e.from["kafka"+delimiter+name] = "flag --kafka"
	}
	if err := e.read(k); err != nil {
		return nil, err
	}
	return e, e.validate()
}

func (e *Effective) mark(keys []string, source string) {
	for _, key := range keys {
		e.from[key] = source
	}
}

func loadFile(k *koanf.Koanf, path string) error {
	err := k.Load(file.Provider(path), yaml.Parser())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--config %s: no such file; `ackmark config echo` prints one to start from", path)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("--config %s is a directory; name a YAML file", path)
	case err != nil:
		return fmt.Errorf("--config %s: %s; check the indentation and the colons", path, strings.ReplaceAll(err.Error(), "\n", " "))
	}
	known := []string{"apps", "kafka"}
	for _, f := range fields {
		known = append(known, f.Key)
	}
	for _, key := range k.Keys() {
		if slices.Contains(known, key) || strings.HasPrefix(key, "kafka"+delimiter) {
			continue
		}
		names := make([]string, len(known))
		for i, n := range known {
			names[i] = strings.ReplaceAll(n, delimiter, ".")
		}
		return &FieldError{Source: "file " + path, Problem: unknown("key", strings.ReplaceAll(key, delimiter, "."), names)}
	}
	return nil
}

type envValue struct{ name, value string }

// fromEnv reads ACKMARK_* and ACKMARK_KAFKA_SASL_PASSWORD (sasl.password). A name that is nearly one of ours is an error; others that start
// so are not ours: Kubernetes makes ACKMARK_SERVICE_HOST out of a service called ackmark.
func fromEnv(environ []string) (map[string]envValue, error) {
	known := map[string]string{}
	for _, f := range fields {
		known[f.Env()] = f.Key
	}
	out := map[string]envValue{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		if property, ok := strings.CutPrefix(name, envPrefix+"KAFKA_"); ok {
			property = strings.ToLower(strings.ReplaceAll(property, "_", "."))
			out["kafka"+delimiter+property] = envValue{name, value}
			continue
		}
		if key, ok := known[name]; ok {
			out[key] = envValue{name, value}
			continue
		}
		if n := nearest(name, slices.Collect(maps.Keys(known))); n != "" && distance(name, n) <= 2 {
			return nil, &FieldError{Problem: unknown("variable", name, slices.Collect(maps.Keys(known)))}
		}
	}
	return out, nil
}

// read sets every field, from its source or its default.
func (e *Effective) read(k *koanf.Koanf) error {
	for _, f := range fields {
		var v any = f.Default
		source, given := e.from[f.Key]
		if given {
			v = k.Get(f.Key)
		} else if f.Default == "" {
			continue
		}
		if err := f.set(&e.Sidecar, v); err != nil {
			return &FieldError{Field: f.Name(), Source: source, Problem: err.Error()}
		}
	}
	if err := e.readKafka(k); err != nil {
		return err
	}
	return e.readApps(k)
}

func (e *Effective) readKafka(k *koanf.Koanf) error {
	raw, isMap := k.Get("kafka").(map[string]any)
	if k.Get("kafka") != nil && !isMap {
		return &FieldError{Field: "kafka", Source: e.from["kafka"], Problem: "must be a map of properties, as in `client.id: orders`"}
	}
	e.Kafka = map[string]string{}
	for name, v := range raw {
		read := asText
		if slices.Contains(secrets, name) {
			read = asSecret
		}
		s, err := read(v)
		if err != nil {
			return &FieldError{Field: "kafka." + name, Source: e.from["kafka"+delimiter+name], Problem: err.Error()}
		}
		if s == redacted {
			return &FieldError{Field: "kafka." + name, Source: e.from["kafka"+delimiter+name], Problem: wasRedacted}
		}
		e.Kafka[name] = s
	}
	return nil
}

func (e *Effective) readApps(k *koanf.Koanf) error {
	raw := k.Get("apps")
	list, isList := raw.([]any)
	if raw != nil && !isList {
		return &FieldError{Field: "apps", Source: e.from["apps"], Problem: "must be a list of {name, topics, groups, token}"}
	}
	for i, entry := range list {
		app, err := readApp(entry)
		if err != nil {
			return &FieldError{Field: fmt.Sprintf("apps[%d]", i), Source: e.from["apps"], Problem: err.Error()}
		}
		e.Apps = append(e.Apps, app)
	}
	return nil
}

// appKeys are those of an entry of apps.
var appKeys = []string{"name", "topics", "groups", "token"}

// asAllowed reads a list of what an app may do. An empty one is not all.
func asAllowed(v any) ([]string, error) {
	list, err := asList(v)
	if err == nil && len(list) == 0 {
		err = errors.New("is empty; name at least one, or leave the key out: all")
	}
	return list, err
}

func readApp(entry any) (App, error) {
	var app App
	m, ok := entry.(map[string]any)
	if !ok {
		return app, errors.New("must be a map of name, topics, groups and token")
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		var err error
		switch key {
		case "name":
			app.Name, err = asText(m[key])
		case "topics":
			app.Topics, err = asAllowed(m[key])
		case "groups":
			app.Groups, err = asAllowed(m[key])
		case "token":
			app.Token, err = asSecret(m[key])
		default:
			return app, errors.New("has an " + unknown("key", key, appKeys) + "; the keys are " + strings.Join(appKeys, ", "))
		}
		if err != nil {
			return app, fmt.Errorf("%s %w", key, err)
		}
	}
	if app.Token == redacted {
		return app, errors.New("token " + wasRedacted)
	}
	if app.Name == "" {
		return app, errors.New("has no name; write the name that the app gives in Hello")
	}
	return app, nil
}

// validate checks what several fields decide together.
func (e *Effective) validate() error {
	client, err := ParseKafka(e.Kafka)
	if err != nil {
		if fe, ok := errors.AsType[*FieldError](err); ok {
			fe.Source = e.from["kafka"+delimiter+strings.TrimPrefix(fe.Field, "kafka.")]
		}
		return err
	}
	e.Client = *client
	if client.RecordBytes != 0 {
		if e.Limits.RecordBytes != 0 && e.Limits.RecordBytes != client.RecordBytes {
			return fieldError("limits.record_bytes", "and the Kafka property message.max.bytes (max.request.size) are the same and differ; set one of them")
		}
		e.Limits.RecordBytes = client.RecordBytes
	}
	bootstrap := Bootstrap(e.Kafka)
	switch {
	case len(e.Brokers) > 0 && len(bootstrap) > 0 && !slices.Equal(e.Brokers, bootstrap):
		return fieldError("brokers", fmt.Sprintf("is %s and kafka.bootstrap.servers is %s; set one of them", strings.Join(e.Brokers, ","), strings.Join(bootstrap, ",")))
	case len(e.Brokers) == 0:
		e.Brokers = bootstrap
		e.from["brokers"] = e.from["kafka"+delimiter+"bootstrap.servers"]
	}
	if len(e.Brokers) == 0 {
		return fieldError("brokers", "is missing; set --brokers host:9092, ACKMARK_BROKERS, or brokers in the file")
	}
	for _, b := range e.Brokers {
		if strings.Contains(b, "://") {
			return fieldError("brokers", fmt.Sprintf("has %q; write host:port without a scheme (TLS and SASL: kafka.security.protocol)", b))
		}
	}
	if b, bad := hostport.FirstBad(e.Brokers); bad {
		return fieldError("brokers", fmt.Sprintf("has %q; %s", b, hostport.Remedy))
	}
	return e.validateListener()
}

func (e *Effective) validateListener() error {
	files := []string{e.TLS.Certificate, e.TLS.Key, e.TLS.ClientCA}
	missing := slices.Contains(files, "")
	if strings.HasPrefix(e.Listen, "tcp://") && missing {
		return fieldError("listen", fmt.Sprintf("is %s; TCP needs mutual TLS: set tls.certificate, tls.key and tls.client_ca, or listen on unix:///path", e.Listen))
	}
	if strings.HasPrefix(e.Listen, "unix://") && (TLS{}) != e.TLS {
		return fieldError("tls", "is set, but listen is "+e.Listen+"; remove tls.*, or listen on tcp://host:port")
	}
	seen := map[string]bool{}
	for _, app := range e.Apps {
		if seen[app.Name] {
			return fieldError("apps", fmt.Sprintf("has %q twice; write one entry with all its topics", app.Name))
		}
		seen[app.Name] = true
	}
	return nil
}
