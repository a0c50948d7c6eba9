package settings

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/v2"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
	"github.com/ackmark/ackmark/internal/tlsfiles"
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
	// Listener are the files of tls.*, read again for each connection to a tcp:// listener.
	Listener *tlsfiles.Renewed

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

// checkKeys tells every key of the file that is not known, or that is a value where a map must be,
// or the other way round.
func (e *Effective) checkKeys(k *koanf.Koanf, path string) {
	known := []string{"apps", "routes", routeSetters, "kafka"}
	for _, f := range fields {
		known = append(known, dotted(f.Key))
	}
	for _, key := range k.Keys() {
		name := dotted(key)
		if problem := oneWord(k, key, known); problem != "" {
			e.wrong = append(e.wrong, &FieldError{Field: name, Source: "file " + path, Problem: problem})
			continue
		}
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

// oneWord says what is wrong with a key that is one word for YAML and a path for who wrote it, as
// in "log.level: debug": it would be nobody's.
func oneWord(k *koanf.Koanf, key string, known []string) string {
	word, _, _ := strings.Cut(key, delimiter)
	if _, slashes := k.Raw()[key]; slashes && strings.Contains(key, delimiter) {
		word = key
	}
	outer, inner, dots := strings.Cut(dotted(word), ".")
	switch {
	case !dots:
		return ""
	case slices.Contains(known, dotted(key)) || outer == "kafka":
		return fmt.Sprintf("is one word for YAML; write a map, as in `%s: {%s: …}`", outer, inner)
	}
	return unknown("key", dotted(key), known)
}

// serviceLink is a variable that Kubernetes gives every container of a namespace for a service.
var serviceLink = regexp.MustCompile(`_(SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

type envValue struct{ name, value string }

// environ reads ACKMARK_* and ACKMARK_KAFKA_SASL_PASSWORD (sasl.password). A name that is nearly
// one of ours is an error; others that start so are not ours: Kubernetes makes ACKMARK_SERVICE_HOST
// out of a service called ackmark, and ACKMARK_KAFKA_PORT of one called ackmark-kafka.
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
			if _, known := properties[property]; !known && serviceLink.MatchString(name) {
				continue
			}
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
	e.readRoutes(k)
	e.readRouteSetters(k)
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
		case s == redacted, strings.HasSuffix(s, "?"+redacted):
			e.fail(kafkaPrefix+name, wasRedacted)
		}
		e.Kafka[name] = s
	}
}

// entries reads a list of the file, and notes what is wrong with each entry.
func entries[T any](e *Effective, k *koanf.Koanf, name, example string, read func(any) (T, []error)) (all []T) {
	raw := k.Get(name)
	list, isList := raw.([]any)
	if raw != nil && !isList {
		e.fail(name, "is "+hidden(raw)+"; write a list, as in `"+example+"`")
	}
	for i, entry := range list {
		one, wrong := read(entry)
		key := fmt.Sprintf("%s[%d]", name, i)
		e.from[key] = e.from[name]
		for _, problem := range wrong {
			e.bad[key] = false
			e.fail(key, problem.Error())
		}
		all = append(all, one)
	}
	return all
}

func (e *Effective) readApps(k *koanf.Koanf) {
	e.Apps = append(e.Apps, entries(e, k, "apps", "- {name: orders, topics: [orders.upper], token: \"secret\"}", readApp)...)
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
	told := false // what is wrong with its name
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
			if app.Token, err = asSecret(m[key]); err == nil && app.Token == "" { // as of a variable that is not set: anybody would be the app
				err = errors.New("is empty; write the secret, or leave the key out: none is asked for")
			}
		default:
			wrong = append(wrong, errors.New("has an "+unknown("key", key, appKeys)+"; the keys are "+strings.Join(appKeys, ", ")))
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s %w", key, err))
			told = told || key == "name"
		}
	}
	if app.Token == redacted {
		wrong = append(wrong, errors.New("token "+wasRedacted))
	}
	if _, err := secret.Parse(app.Token).Read(); err != nil {
		wrong = append(wrong, fmt.Errorf("token %w", err))
	}
	if app.Name == "" && !told {
		wrong = append(wrong, errors.New("has no name; write the name that the app gives in Hello"))
	}
	return app, wrong
}
