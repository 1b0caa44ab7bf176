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
	failures *prometheus.CounterVec // by stage, class, reason class only
	seconds  *prometheus.HistogramVec
	batch    *prometheus.HistogramVec
	inHand   *prometheus.GaugeVec
	held     *prometheus.GaugeVec
	halted   *prometheus.GaugeVec
	full     *prometheus.GaugeVec
	backlog  *prometheus.GaugeVec
	parked   *prometheus.GaugeVec
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
			Help: "Messages by outcome: in, out, done, retried, dead, released.",
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
		inHand:  gauge("sluice_stage_in_hand", "Messages pulled and not yet acknowledged by this process."),
		held:    gauge("sluice_stage_held", "Messages waiting in hand for money, quota or configuration."),
		halted:  gauge("sluice_stage_halted", "1 while the stage's own configuration stops it."),
		full:    gauge("sluice_stage_backpressure", "Messages waiting because a downstream stream is full."),
		backlog: gauge("sluice_stage_backlog", "Messages in the stream that were not delivered yet."),
		parked:  gauge("sluice_stage_pending", "Messages delivered to any replica and not yet acknowledged."),
	}
	m.Registry.MustRegister(m.messages, m.failures, m.seconds, m.batch, m.inHand, m.held, m.halted, m.full,
		m.backlog, m.parked, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}
