package settings

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"
)

// routeKeys are those of an entry of routes.
var routeKeys = []string{"app", "topic", "by"}

func (e *Effective) readRoutes(k *koanf.Koanf) {
	e.Routes = append(e.Routes, entries(e, k, "routes", "- {app: billing, topic: invoices, by: \"sidecar:10\"}", readRoute)...)
}

func readRoute(entry any) (r Route, wrong []error) {
	m, ok := entry.(map[string]any)
	if !ok {
		return r, []error{fmt.Errorf("is %s; write a map, as in {app: billing, topic: invoices, by: \"sidecar:10\"}", hidden(entry))}
	}
	into := map[string]*string{"app": &r.App, "topic": &r.Topic, "by": &r.By}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		at, known := into[key]
		if !known {
			wrong = append(wrong, errors.New("has an "+unknown("key", key, routeKeys)+"; the keys are "+strings.Join(routeKeys, ", ")))
			continue
		}
		var err error
		if *at, err = asText(m[key]); err != nil {
			wrong = append(wrong, fmt.Errorf("%s %w", key, err))
		}
	}
	return r, wrong
}

// routesHelp stands above routes in what `config echo` prints.
const routesHelp = `Which part of a topic's keys goes through this sidecar, for apps that can go to Kafka directly too (producer.RouteConfig):
direct, sidecar or fallback, and a percentage for a part of the keys. app and topic may be *. What ` + "`ackmark set route`" + `
sets counts before this, until the sidecar ends.
  - {app: billing, topic: invoices, by: "sidecar:10"}`

func (e *Effective) addRoutes(root *yaml.Node) error {
	type route struct {
		App   string `yaml:"app"`
		Topic string `yaml:"topic"`
		By    string `yaml:"by"`
	}
	list := []route{}
	for _, r := range e.Routes {
		list = append(list, route(r))
	}
	if err := add(root, "routes", list, ""); err != nil {
		return err
	}
	root.Content[len(root.Content)-2].HeadComment = routesHelp
	return nil
}
