package route

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Route is which part of a topic's keys goes through the sidecar; the others go to Kafka directly.
type Route struct {
	Share  int  // percent that goes through the sidecar: 0 to 100
	Detour bool // what goes through the sidecar goes directly while the sidecar is gone
}

// All is what stands for every topic, or every app, that is not named.
const All = "*"

// Bounds of what anybody may say of routes.
const (
	MaxRoutes = 256
	MaxTopic  = 249 // as Kafka
)

// Parse reads a route: direct, sidecar or fallback, and how many percent of the keys go that way if
// it is not all of them, as in sidecar:10. The others go directly; of direct:90 a tenth goes
// through the sidecar.
func Parse(text string) (Route, error) {
	name, number, some := strings.Cut(text, ":")
	percent := 100
	if some {
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > 100 || strconv.Itoa(n) != number {
			return Route{}, fmt.Errorf("%.80q: the percentage is a number from 0 to 100, as in sidecar:10", text)
		}
		percent = n
	}
	switch name {
	case "direct":
		return Route{Share: 100 - percent}, nil
	case "sidecar":
		return Route{Share: percent}, nil
	case "fallback":
		return Route{Share: percent, Detour: percent > 0}, nil
	}
	return Route{}, fmt.Errorf("%.80q is no way to Kafka: write direct, sidecar or fallback, and a percentage behind it if it is for a part of the keys, as in sidecar:10", text)
}

// String is the shortest text that Parse reads as this route.
func (r Route) String() string {
	name := "sidecar"
	if r.Detour {
		name = "fallback"
	}
	switch r.Share {
	case 0:
		return "direct"
	case 100:
		return name
	}
	return name + ":" + strconv.Itoa(r.Share)
}

var validTopic = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// CheckTopic tells what is wrong with the name of a topic in a route, or nil.
func CheckTopic(name string) error {
	if name == All || validTopic.MatchString(name) {
		return nil
	}
	return fmt.Errorf("%.80q is no topic: write a name of 1 to %d letters, digits, '.', '_', '-', or * for all that are not named", name, MaxTopic)
}

// Routes are by topic; the one of All is for those that are not named.
type Routes map[string]Route

// Of is the route of a topic, if there is one.
func (r Routes) Of(topic string) (Route, bool) {
	if one, ok := r[topic]; ok {
		return one, true
	}
	one, ok := r[All]
	return one, ok
}

// ParseList reads routes as they stand in one line: orders=sidecar:10,*=direct.
func ParseList(text string) (Routes, error) {
	out := Routes{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		topic, way, ok := strings.Cut(item, "=")
		if !ok {
			return nil, fmt.Errorf("%.80q is no route: write TOPIC=WAY, as in orders=sidecar:10,*=direct", item)
		}
		if err := CheckTopic(topic); err != nil {
			return nil, err
		}
		if _, twice := out[topic]; twice {
			return nil, fmt.Errorf("topic %q has two routes: name it once", topic)
		}
		r, err := Parse(way)
		if err != nil {
			return nil, fmt.Errorf("topic %s: %w", topic, err)
		}
		if out[topic] = r; len(out) > MaxRoutes {
			return nil, fmt.Errorf("more than %d routes: use * for what most topics have", MaxRoutes)
		}
	}
	return out, nil
}
