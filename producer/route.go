package producer

import (
	"cmp"
	"errors"
	"fmt"
	"os"

	"github.com/ackmark/ackmark/internal/configerr"
	"github.com/ackmark/ackmark/internal/route"
)

// RoutesEnv is the environment variable that [RouteConfig.New] reads: routes as
// RouteConfig.Topics has them, in one line, like
//
//	ACKMARK_ROUTES=orders=sidecar:10,audit=fallback,*=direct
const RoutesEnv = "ACKMARK_ROUTES"

// RouteConfig configures a producer that sends some topics through the sidecar and others to Kafka
// directly, or one part of a topic's keys this way and the rest that way, and that changes its mind
// while it runs: for a move to the sidecar in small steps, and for the way back.
//
// A route is direct, sidecar, or fallback (through the sidecar, and directly while it is gone), for
// a part of the keys with a percentage behind it: of sidecar:10 the other nine tenths go directly,
// of direct:90 a tenth goes through the sidecar. A larger percentage has the keys of a smaller one
// and more; it is the same keys in every process. Records that name their partition are chosen by
// that; those without it and without a key all go the way of the majority, and so does a topic of
// which some records name their partition and others do not.
//
// Whatever changes, the order of a key is kept, nothing is lost and nothing is written twice: a key
// that changes its way waits until what its topic has on the former one is acknowledged. Calls of
// Deliver and Emit with such a key block meanwhile, EmitAsync too.
//
// What counts: what the sidecar says (`ackmark set route`, or routes in its configuration), else
// the environment ([RoutesEnv]), else Topics. Of each the topic's own route comes before that
// of *. What a sidecar said counts until another one says something else.
//
// What goes directly is not known to the sidecar: when the process is killed, it is repeated as
// without a sidecar. While no topic has anything to go through the sidecar, the sidecar is told of
// no partition either, and can neither commit nor leave a group for this process.
//
// A detour is of the whole process: while a fallback has it, everything that waits for the sidecar
// takes it.
type RouteConfig struct {
	// Sidecar is the way through the sidecar. Its Fallback.Mode and Fallback.Direct are set from
	// the routes and from Direct: leave them alone. Its limits, OnFull, CloseTimeout and Logger
	// count for both ways, for each of them apart.
	Sidecar DialConfig
	// Direct is the Kafka client of the direct way.
	Direct DirectConfig
	// Topics are the routes by topic, with * for all that are not named. Default: all by sidecar.
	Topics map[string]string

	environ func(string) (string, bool)
}

// RouteState is what is known of a topic's route.
type RouteState struct {
	Topic string
	// By is the route that counts, and From who said so: sidecar, environment or configuration.
	By, From string
	// Waiting tells that keys which have changed their way wait for what the topic has on the
	// former one.
	Waiting bool
}

// Router is implemented by the producers of [RouteConfig].
type Router interface {
	// Routes tells of the topics that were written to, in the order of their names.
	Routes() []RouteState
}

// New returns the producer. It connects on first use, also to a sidecar that nothing goes through:
// it may say otherwise. An invalid configuration is returned by every call and by Check.
func (c RouteConfig) New() Producer {
	if c.environ == nil {
		c.environ = os.LookupEnv
	}
	own, said, err := c.layers()
	r := newRouter(c, own, said)
	if err != nil {
		r.broken = invalidConfig(err)
	}
	return r
}

// routeConfig is how errors name the type.
const routeConfig = "producer.RouteConfig"

// layers are the routes of the configuration and of the environment.
func (c RouteConfig) layers() (own, environment route.Routes, err error) {
	wrong := configerr.For(routeConfig)
	own = route.Routes{}
	wrong.If(len(c.Topics) > route.MaxRoutes, "Topics", configerr.Words(fmt.Sprintf("%d routes", len(c.Topics))),
		fmt.Sprintf("at most %d: use * for what most topics have", route.MaxRoutes))
	for topic, text := range c.Topics {
		r, err := route.Parse(text)
		if err := cmp.Or(route.CheckTopic(topic), err); err != nil {
			wrong.Wrong("Topics", topic+": "+text, err.Error())
		}
		own[topic] = r
	}
	if text, ok := c.environ(RoutesEnv); ok {
		if environment, err = route.ParseList(text); err != nil {
			wrong.Wrong(RoutesEnv, text, err.Error())
		}
	}
	wrong.If(c.Sidecar.Fallback.Mode != Off, "Sidecar.Fallback.Mode", c.Sidecar.Fallback.Mode, "leave it out: a route with fallback says it")
	wrong.If(len(c.Sidecar.Fallback.Direct.Brokers)+len(c.Sidecar.Fallback.Direct.Options) > 0, "Sidecar.Fallback.Direct", configerr.Words("set"), "leave it out: it is RouteConfig.Direct")
	wrong.If(c.Direct.TransactionalID != "", "Direct.TransactionalID", c.Direct.TransactionalID, "a route commits no offsets; leave it empty, or use producer.Direct alone")
	return own, environment, wrong.Err()
}

// parts are the configurations of the two ways.
func (c RouteConfig) parts(routes func(route.Routes)) (DialConfig, DirectConfig) {
	side, own := c.Sidecar, c.Direct
	side.Fallback.Mode, side.Fallback.Direct = Off, c.Direct
	side.routes = routes
	side = side.withDefaults()
	own.MaxBufferedBytes, own.MaxBufferedRecords, own.OnFull = side.MaxBufferedBytes, side.MaxBufferedRecords, side.OnFull
	own.CloseTimeout, own.Logger, own.app = side.CloseTimeout, side.Logger, side.App
	return side, own
}

// Validate implements [Validator].
func (r *router) Validate() error {
	if r.broken != nil {
		return r.broken
	}
	return errors.Join(r.side.Validate(), r.own.Validate())
}
