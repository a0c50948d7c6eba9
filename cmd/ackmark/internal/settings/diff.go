package settings

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/secret"
)

// Change is a setting that another configuration has another value of, as it may be shown.
type Change struct {
	// Key is as in [Field]; apps, or kafka/name.
	Key string
	// Name is how the user wrote it.
	Name        string
	Before, Now string
}

// Changes are the settings that differ in now. Secrets are redacted.
func (e *Effective) Changes(now *Effective) (out []Change) {
	differ := func(key string, was, is any) {
		out = append(out, Change{key, now.Written(key), inWords(was), inWords(is)})
	}
	for _, f := range fields {
		was, is := f.show(&e.Sidecar), f.show(&now.Sidecar)
		if f.Key == keyPassword && e.TLS.KeyPassword != now.TLS.KeyPassword || !reflect.DeepEqual(was, is) {
			differ(f.Key, automaticOr(f, was), automaticOr(f, is))
		}
	}
	if !reflect.DeepEqual(e.Apps, now.Apps) {
		differ("apps", e.shownApps(), now.shownApps())
	}
	if !slices.Equal(e.Routes, now.Routes) {
		differ("routes", fmt.Sprint(e.Routes), fmt.Sprint(now.Routes))
	}
	if !reflect.DeepEqual(e.RouteSetters, now.RouteSetters) {
		differ(routeSetters, fmt.Sprint(e.shownSetters()), fmt.Sprint(now.shownSetters()))
	}
	names := maps.Clone(e.Kafka)
	maps.Copy(names, now.Kafka)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, before := e.Kafka[name]
		is, after := now.Kafka[name]
		if was != is || before != after {
			differ(kafkaPrefix+name, shownProperty(name, was, before), shownProperty(name, is, after))
		}
	}
	return out
}

func automaticOr(f Field, v any) any {
	if f.Automatic != "" && v == any(int64(0)) {
		return auto
	}
	return v
}

func inWords(v any) string {
	if list, ok := v.([]string); ok {
		return strings.Join(list, ",")
	}
	return fmt.Sprint(v)
}

func shownProperty(name, value string, set bool) string {
	if !set {
		return "not set"
	}
	return shownKafka(name, value)
}

// shownApps are the entries of the list, without tokens.
func (e *Effective) shownApps() []string {
	var out []string
	for _, a := range e.Apps {
		token := ""
		if a.Token != "" {
			token = " token " + secret.Parse(a.Token).Shown()
		}
		out = append(out, fmt.Sprintf("{%s topics %s groups %s%s}", a.Name, all(a.Topics), all(a.Groups), token))
	}
	return out
}

func (e *Effective) shownSetters() []string {
	var out []string
	for _, r := range e.RouteSetters {
		uids := "own and root"
		if r.UIDs != nil {
			uids = fmt.Sprint(r.UIDs)
		}
		out = append(out, fmt.Sprintf("{uids %s apps %s topics %s}", uids, all(r.Apps), all(r.Topics)))
	}
	return out
}

func all(list []string) string {
	if list == nil {
		return "all"
	}
	return fmt.Sprint(list)
}
