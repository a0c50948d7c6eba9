package baseline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxText bounds what is read of a metrics page: a broker with 10,000 partitions has a few MiB.
const maxText = 64 << 20

// Sample is a line of a metrics page in Prometheus' text format.
type Sample struct {
	Name   string // as it stands there
	labels string // between the braces
	Value  float64
}

// Label is the value of a label.
func (s Sample) Label(name string) string {
	rest := s.labels
	for rest != "" {
		key, after, ok := strings.Cut(rest, "=\"")
		if !ok {
			return ""
		}
		end := 0
		for end < len(after) && after[end] != '"' {
			if after[end] == '\\' {
				end++
			}
			end++
		}
		if end >= len(after) {
			return ""
		}
		if strings.TrimLeft(key, " ,") == name {
			return after[:end]
		}
		rest = after[end+1:]
	}
	return ""
}

// plain is the name without what exporters differ in: kafka_network_requestmetrics_requests_total
// and kafka_network_RequestMetrics_RequestsPerSec_Count are one metric.
func (s Sample) plain() string { return strings.ToLower(strings.ReplaceAll(s.Name, "_", "")) }

// ParseText reads a metrics page. Lines that are none are passed over.
func ParseText(text string) (out []Sample) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, labels, rest := line, "", ""
		if open := strings.IndexByte(line, '{'); open >= 0 {
			closing := strings.LastIndexByte(line, '}')
			if closing < open {
				continue
			}
			name, labels, rest = line[:open], line[open+1:closing], line[closing+1:]
		} else if space := strings.IndexAny(line, " \t"); space >= 0 {
			name, rest = line[:space], line[space:]
		}
		fields := strings.Fields(rest)
		if len(fields) == 0 {
			continue
		}
		v, err := strconv.ParseFloat(fields[0], 64)
		if err != nil || math.IsNaN(v) {
			continue
		}
		out = append(out, Sample{name, labels, v})
	}
	return out
}

// page reads a metrics page.
func page(ctx context.Context, url string) ([]Sample, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxText+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxText:
		return nil, fmt.Errorf("%s has more than %d MiB", url, maxText>>20)
	}
	return ParseText(string(data)), nil
}

// sum adds up the samples that match, nil if there are none.
func sum(list []Sample, match func(Sample) bool) *float64 {
	var total float64
	found := false
	for _, s := range list {
		if match(s) {
			total += s.Value
			found = true
		}
	}
	if !found {
		return nil
	}
	return &total
}

func named(names ...string) func(Sample) bool {
	return func(s Sample) bool { return slices.Contains(names, s.plain()) }
}

// Page is a broker whose JMX exporter, or another one, has a metrics page.
type Page struct{ Broker, URL string }

// Name implements BrokerSource.
func (p Page) Name() string { return p.Broker }

// Read implements BrokerSource. It knows the names that the JMX exporter gives by itself, and with
// the rules of its example for Kafka.
func (p Page) Read(ctx context.Context) (Reading, error) {
	list, err := page(ctx, p.URL)
	if err != nil {
		return Reading{}, err
	}
	return readPage(list, p.URL), nil
}

func readPage(list []Sample, from string) Reading {
	heap := func(s Sample) bool {
		return named("jvmmemoryusedbytes", "jvmmemorybytesused")(s) && s.Label("area") == "heap"
	}
	produce := func(s Sample) bool {
		name, ok := strings.CutPrefix(s.plain(), "kafkanetworkrequestmetricsrequests")
		return ok && slices.Contains([]string{"", "total", "count", "persec", "perseccount", "persectotal"}, name) && s.Label("request") == "Produce"
	}
	connections := func(s Sample) bool {
		return slices.Contains([]string{"kafkaserversocketservermetricsconnectioncount"}, s.plain())
	}
	return Reading{
		From: from, Connections: sum(list, connections), Produce: sum(list, produce), CPU: sum(list, named("processcpusecondstotal")),
		Heap: sum(list, heap), GC: sum(list, named("jvmgccollectionsecondssum")), Why: "not on the page " + from,
	}
}

// Histogram measures emits by a histogram of the apps: messaging.client.operation.duration, as
// Prometheus has it, of the operation send.
type Histogram struct{ URLs []string }

// Measure implements LatencySource.
func (h Histogram) Measure(ctx context.Context) (Latency, error) {
	before, err := h.buckets(ctx)
	if err != nil {
		return Latency{}, err
	}
	<-ctx.Done()
	after, err := h.buckets(context.WithoutCancel(ctx))
	if err != nil {
		return Latency{}, err
	}
	for le, n := range before {
		after[le] -= n
	}
	return quantiles(after, "messaging_client_operation_duration_seconds of "+strings.Join(h.URLs, ", ")), nil
}

func (h Histogram) buckets(ctx context.Context) (map[float64]float64, error) {
	out := map[float64]float64{}
	for _, url := range h.URLs {
		list, err := page(ctx, url)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			if s.Name != "messaging_client_operation_duration_seconds_bucket" || s.Label("messaging_operation_name") != "send" {
				continue
			}
			if le, err := strconv.ParseFloat(s.Label("le"), 64); err == nil {
				out[le] += s.Value
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no messaging_client_operation_duration_seconds of the operation send on these pages")
	}
	return out, nil
}

// quantiles reads cumulative buckets. Within one it does not guess: the figure is its upper bound.
func quantiles(buckets map[float64]float64, from string) Latency {
	bounds := make([]float64, 0, len(buckets))
	for le := range buckets {
		bounds = append(bounds, le)
	}
	slices.Sort(bounds)
	total := buckets[bounds[len(bounds)-1]]
	if total <= 0 {
		return NotMeasured("no emit in the window")
	}
	at := func(q float64) Figure {
		for _, le := range bounds {
			if buckets[le] >= q*total {
				if math.IsInf(le, 1) {
					return missing("ms", fmt.Sprintf("above the histogram's largest bucket, %g s", bounds[max(len(bounds)-2, 0)]))
				}
				return measured(le*1000, "ms", "at most, by "+from)
			}
		}
		return missing("ms", "the histogram does not add up")
	}
	return Latency{at(0.5), at(0.95), at(0.99)}
}
