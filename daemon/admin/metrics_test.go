//go:build unix

package admin

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/statesync/statesync/daemon"
	"github.com/statesync/statesync/docs/docpart"
	"github.com/statesync/statesync/shm"
)

func TestMetrics(t *testing.T) {
	f := healthy()
	a := start(t, f)
	if err := os.WriteFile(filepath.Join(filepath.Dir(a.path), shm.FileName), make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.UnixMilli(1_700_000_000_250)
	f.set(func(s *daemon.State) {
		s.LastSuccess, s.LastGood, s.Published, s.Turned = at, at.Add(time.Second), at.Add(2*time.Second), at.Add(3*time.Second)
	})
	code, header, text := a.do(http.MethodGet, "/metrics", nil)
	if code != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
		t.Error(code, header)
	}
	for _, line := range []string{
		`statesync_generation 3`,
		`statesync_config_info{digest="",revision="main@sha1:0123"} 1`,
		`statesync_config_last_reload_successful 1`,
		`statesync_config_last_reload_success_timestamp_seconds 1.70000000025e+09`,
		`statesync_source_last_good_timestamp_seconds 1.70000000125e+09`,
		`statesync_last_publication_timestamp_seconds 1.70000000225e+09`,
		`statesync_last_turn_timestamp_seconds 1.70000000325e+09`,
		`statesync_ready 1`, `statesync_configs 2`, `statesync_image_bytes 4096`, `statesync_image_limit_bytes 1.048576e+06`,
		`statesync_region_slots 4`, `statesync_region_bytes 8192`, `statesync_region_creations_total 1`,
		`statesync_region_losses_total 6`, `statesync_source_reads_total 8`, `statesync_source_errors_total 7`,
		`statesync_source_watch_errors_total 5`, `statesync_source_lag_seconds 0`, `statesync_publications_total 2`,
		`statesync_rejections_total{reason="invalid"} 9`, `statesync_rejections_total{reason="region"} 0`,
		`statesync_state_errors_total 4`, `statesync_fresh 1`, `statesync_converged 1`, `statesync_held 1`, `statesync_alarm 0`,
		`statesync_planning_seconds 0`, `statesync_layer_info{layer="base",version="dir@sha256:01"} 1`, `statesync_layer_ok{layer="base"} 1`,
		`statesync_layer_errors_total{layer="base"} 7`, `statesync_publish_duration_seconds_count 0`,
		`statesync_webhook_requests_total{result="accepted"} 10`, `statesync_webhook_requests_total{result="refused"} 11`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("there is no line %s", line)
		}
	}
	for _, part := range []string{`statesync_build_info{goversion="go`, `version="v1.2.3"} 1`, "\ngo_goroutines ", "\nprocess_resident_memory_bytes "} {
		if !strings.Contains(text, part) {
			t.Errorf("the metrics lack %s", part)
		}
	}

	// Something is wrong, and has been wrong for a minute.
	f.set(func(s *daemon.State) { s.Converged, s.Behind = false, time.Now().Add(-time.Minute) })
	_, text = a.get("/metrics")
	if !strings.Contains(text, "\nstatesync_config_last_reload_successful 0\n") || !strings.Contains(text, "\nstatesync_source_lag_seconds 6") {
		t.Error(text)
	}

	// What never happened has no time, and without a generation there is no series.
	f.set(func(s *daemon.State) { *s = daemon.State{} })
	code, text = a.get("/metrics")
	if code != http.StatusOK || strings.Contains(text, "statesync_config_info{") || !strings.Contains(text, "\nstatesync_generation 0\n") {
		t.Error(code, text)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "statesync_") && strings.Contains(line, "timestamp") {
			t.Error(line)
		}
	}
}

func TestPublishDuration(t *testing.T) {
	f := healthy()
	f.set(func(s *daemon.State) {
		s.Took.Total, s.Took.Sum = 2, time.Hour+3*time.Millisecond
		s.Took.Counts[4] = 1 // of 2 to 4 ms; the other one is in no bucket
	})
	s := New(f, options(t.TempDir()))
	families, err := s.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "statesync_publish_duration_seconds" {
			continue
		}
		h := family.GetMetric()[0].GetHistogram()
		if h.GetSampleCount() != 2 || h.GetSampleSum() != 3600.003 || h.GetBucket()[3].GetCumulativeCount() != 0 ||
			h.GetBucket()[4].GetCumulativeCount() != 1 {
			t.Error(h)
		}
		return
	}
	t.Error("there is no histogram")
}

// The names, units and help texts are as Prometheus wants them, and a revision
// can't put anything between the lines.
func TestMetricsAreClean(t *testing.T) {
	f := healthy()
	f.set(func(s *daemon.State) {
		s.Revision = "a\"b\\c\nstatesync_generation 99\n\xff\x1b[2J\u202e" + strings.Repeat("ß", 5000)
	})
	code, text := start(t, f).get("/metrics")
	if code != http.StatusOK || !utf8.ValidString(text) || strings.Contains(text, "\nstatesync_generation 99") || len(text) > 32<<10 {
		t.Error(code, text)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	cmd := exec.Command(promtool(t), "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// The document has each metric, with its type and help.
func TestMetricsAreDocumented(t *testing.T) {
	f := healthy()
	a := start(t, f)
	if err := os.WriteFile(filepath.Join(filepath.Dir(a.path), shm.FileName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, text := a.get("/metrics")
	var rows strings.Builder
	rows.WriteString("| metric | type | is |\n| --- | --- | --- |\n")
	help, labels := map[string]string{}, map[string]string{}
	for _, of := range regexp.MustCompile(`(?m)^(statesync_\w+)\{(.*)\} `).FindAllStringSubmatch(text, -1) {
		names := regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(of[2], -1)
		all := make([]string, len(names))
		for i := range names {
			all[i] = names[i][1]
		}
		labels[of[1]] = "{" + strings.Join(all, ",") + "}"
	}
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), " ", 4)
		if fields[0] != "#" || !strings.HasPrefix(fields[2], namespace) {
			continue
		}
		switch name := fields[2]; fields[1] {
		case "HELP":
			help[name] = strings.TrimSuffix(fields[3], ".")
		case "TYPE":
			fmt.Fprintf(&rows, "| `%s%s` | %s | %s |\n", name, labels[name], fields[3], help[name])
		}
	}
	docpart.Check(t, "../../docs/CONFIGURATION.md", "metrics", rows.String())
}
