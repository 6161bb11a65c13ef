package gateway

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"modelmanager.dev/internal/activity"
)

// metrics shows the gateway's own counts to Prometheus. They are read when
// somebody scrapes; a call pays for no label. Only the first Limits.Labels
// active versions have labels of their own, the others are counted together
// under the empty model.
type metrics struct {
	g *Gateway

	activations, overflow, retries counter
	descriptions
}

type descriptions struct {
	requests, latency, inFlight, waiting, ready, active  *prometheus.Desc
	activation, refused, retried, shadow, shadowCompared *prometheus.Desc
}

func newMetrics(g *Gateway) *metrics {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("modelmanager_gateway_"+name, help, labels, nil)
	}
	return &metrics{g: g, descriptions: descriptions{
		requests:       describe("requests_total", "Predictions answered, by class of status; class 0: the caller got no answer.", "model", "version", "class"),
		latency:        describe("request_seconds", "How long predictions took.", "model", "version"),
		inFlight:       describe("in_flight", "Predictions under way.", "model", "version"),
		waiting:        describe("waiting", "Predictions that wait for a version to start.", "model", "version"),
		ready:          describe("ready_replicas", "Replicas that take calls.", "model", "version"),
		active:         describe("active_versions", "Versions that have replicas or had calls lately."),
		activation:     describe("activations_total", "Calls that had to wait for a replica."),
		refused:        describe("refused_total", "Calls refused because a queue was full."),
		retried:        describe("retries_total", "Calls sent to a second replica."),
		shadow:         describe("shadow_total", "Calls copied to a shadow version, by what became of them.", "result"),
		shadowCompared: describe("shadow_compared_total", "Sampled answers of shadow versions.", "result"),
	}}
}

// Describe sends the descriptions.
func (m *metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.requests, m.latency, m.inFlight, m.waiting, m.ready, m.active,
		m.activation, m.refused, m.retried, m.shadow, m.shadowCompared,
	} {
		to <- d
	}
}

// Collect sends the counts.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	count := func(d *prometheus.Desc, value int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	active := 0
	m.g.table.mu.Lock() // or a version that is forgotten meanwhile would count nowhere, or twice
	defer m.g.table.mu.Unlock()
	rest := m.g.table.rest
	m.g.table.eachVersion(func(v *version) {
		active++
		if !v.labelled {
			v.counter.AddTo(&rest)
			return
		}
		model, number := v.ref.Model, strconv.Itoa(v.ref.Version)
		var own activity.Totals
		v.counter.AddTo(&own)
		m.calls(to, &own, model, number)
		gauge(m.inFlight, float64(v.calls.Load()), model, number)
		gauge(m.waiting, float64(v.waiting.Load()), model, number)
		gauge(m.ready, float64(len(*v.ready.Load())), model, number)
	})
	m.calls(to, &rest, "", "")
	gauge(m.active, float64(active))
	count(m.activation, m.activations.Load())
	count(m.refused, m.overflow.Load())
	count(m.retried, m.retries.Load())
	s := m.g.shadows
	count(m.shadow, s.replayed.Load(), "replayed")
	count(m.shadow, s.dropped.Load(), "dropped")
	count(m.shadow, s.failed.Load(), "failed")
	count(m.shadowCompared, s.equal.Load(), "equal")
	count(m.shadowCompared, s.different.Load(), "different")
}

func (m *metrics) calls(to chan<- prometheus.Metric, totals *activity.Totals, model, version string) {
	for class, n := range totals.Classes {
		if n > 0 {
			to <- prometheus.MustNewConstMetric(m.requests, prometheus.CounterValue, float64(n), model, version, strconv.Itoa(class)+className[min(class, 1)])
		}
	}
	if atMost, calls := totals.Histogram(); calls > 0 {
		to <- prometheus.MustNewConstHistogram(m.latency, calls, totals.Sum.Seconds(), atMost, model, version)
	}
}

// className is what follows the first digit of a status: 0, or 2xx.
var className = [2]string{"", "xx"}
