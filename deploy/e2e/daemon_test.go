package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// configs is where the test's configs come from.
const configs = "../flux/repository"

// daemon is a DaemonSet, or a sidecar, and its ConfigMap.
type daemon struct {
	namespace string
	object    string // that exec is told
	selector  string
}

// startDaemon applies one of the DaemonSet's folders with a region of its own.
func startDaemon(t *testing.T, folder, name string, elo int) *daemon {
	t.Helper()
	d := &daemon{"statesync-e2e-" + name, "daemonset/statesyncd", "app.kubernetes.io/name=statesyncd"}
	apply(t, folder, d.namespace, fmt.Sprintf(`
configMapGenerator:
  - name: statesyncd-settings
    behavior: merge
    literals:
      - STATESYNC_REGION=%s
      - STATESYNC_STATE_DIR=/var/lib/statesync/e2e-%s
`, regionOf(name), name))
	d.set(t, elo)
	kubectl(t, "-n", d.namespace, "rollout", "status", d.object, "--timeout=3m")
	return d
}

func regionOf(name string) string { return "/dev/shm/statesync/e2e-" + name }

// set makes the ConfigMap have a value, and returns when it has.
func (d *daemon) set(t *testing.T, elo int) time.Time {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(configs, "matchmaker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return d.write(t, strings.Replace(string(text), "elo: 1500", fmt.Sprintf("elo: %d", elo), 1))
}

// write makes the ConfigMap's matchmaker.yaml be a text.
func (d *daemon) write(t *testing.T, matchmaker string) time.Time {
	t.Helper()
	file := filepath.Join(t.TempDir(), "matchmaker.yaml")
	if err := os.WriteFile(file, []byte(matchmaker), 0o600); err != nil {
		t.Fatal(err)
	}
	text := kubectl(t, "create", "configmap", "statesync-config", "-n", d.namespace, "--dry-run=client", "-o", "yaml",
		"--from-file="+file, "--from-file="+configs+"/matchmaker.schema.json", "--from-file="+configs+"/flags.toml")
	if _, err := try(text, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	return time.Now()
}

// nudge makes the kubelets look at the daemon's volumes at once: they do so
// whenever a pod changes.
func (d *daemon) nudge(t *testing.T) {
	t.Helper()
	kubectl(t, "-n", d.namespace, "annotate", "pods", "-l", d.selector, "--overwrite", "statesync-nudge="+time.Now().UTC().Format("150405.000"))
}

// status is what statesync status says in the daemon's pod, as much of it as is
// looked at.
type status struct {
	RegionID   string    `json:"region_id"`
	Generation int       `json:"generation"`
	Started    time.Time `json:"writer_started"`
	Alive      bool      `json:"writer_alive"`
	Problem    string    `json:"problem"`
}

func (d *daemon) status() (s status, err error) {
	out, err := try("", "-n", d.namespace, "exec", d.object, "-c", "statesyncd", "--", "/statesync", "status", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	return s, err
}

// after waits for a status that fulfils a condition.
func (d *daemon) after(t *testing.T, what string, condition func(status) bool) (s status) {
	t.Helper()
	until(t, what, func() bool {
		var err error
		s, err = d.status()
		return err == nil && condition(s)
	})
	return s
}
