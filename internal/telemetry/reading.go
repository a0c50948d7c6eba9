package telemetry

import (
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Reading is one collection: what a part tells when somebody asks.
type Reading struct {
	to     metric.Observer
	known  map[*Metric]metric.Observable
	apart  *apart
	joined map[joined]float64
}

// joined is what values have in common that are told as one.
type joined struct {
	metric *Metric
	set    attribute.Set
}

// Count tells a whole number.
func (r *Reading) Count(m *Metric, v int64, set attribute.Set) {
	if o, ok := r.known[m].(metric.Int64Observable); ok {
		r.to.ObserveInt64(o, v, metric.WithAttributeSet(set))
	}
}

// Time tells a duration.
func (r *Reading) Time(m *Metric, d time.Duration, set attribute.Set) { r.float(m, d.Seconds(), set) }

// Share tells a part of a whole, which is 1.
func (r *Reading) Share(m *Metric, v float64, set attribute.Set) { r.float(m, v, set) }

func (r *Reading) float(m *Metric, v float64, set attribute.Set) {
	if o, ok := r.known[m].(metric.Float64Observable); ok {
		r.to.ObserveFloat64(o, v, metric.WithAttributeSet(set))
	}
}

// finish tells what was joined.
func (r *Reading) finish() {
	for j, v := range r.joined {
		if j.metric.seconds() {
			r.float(j.metric, v, j.set)
		} else {
			r.Count(j.metric, int64(v), j.set)
		}
	}
	r.apart.forget()
}

// Place is a partition.
type Place struct {
	Topic     string
	Partition int32
}

// otherPlaces is the key of all partitions that a [Bound] does not tell apart.
var otherPlaces = Place{Other, -1}

// NewByPartition is a [Bound] of partitions that were seen at any time, as many as one collection
// tells apart.
func NewByPartition[V any](create func(Place) V) *Bound[Place, V] {
	return NewBound(MaxPartitions, otherPlaces, create)
}

// PlaceOf is the key of a partition in such a bound: of all of its topic where partitions are not
// told apart, or those that come late would lose the name of their topic.
func (p *Part) PlaceOf(topic string, partition int32) Place {
	if p.partitions == 0 {
		partition = 0
	}
	return Place{topic, partition}
}

// apart are the partitions that are told apart: those that came first, as long as they are told at
// each collection, so that a series does not come and go.
type apart struct {
	most  int
	now   uint64 // the collection's number
	since map[Place]uint64
}

func (a *apart) take(p Place) bool {
	if _, known := a.since[p]; !known && len(a.since) >= a.most {
		return false
	}
	a.since[p] = a.now
	return true
}

func (a *apart) forget() {
	for p, told := range a.since {
		if told != a.now {
			delete(a.since, p)
		}
	}
}

// AtPartition tells values of one partition in one collection.
type AtPartition struct {
	r     *Reading
	apart bool
	set   attribute.Set
}

// Partition begins with a partition; its values have these attributes, too.
func (r *Reading) Partition(topic string, partition int32, more ...attribute.KeyValue) AtPartition {
	p := Place{topic, partition}
	return r.at(p, r.apart.take(p), more)
}

// Place begins with what a [Bound] of [NewByPartition] has: as the bound tells them apart, they
// take no place of those that are there now.
func (r *Reading) Place(p Place, more ...attribute.KeyValue) AtPartition {
	return r.at(p, p != otherPlaces && r.apart.most > 0, more)
}

func (r *Reading) at(p Place, apart bool, more []attribute.KeyValue) AtPartition {
	at := AtPartition{r: r, apart: apart}
	switch {
	case at.apart:
		more = append(more, Topic.String(p.Topic), Partition.String(strconv.Itoa(int(p.Partition))))
	case r.apart.most == 0:
		more = append(more, Topic.String(p.Topic))
	default:
		more = append(more, Topic.String(Other), Partition.String(Other))
	}
	at.set = attribute.NewSet(more...)
	return at
}

// Count tells a whole number.
func (at AtPartition) Count(m *Metric, v int64) {
	if at.apart {
		at.r.Count(m, v, at.set)
	} else {
		at.join(m, float64(v))
	}
}

// Time tells a duration.
func (at AtPartition) Time(m *Metric, d time.Duration) {
	if at.apart {
		at.r.Time(m, d, at.set)
	} else {
		at.join(m, d.Seconds())
	}
}

func (at AtPartition) join(m *Metric, v float64) {
	if at.r.joined == nil {
		at.r.joined = make(map[joined]float64)
	}
	key := joined{m, at.set}
	if have, ok := at.r.joined[key]; ok && m.Fold == Most {
		v = max(v, have)
	} else {
		v += have
	}
	at.r.joined[key] = v
}
