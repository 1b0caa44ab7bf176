package stage

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Metrics are the Prometheus metrics of a process. Labels are bounded: IDs
// belong in logs and events.
type Metrics struct {
	Registry *prometheus.Registry

	messages *prometheus.CounterVec // by stage, outcome
	failures *prometheus.CounterVec // by stage, class
	seconds  *prometheus.HistogramVec
	batch    *prometheus.HistogramVec
	inHand   *prometheus.GaugeVec
	backlog  *prometheus.GaugeVec
	pending  *prometheus.GaugeVec
}

// stageMetrics are those of one stage.
type stageMetrics struct {
	in, out, done, retried, dead, released, waits, aside prometheus.Counter

	seconds, batch           prometheus.Observer
	inHand, backlog, pending prometheus.Gauge
	failures                 *prometheus.CounterVec
}

// NewMetrics returns the metrics in a registry of their own, with those of the
// Go runtime and the process.
func NewMetrics() *Metrics {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"stage"})
	}
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_stage_messages_total",
			Help: "Messages by outcome: in, out, done, retried, dead, released, waits (a wait began), aside (put into HELD).",
		}, []string{"stage", "outcome"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sluice_stage_failures_total", Help: "Failures of messages by class.",
		}, []string{"stage", "class"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_stage_seconds", Help: "Duration of one call of the stage's function.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 3, 13),
		}, []string{"stage"}),
		batch: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sluice_stage_batch_size", Help: "Messages in one call of the stage's function.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 12),
		}, []string{"stage"}),
		inHand:  gauge("sluice_stage_in_hand", "Messages taken by this process and not ended, those that wait included."),
		backlog: gauge("sluice_stage_backlog", "Messages in the stream that were not delivered yet."),
		pending: gauge("sluice_stage_pending", "Messages delivered to any replica and not yet acknowledged."),
	}
	m.Registry.MustRegister(m.messages, m.failures, m.seconds, m.batch, m.inHand, m.backlog, m.pending,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// of returns the metrics of a stage.
func (m *Metrics) of(stage string) *stageMetrics {
	count := func(outcome string) prometheus.Counter { return m.messages.WithLabelValues(stage, outcome) }
	return &stageMetrics{
		in: count("in"), out: count("out"), done: count("done"), retried: count("retried"), dead: count("dead"),
		released: count("released"), waits: count("waits"), aside: count("aside"),
		seconds: m.seconds.WithLabelValues(stage), batch: m.batch.WithLabelValues(stage),
		inHand: m.inHand.WithLabelValues(stage), backlog: m.backlog.WithLabelValues(stage), pending: m.pending.WithLabelValues(stage),
		failures: m.failures,
	}
}

// waitingMetrics are views of the waiting rooms, like everything that is said of
// them.
type waitingMetrics struct{ health *Health }

var (
	waitingDesc = prometheus.NewDesc("sluice_stage_waiting", "Messages in the hand of this process that wait, by the kind of what they wait for.", []string{"stage", "kind"}, nil)
	asideDesc   = prometheus.NewDesc("sluice_stage_aside", "Messages set aside in the stream HELD, by the kind of what they wait for; every replica tells those of all.", []string{"stage", "kind"}, nil)
	readyDesc   = prometheus.NewDesc("sluice_stage_ready", "1 if the stage runs, has what it needs, and waits for no store and no other configuration.", []string{"stage"}, nil)
)

// Describe is of prometheus.Collector.
func (w waitingMetrics) Describe(c chan<- *prometheus.Desc) {
	c <- waitingDesc
	c <- asideDesc
	c <- readyDesc
}

// Collect is of prometheus.Collector. A kind for which nothing waits is absent, or
// 0 if the configuration is what is asked for.
func (w waitingMetrics) Collect(c chan<- prometheus.Metric) {
	for _, s := range w.health.Stages() {
		kinds, aside := map[string]int{"config": 0}, map[string]int{}
		for _, x := range s.Waiting {
			kinds[x.Kind] += x.Count
			if aside[x.Kind] += x.Aside; x.Count+x.Aside == 0 {
				kinds[x.Kind]++ // what no message has met yet: a right that NATS does not give
			}
		}
		for kind, n := range aside {
			c <- prometheus.MustNewConstMetric(asideDesc, prometheus.GaugeValue, float64(n), s.Stage, kind)
		}
		for kind, n := range kinds {
			c <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(n), s.Stage, kind)
		}
		ready := 0.0
		if s.Ready {
			ready = 1
		}
		c <- prometheus.MustNewConstMetric(readyDesc, prometheus.GaugeValue, ready, s.Stage)
	}
}
