package flows

import (
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/ackmark/ackmark/internal/telemetry"
)

const other = telemetry.OtherError

// Rows are what Tell tells.
var Rows = []*telemetry.Metric{
	telemetry.Attempted, telemetry.Outstanding, telemetry.Sent, telemetry.RetriedMessages, telemetry.Dropped, telemetry.Letters, telemetry.Refused, telemetry.RetryAfter, telemetry.CreditWaits, telemetry.CreditWaited,
	telemetry.SessionsOpened, telemetry.Wills, telemetry.Unfollowed,
}

func sending() []attribute.KeyValue {
	return []attribute.KeyValue{telemetry.System.String("kafka"), telemetry.Operation.String("send")}
}

// Tell tells all that was counted.
func (f *Flows) Tell(r *telemetry.Reading) {
	f.flows.Each(func(n name, flow *Flow) {
		of := []attribute.KeyValue{telemetry.App.String(n.app), telemetry.Topic.String(n.topic)}
		sent := append(sending(), of...)
		acked, dropped, failed := flow.Acked.Load()+flow.Known.Load(), flow.Dropped.Load(), uint64(0)
		flow.Failed.Each(func(_ string, n *atomic.Uint64) { failed += n.Load() })
		attempted := flow.Attempted.Load() // after their fates: there are never more of these
		r.Count(telemetry.Attempted, int64(attempted), attribute.NewSet(of...))
		r.Count(telemetry.Outstanding, int64(attempted-acked-failed-dropped), attribute.NewSet(of...))
		r.Count(telemetry.Sent, int64(acked), attribute.NewSet(sent...))
		tally(r, telemetry.Sent, flow.Failed, sent)
		r.Count(telemetry.RetriedMessages, int64(flow.Retried.Load()), attribute.NewSet(of...))
		r.Count(telemetry.Dropped, int64(dropped), attribute.NewSet(of...))
		tally(r, telemetry.Letters, flow.Letters, of)
	})
	f.refused.Each(func(n name, refused *refusals) {
		of := []attribute.KeyValue{telemetry.App.String(n.app)}
		if n.topic != "" {
			of = append(of, telemetry.Topic.String(n.topic))
		}
		tally(r, telemetry.Refused, refused.byCode, of)
		r.Count(telemetry.RetryAfter, int64(refused.retryAfter.Load()), attribute.NewSet(of...))
	})
	f.apps.Each(func(app string, a *App) {
		of := []attribute.KeyValue{telemetry.App.String(app)}
		a.Sessions.tell(r, of[0])
		r.Count(telemetry.Unfollowed, int64(a.Unfollowed.Load()), attribute.NewSet(of...))
		for i := range waits {
			why := attribute.NewSet(append(of[:len(of):len(of)], telemetry.Reason.String(i.String()))...)
			r.Count(telemetry.CreditWaits, int64(a.Waits[i].Count.Load()), why)
			r.Time(telemetry.CreditWaited, time.Duration(a.Waits[i].Nanos.Load()), why)
		}
	})
}

func tally(r *telemetry.Reading, m *telemetry.Metric, t telemetry.Tally, of []attribute.KeyValue) {
	t.Each(func(code string, n *atomic.Uint64) {
		r.Count(m, int64(n.Load()), attribute.NewSet(append(of[:len(of):len(of)], telemetry.ErrorType.String(code))...))
	})
}
