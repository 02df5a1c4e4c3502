//go:build unix

package admin

import (
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/daemon/internal/httpd"
	"github.com/statesync/statesync/daemon/internal/plain"
	"github.com/statesync/statesync/shm"
)

const namespace = "statesync_"

// metrics are collected from the daemon's State at each scrape, so that they cost the
// daemon nothing.
type metrics struct {
	server   *Server
	registry *prometheus.Registry

	build, config                                  *prometheus.Desc
	generation, ready, configs                     *prometheus.Desc
	successful, success, turned                    *prometheus.Desc
	image, imageLimit                              *prometheus.Desc
	slots, regionBytes                             *prometheus.Desc
	created, lost                                  *prometheus.Desc
	reads, sourceErrors, watchErrors, good         *prometheus.Desc
	lag                                            *prometheus.Desc
	publications, published, rejected, stateErrors *prometheus.Desc
	took, planning, alarm                          *prometheus.Desc
	fresh, converged, held                         *prometheus.Desc
	pinned, overrides, waiting                     *prometheus.Desc
	history, historyBytes, historyFile             *prometheus.Desc
	layer, layerGood, layerOK, layerFailed         *prometheus.Desc
	webhook                                        *prometheus.Desc
}

func newMetrics(s *Server) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+name, help, labels, nil)
	}
	m := &metrics{
		server:       s,
		registry:     prometheus.NewRegistry(),
		took:         desc("publish_duration_seconds", "Time from the beginning of the look that found a change to its commit."),
		build:        desc("build_info", "The daemon's build, always 1.", "version", "goversion"),
		generation:   desc("generation", "The region's current generation; 0 is none."),
		config:       desc("config_info", "What the current generation came from, and what its content is, always 1.", "revision", "digest"),
		ready:        desc("ready", "Whether readers find a generation in the region."),
		turned:       desc("last_turn_timestamp_seconds", "When the daemon's loop last ended a turn, as it does each second."),
		successful:   desc("config_last_reload_successful", "Whether the source's newest revision is published."),
		success:      desc("config_last_reload_success_timestamp_seconds", "When the source's newest revision was last found to be published, changed or not."),
		configs:      desc("configs", "The configs of the current generation."),
		image:        desc("image_bytes", "The size of the current generation's image."),
		imageLimit:   desc("image_limit_bytes", "The greatest size that an image may have."),
		slots:        desc("region_slots", "The images that the region holds, the older ones included."),
		regionBytes:  desc("region_bytes", "The memory that the region's file takes."),
		created:      desc("region_creations_total", "Region files that were made."),
		lost:         desc("region_losses_total", "Region files that were found removed, replaced or damaged."),
		reads:        desc("source_reads_total", "Readings of the source."),
		sourceErrors: desc("source_errors_total", "Readings of the source that failed."),
		watchErrors:  desc("source_watch_errors_total", "Times that watching the source was impaired, so that changes are found later."),
		good:         desc("source_last_good_timestamp_seconds", "When the source was last valid, by this daemon or the one before it."),
		lag:          desc("source_lag_seconds", "For how long the source's newest revision has not been published; 0 when it is."),
		publications: desc("publications_total", "Generations that were committed."),
		published:    desc("last_publication_timestamp_seconds", "When the current generation was committed."),
		rejected:     desc("rejections_total", "Revisions that were refused, counted anew at each try.", "reason"),
		stateErrors:  desc("state_errors_total", "Failures to write the state directory: to reserve a generation, to record one or an act in the history."),
		planning:     desc("planning_seconds", "For how long a revision is being decoded and validated; 0 while none is."),
		alarm:        desc("alarm", "Whether something takes longer than it should, or the history cannot be written; the log and /healthz say what."),
		fresh:        desc("fresh", "Whether each source was looked at within --max-age."),
		converged:    desc("converged", "Whether what the sources come to is what is live."),
		held:         desc("held", "Whether an operator holds back what is newer, on purpose."),
		pinned:       desc("pin_timestamp_seconds", "When the pin was made that is in force."),
		overrides:    desc("overrides", "The overrides that have not lapsed."),
		waiting:      desc("waiting_configs", "The configs that would change if what waits behind a pin or a guard were published."),
		history:      desc("history_generations", "The generations that the history has."),
		historyBytes: desc("history_bytes", "What counts against --history-bytes."),
		historyFile:  desc("history_file_bytes", "The size of the history's file."),
		layer:        desc("layer_info", "Which version of each layer is in use, always 1.", "layer", "version"),
		layerGood:    desc("layer_last_good_timestamp_seconds", "When the newest of a layer was last found to be used.", "layer"),
		layerOK:      desc("layer_ok", "Whether the newest of a layer is in use.", "layer"),
		layerFailed:  desc("layer_errors_total", "Looks at a layer's source that failed.", "layer"),
		webhook:      desc("webhook_requests_total", "Requests of the webhook, by whether they were accepted or refused.", "result"),
	}
	m.registry.MustRegister(m, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// handler answers with all metrics.
func (m *metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: maxCollections,
		Timeout:             httpd.RequestTimeout,
		DisableCompression:  true,
	})
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		m.build, m.config, m.generation, m.ready, m.configs, m.successful, m.success, m.turned, m.image, m.imageLimit,
		m.slots, m.regionBytes, m.created, m.lost, m.reads, m.sourceErrors, m.watchErrors, m.good, m.lag,
		m.publications, m.published, m.rejected, m.stateErrors,
		m.took, m.planning, m.alarm, m.fresh, m.converged, m.held,
		m.pinned, m.overrides, m.waiting, m.history, m.historyBytes, m.historyFile, m.layer, m.layerGood, m.layerOK, m.layerFailed,
		m.webhook,
	} {
		descs <- d
	}
}

// Collect implements prometheus.Collector. What never happened has no time.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	s, o := m.server.daemon.State(), m.server.opt
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	at := func(d *prometheus.Desc, t time.Time, labels ...string) {
		if !t.IsZero() {
			gauge(d, float64(t.UnixMilli())/1e3, labels...)
		}
	}
	gauge(m.build, 1, plain.Line(o.Version, maxRevision), runtime.Version())
	gauge(m.generation, float64(s.Generation))
	if s.Generation > 0 {
		gauge(m.config, 1, plain.Line(s.Revision, maxRevision), s.Digest())
	}
	gauge(m.ready, truth(s.Ready))
	gauge(m.configs, float64(s.Configs))
	gauge(m.successful, truth(s.Converged))
	at(m.success, s.LastSuccess)
	at(m.turned, s.Turned)
	gauge(m.image, float64(s.Bytes))
	gauge(m.imageLimit, float64(o.MaxImage))
	gauge(m.slots, float64(o.Slots))
	if n, ok := allocated(filepath.Join(o.Region, shm.FileName)); ok {
		gauge(m.regionBytes, n)
	}
	counter(m.created, s.Regions)
	counter(m.lost, s.Losses)
	counter(m.reads, s.Looks)
	counter(m.sourceErrors, s.Refusals[daemon.ReasonSource])
	counter(m.watchErrors, s.WatchErrors)
	at(m.good, s.LastGood)
	lag := 0.0
	if !s.Behind.IsZero() {
		lag = time.Since(s.Behind).Seconds()
	}
	gauge(m.lag, lag)
	counter(m.publications, s.Publications)
	at(m.published, s.Published)
	for reason, n := range s.Refusals {
		if reason != daemon.ReasonSource { // counted above
			counter(m.rejected, n, string(reason))
		}
	}
	counter(m.stateErrors, s.StateErrors)
	out <- prometheus.MustNewConstHistogram(m.took, s.Took.Total, s.Took.Sum.Seconds(), s.Took.Buckets())
	planning := 0.0
	if !s.Planning.IsZero() {
		planning = time.Since(s.Planning).Seconds()
	}
	gauge(m.planning, planning)
	gauge(m.alarm, truth(s.Alarm != ""))
	gauge(m.fresh, truth(s.Fresh))
	gauge(m.converged, truth(s.Converged))
	gauge(m.held, truth(s.Held))
	if s.Pin != nil {
		at(m.pinned, s.Pin.Time)
	}
	gauge(m.overrides, float64(len(s.Overrides)))
	waiting := 0
	if s.Waiting != nil {
		waiting = s.Waiting.Changes.Added + s.Waiting.Changes.Changed + s.Waiting.Changes.Removed
	}
	gauge(m.waiting, float64(waiting))
	gauge(m.history, float64(s.History.Records))
	gauge(m.historyBytes, float64(s.History.Bytes))
	gauge(m.historyFile, float64(s.History.FileBytes))
	for _, l := range s.Layers {
		if l.Version != "" {
			gauge(m.layer, 1, l.Name, plain.Line(l.Version, maxRevision))
		}
		at(m.layerGood, l.Good, l.Name)
		gauge(m.layerOK, truth(l.Problem == "" && l.Newest == "" && l.Version != ""), l.Name)
		counter(m.layerFailed, l.Failed, l.Name)
	}
	if o.Webhook != nil {
		accepted, refused := o.Webhook()
		counter(m.webhook, accepted, "accepted")
		counter(m.webhook, refused, "refused")
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// allocated is what a file takes of its file system, in bytes: a region is
// sparse.
func allocated(path string) (bytes float64, ok bool) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return float64(st.Blocks) * 512, true
}
