// Package metrics shows Prometheus how a program's reading of its configuration is
// doing. Copy it into your program: package client itself has nothing to do with
// Prometheus. examples/service serves it at /metrics.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/statesync/statesync/client"
)

// Collector offers a client's Stats to Prometheus.
type Collector struct{ client *client.Client }

// NewCollector makes the collector of a client, which is registered once.
func NewCollector(c *client.Client) Collector { return Collector{c} }

const prefix = "statesync_client_"

var (
	generation  = prometheus.NewDesc(prefix+"generation", "The generation of the newest snapshot; 0 is none.", nil, nil)
	daemonAlive = prometheus.NewDesc(prefix+"daemon_alive", "Whether the daemon's heart beats.", nil, nil)
	healthy     = prometheus.NewDesc(prefix+"healthy", "Whether the newest look at the region succeeded.", nil, nil)
	sourceAge   = prometheus.NewDesc(prefix+"source_age_seconds", "Since the daemon last found its source good.", nil, nil)
	refreshes   = prometheus.NewDesc(prefix+"refreshes_total", "Looks at a region that had changed, or seemed to.", nil, nil)
	retries     = prometheus.NewDesc(prefix+"retries_total", "Copies that had to begin anew.", nil, nil)
	faults      = prometheus.NewDesc(prefix+"faults_total", "Touches of memory that was gone.", nil, nil)
	rejections  = prometheus.NewDesc(prefix+"rejections_total", "Values that bindings rejected.", nil, nil)
	rejected    = prometheus.NewDesc(prefix+"rejected", "Bindings whose newest value is rejected now.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{generation, daemonAlive, healthy, sourceAge, refreshes, retries, faults, rejections, rejected} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (c Collector) Collect(out chan<- prometheus.Metric) {
	s := c.client.Stats()
	gauge := func(d *prometheus.Desc, v float64) { out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	counter := func(d *prometheus.Desc, n uint64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
	gauge(generation, float64(s.Generation))
	gauge(daemonAlive, truth(s.DaemonAlive))
	gauge(healthy, truth(s.Err == nil))
	if s.SourceLastGood >= 0 {
		gauge(sourceAge, s.SourceLastGood.Seconds())
	}
	counter(refreshes, s.Refreshes)
	counter(retries, s.Retries)
	counter(faults, s.Faults)
	counter(rejections, s.Rejections)
	gauge(rejected, float64(s.Rejected))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
