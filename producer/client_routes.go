package producer

import (
	"fmt"

	"github.com/ackmark/ackmark/internal/route"
	"github.com/ackmark/ackmark/sidecar/sidecarpb"
)

// hearRoutes passes on what the sidecar says of routes. What cannot be a route breaks the stream:
// half a table would send keys another way than the operator meant.
func (s *stream) hearRoutes(said *sidecarpb.Routes) error {
	if len(said.GetRoutes()) > route.MaxRoutes {
		return fmt.Errorf("protocol error: %d routes, at most %d are taken", len(said.GetRoutes()), route.MaxRoutes)
	}
	out := make(route.Routes, len(said.GetRoutes()))
	for _, r := range said.GetRoutes() {
		if err := route.CheckTopic(r.GetTopic()); err != nil || r.GetSidecarPercent() > 100 {
			return fmt.Errorf("protocol error: a route of %d %% for topic %.80q", r.GetSidecarPercent(), r.GetTopic())
		}
		out[r.GetTopic()] = route.Route{Share: int(r.GetSidecarPercent()), Detour: r.GetFallback() && r.GetSidecarPercent() > 0}
	}
	s.cfg.routes(out)
	return nil
}

// note tells the sidecar that inputs are done whose outputs did not go through it, so that a will
// may commit them: units without outputs. Where it cannot be told now, it learns it with the next
// Progress or not at all; then a will commits less.
func (c *client) note(units []Unit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	here := c.fall.detour == nil && (c.link.stream != nil || c.session.resumes)
	if !here || !c.life.takesMore() || !c.books.fits(costOfNothing(len(units))) {
		return
	}
	if c.books.take(units, c.reports.begin(len(units), noReporter{})) {
		c.reports.notify()
	}
	c.wakeWriter()
}

// noReporter is the Reporter of what nobody waits for.
type noReporter struct{}

// Acked implements Reporter.
func (noReporter) Acked(int, int) {}

// Failed implements Reporter.
func (noReporter) Failed(int, *Error) {}
