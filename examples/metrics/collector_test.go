package metrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/statesync/statesync/client"
	"github.com/statesync/statesync/client/clienttest"
)

func TestCollector(t *testing.T) {
	r := clienttest.New(t)
	r.Publish(map[string]any{"matchmaker": map[string]any{"weights": map[string]int{"elo": 1500}}})
	c, err := client.Open(r.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if elo := client.BindKey(c, "matchmaker", "weights.elo", 0).Get(); elo != 1500 {
		t.Error(elo)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(c))
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := answer.Body.String()
	for _, line := range []string{"statesync_client_generation 2", "statesync_client_healthy 1", "statesync_client_daemon_alive ", "statesync_client_rejections_total 0"} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("there is no line %s in\n%s", line, text)
		}
	}
	if problems, err := promlint.New(strings.NewReader(text)).Lint(); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}
