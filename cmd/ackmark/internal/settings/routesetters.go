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

const routeSetters = "route_setters"

// setterKeys are those of an entry of route_setters.
var setterKeys = []string{"uids", "apps", "topics"}

func (e *Effective) readRouteSetters(k *koanf.Koanf) {
	e.RouteSetters = append(e.RouteSetters, entries(e, k, routeSetters, "- {uids: [0], apps: [billing]}", readRouteSetter)...)
}

func readRouteSetter(entry any) (r RouteSetter, wrong []error) {
	m, ok := entry.(map[string]any)
	if !ok {
		return r, []error{fmt.Errorf("is %s; write a map, as in {uids: [0], apps: [billing]}", hidden(entry))}
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		var err error
		switch key {
		case "uids":
			if r.UIDs, err = asIDs(m[key]); err == nil && len(r.UIDs) == 0 {
				err = errors.New("is empty; name at least one, or leave the key out: the sidecar's own user and root")
			}
		case "apps":
			r.Apps, err = asAllowed(m[key])
		case "topics":
			r.Topics, err = asAllowed(m[key])
		default:
			err = errors.New(unknown("key", key, setterKeys) + "; the keys are " + strings.Join(setterKeys, ", "))
			wrong = append(wrong, fmt.Errorf("has an %w", err))
			continue
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s %w", key, err))
		}
	}
	return r, wrong
}

// routeSettersHelp stands above route_setters in what `config echo` prints.
const routeSettersHelp = `Who may set routes while the sidecar runs ("ackmark set route"): users that may connect, and of which apps and topics.
Empty: the sidecar's own user and root, of all. Without uids: those two; without apps or topics: all. If an app runs as
the sidecar's user, leave it to root.
  - uids: [0]
    apps: [billing]
    topics: ["invoices.*"]`

func (e *Effective) addRouteSetters(root *yaml.Node) error {
	type setter struct {
		UIDs   []uint32 `yaml:"uids,flow,omitempty"`
		Apps   []string `yaml:"apps,flow,omitempty"`
		Topics []string `yaml:"topics,flow,omitempty"`
	}
	list := []setter{}
	for _, r := range e.RouteSetters {
		list = append(list, setter(r))
	}
	if err := add(root, routeSetters, list, ""); err != nil {
		return err
	}
	root.Content[len(root.Content)-2].HeadComment = routeSettersHelp
	return nil
}
