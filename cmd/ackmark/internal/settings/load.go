package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
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

	from  map[string]origin
	wrong Errors
	bad   map[string]bool // keys that an error was told of
}

// origin is where a value came from.
type origin struct {
	kind string // file, variable, flag
	name string // the file, the variable, the flag
}

func (o origin) String() string {
	if o.kind == "" {
		return "default"
	}
	return o.kind + " " + o.name
}

// delimiter is none of the characters of a Kafka property: with a dot, bootstrap.servers would
// become a map.
const delimiter = "/"

const kafkaPrefix = "kafka" + delimiter

// Load merges the sources and checks every value; the error is all that is wrong, as [Errors]. What
// is wrong has its default in the result, so that the rest can be checked, too; it is nil only
// where a file cannot be read. It does not connect to anything.
func Load(src Sources) (*Effective, error) {
	k := koanf.New(delimiter)
	e := &Effective{from: map[string]origin{}, bad: map[string]bool{}}
	if src.File != "" {
		if err := loadFile(k, src.File); err != nil {
			return nil, err
		}
		for _, key := range k.Keys() {
			e.from[key] = origin{"file", src.File}
		}
		e.checkKeys(k, src.File)
	}
	set := func(key, value, kind, name string) {
		if err := k.Set(key, value); err != nil {
			e.wrong = append(e.wrong, &FieldError{Field: name, Problem: err.Error()})
			return
		}
		e.from[key] = origin{kind, name}
	}
	env := e.environ(src.Environ)
	for _, key := range slices.Sorted(maps.Keys(env)) {
		set(key, env[key].value, "variable", env[key].name)
	}
	for _, key := range slices.Sorted(maps.Keys(src.Flags)) {
		set(key, src.Flags[key], "flag", "--"+Field{Key: key}.Flag())
	}
	for _, name := range slices.Sorted(maps.Keys(src.KafkaFlags)) {
		set(kafkaPrefix+name, src.KafkaFlags[name], "flag", "--kafka "+name)
	}
	e.read(k)
	e.validate()
	return e, e.Err()
}

// fail tells what is wrong with a key, once: what follows from it would only repeat it.
func (e *Effective) fail(key, problem string) {
	if e.bad[key] {
		return
	}
	e.bad[key] = true
	err := e.written(key)
	err.Problem = problem
	e.wrong = append(e.wrong, &err)
}

// written is how the user named a key: by a flag, a variable, or in a file; its own name where
// nobody did.
func (e *Effective) written(key string) FieldError {
	switch o := e.from[key]; o.kind {
	case "variable", "flag":
		return FieldError{Field: o.name}
	case "file":
		return FieldError{Field: dotted(key), Source: o.String()}
	}
	return FieldError{Field: dotted(key)}
}

// Written is the name of a setting as the user wrote it: --limits-bytes, ACKMARK_LIMITS_BYTES,
// limits.bytes.
func (e *Effective) Written(key string) string { return e.written(key).Field }

// Refuse adds what the sidecar says of a setting to what is wrong.
func (e *Effective) Refuse(key, problem string) { e.fail(key, problem) }

// Add adds an error that is about no single setting.
func (e *Effective) Add(err error) { e.wrong = append(e.wrong, err) }

// Err is all that is wrong, as [Errors], or nil.
func (e *Effective) Err() error { return e.wrong.orNil() }

func dotted(key string) string { return strings.ReplaceAll(key, delimiter, ".") }

// yamlQuote is what YAML's errors show of a file: it may be a secret.
var yamlQuote = regexp.MustCompile("`[^`]*`|(anchor )'[^']*'")

func loadFile(k *koanf.Koanf, path string) error {
	err := k.Load(file.Provider(path), yaml.Parser())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--config %s: no such file; `ackmark config echo` prints one to start from", path)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Errorf("--config %s is a directory; name a YAML file", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("--config %s: no right to read it; run as its owner, or chmod it", path)
	case err != nil:
		text := yamlQuote.ReplaceAllString(strings.ReplaceAll(err.Error(), "\n", " "), "${1}…")
		return fmt.Errorf("--config %s: %s; check the indentation and the colons, and put secrets in quotes", path, text)
	}
	return nil
}

// checkKeys tells every key of the file that is not known, or that is a value where a map must be,
// or the other way round.
func (e *Effective) checkKeys(k *koanf.Koanf, path string) {
	known := []string{"apps", "kafka"}
	for _, f := range fields {
		known = append(known, dotted(f.Key))
	}
	for _, key := range k.Keys() {
		name := dotted(key)
		inside := slices.IndexFunc(known, func(n string) bool { return strings.HasPrefix(n, name+".") })
		above := slices.IndexFunc(known, func(n string) bool { return strings.HasPrefix(name, n+".") })
		var problem string
		switch {
		case slices.Contains(known, name) || strings.HasPrefix(key, kafkaPrefix):
			continue
		case inside >= 0:
			problem = fmt.Sprintf("is %s; write a map, as in `%s: {%s: …}`", shown(k.Get(key)), name, strings.TrimPrefix(known[inside], name+"."))
		case above >= 0:
			e.from[strings.ReplaceAll(known[above], ".", delimiter)] = origin{"file", path} // a map, which read refuses
			continue
		default:
			problem = unknown("key", name, known)
		}
		e.wrong = append(e.wrong, &FieldError{Field: name, Source: "file " + path, Problem: problem})
	}
}

type envValue struct{ name, value string }

// environ reads ACKMARK_* and ACKMARK_KAFKA_SASL_PASSWORD (sasl.password). A name that is nearly
// one of ours is an error; others that start so are not ours: Kubernetes makes ACKMARK_SERVICE_HOST
// out of a service called ackmark.
func (e *Effective) environ(environ []string) map[string]envValue {
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
			out[kafkaPrefix+property] = envValue{name, value}
			continue
		}
		if key, ok := known[name]; ok {
			out[key] = envValue{name, value}
			continue
		}
		if n := nearest(name, slices.Collect(maps.Keys(known))); n != "" && distance(name, n) <= 2 {
			e.wrong = append(e.wrong, &FieldError{Problem: unknown("variable", name, slices.Collect(maps.Keys(known)))})
		}
	}
	return out
}

// read sets every field, from its source or its default.
func (e *Effective) read(k *koanf.Koanf) {
	for _, f := range fields {
		if _, given := e.from[f.Key]; given && !e.bad[f.Key] {
			err := f.set(&e.Sidecar, k.Get(f.Key))
			if err == nil {
				continue
			}
			e.fail(f.Key, err.Error())
		}
		if f.Default != "" {
			_ = f.set(&e.Sidecar, f.Default) // a test reads them all
		}
	}
	e.readKafka(k)
	e.readApps(k)
}

func (e *Effective) readKafka(k *koanf.Koanf) {
	e.Kafka = map[string]string{}
	raw, isMap := k.Get("kafka").(map[string]any)
	if k.Get("kafka") != nil && !isMap {
		e.fail("kafka", "is "+hidden(k.Get("kafka"))+"; write a map of properties, as in `client.id: orders`")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		read := asText
		if slices.Contains(secrets, name) {
			read = asSecret
		}
		s, err := read(raw[name])
		switch {
		case err != nil:
			e.fail(kafkaPrefix+name, err.Error())
		case s == redacted:
			e.fail(kafkaPrefix+name, wasRedacted)
		}
		e.Kafka[name] = s
	}
}

func (e *Effective) readApps(k *koanf.Koanf) {
	raw := k.Get("apps")
	list, isList := raw.([]any)
	if raw != nil && !isList {
		e.fail("apps", "is "+hidden(raw)+"; write a list, as in `- {name: orders, topics: [orders.upper], token: \"secret\"}`")
	}
	for i, entry := range list {
		app, wrong := readApp(entry)
		key := fmt.Sprintf("apps[%d]", i)
		e.from[key] = e.from["apps"]
		for _, problem := range wrong {
			e.bad[key] = false
			e.fail(key, problem.Error())
		}
		e.Apps = append(e.Apps, app)
	}
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

func readApp(entry any) (app App, wrong []error) {
	m, ok := entry.(map[string]any)
	if !ok {
		return app, []error{fmt.Errorf("is %s; write a map, as in {name: orders, topics: [orders.upper]}", hidden(entry))}
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
			wrong = append(wrong, errors.New("has an "+unknown("key", key, appKeys)+"; the keys are "+strings.Join(appKeys, ", ")))
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s %w", key, err))
		}
	}
	if app.Token == redacted {
		wrong = append(wrong, errors.New("token "+wasRedacted))
	}
	if _, err := secret.Parse(app.Token).Read(); err != nil {
		wrong = append(wrong, fmt.Errorf("token %w", err))
	}
	if app.Name == "" {
		wrong = append(wrong, errors.New("has no name; write the name that the app gives in Hello"))
	}
	return app, wrong
}

// validate checks what several fields decide together.
func (e *Effective) validate() {
	e.validateKafka()
	e.validateBrokers()
	e.validateListener()
}

func (e *Effective) validateKafka() {
	client, wrong := ParseKafka(e.Kafka, func(name string) FieldError { return e.written(kafkaPrefix + name) })
	for _, err := range wrong {
		if f, ok := errors.AsType[*FieldError](err); !ok || !e.saidAlready(f.Field) {
			e.wrong = append(e.wrong, err)
		}
	}
	e.Client = *client
	_, given := e.from["limits/record_bytes"]
	if client.RecordBytes == 0 {
		if _, lowered := e.from["limits/message_bytes"]; lowered && !given { // the default follows it
			e.Limits.RecordBytes = max(512, e.Limits.MessageBytes-64<<10)
		}
		return
	}
	if given && e.Limits.RecordBytes != client.RecordBytes {
		e.fail("limits/record_bytes", "and the Kafka property message.max.bytes (max.request.size) are the same and differ; set one of them")
		return
	}
	e.Limits.RecordBytes = client.RecordBytes
}

// saidAlready tells whether an error about this name, as it was written, is there.
func (e *Effective) saidAlready(field string) bool {
	return slices.ContainsFunc(e.wrong, func(err error) bool {
		f, ok := errors.AsType[*FieldError](err)
		return ok && f.Field == field
	})
}

func (e *Effective) validateBrokers() {
	bootstrap := Bootstrap(e.Kafka)
	switch {
	case len(e.Brokers) > 0 && len(bootstrap) > 0 && !slices.Equal(e.Brokers, bootstrap):
		e.fail("brokers", fmt.Sprintf("is %s and the Kafka property bootstrap.servers is %s; set one of them", strings.Join(e.Brokers, ","), strings.Join(bootstrap, ",")))
	case len(e.Brokers) == 0 && len(bootstrap) > 0:
		e.Brokers = bootstrap
		e.from["brokers"] = e.from[kafkaPrefix+"bootstrap.servers"]
	}
	if len(e.Brokers) == 0 {
		e.fail("brokers", "is missing; set --brokers host:9092, ACKMARK_BROKERS, or brokers in the file")
	}
	for _, b := range e.Brokers {
		if strings.Contains(b, "://") {
			e.fail("brokers", fmt.Sprintf("has %q; write host:port without a scheme (TLS and SASL: kafka.security.protocol)", b))
		}
	}
	if b, bad := hostport.FirstBad(e.Brokers); bad {
		e.fail("brokers", fmt.Sprintf("has %q; %s", b, hostport.Remedy))
	}
}

func (e *Effective) validateListener() {
	files := []string{e.TLS.Certificate, e.TLS.Key, e.TLS.ClientCA}
	missing := slices.Contains(files, "")
	if strings.HasPrefix(e.Listen, "tcp://") && missing {
		e.fail("listen", fmt.Sprintf("is %s; TCP needs mutual TLS: set tls.certificate, tls.key and tls.client_ca, or listen on unix:///path", e.Listen))
	}
	if strings.HasPrefix(e.Listen, "unix://") && (TLS{}) != e.TLS {
		e.fail("tls", "is set, but listen is "+e.Listen+"; remove tls.*, or listen on tcp://host:port")
	}
	seen := map[string]bool{}
	for _, app := range e.Apps {
		if app.Name != "" && seen[app.Name] {
			e.fail("apps", fmt.Sprintf("has %q twice; write one entry with all its topics", app.Name))
		}
		seen[app.Name] = true
	}
}
