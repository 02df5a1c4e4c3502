package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A tenant's region is read by pods that have its group, and by no others.
func TestTenant(t *testing.T) {
	needCluster(t)
	startDaemon(t, "kubernetes/overlays/tenant", "tenant", 1500)
	member := func(namespace, group string) {
		apply(t, "kubernetes/examples/hostpath", namespace, fmt.Sprintf(`
patches:
  - target: {kind: Deployment, name: app}
    patch: |
      - op: add
        path: /spec/template/spec/containers/0/env
        value: [{name: STATESYNC_REGION, value: %[1]s}]
      - op: add
        path: /spec/template/spec/initContainers/0/env
        value: [{name: STATESYNC_REGION, value: %[1]s}]
      - op: replace
        path: /spec/template/spec/initContainers/0/command
        value: [/statesync, wait, --timeout=10s, --verbose]
      - op: add
        path: /spec/template/spec/securityContext/supplementalGroups
        value: [%s]
`, regionOf("tenant"), group))
	}
	const ours, theirs = "statesync-e2e-app-tenant", "statesync-e2e-app-stranger"
	member(ours, "48001")
	kubectl(t, "-n", ours, "rollout", "status", "deployment/app", "--timeout=3m")
	t.Log(follow(t, ours).reads(t, time.Now()))
	member(theirs, "48002")
	until(t, "the stranger's pod to be refused", func() bool {
		log, err := try("", "-n", theirs, "logs", "deployment/app", "-c", "wait-for-config")
		if err == nil && strings.Contains(log, "permission denied") {
			t.Log(log)
			return true
		}
		return false
	})
}

// Each change of the configs rolls the daemons, and a mistake stops at the first.
func TestStaged(t *testing.T) {
	needCluster(t)
	const name = "staged"
	d := &daemon{"statesync-e2e-" + name, "daemonset/statesyncd", "app.kubernetes.io/name=statesyncd"}
	set := func(elo int) (at time.Time) {
		apply(t, "kubernetes/overlays/hostpath", d.namespace, fmt.Sprintf(`
components: [COMPONENTS/staged]
configMapGenerator:
  - name: statesyncd-settings
    behavior: merge
    literals: [STATESYNC_REGION=%s, STATESYNC_STATE_DIR=/var/lib/statesync/e2e-%s]
  - name: statesync-config
    literals: ["matchmaker.yaml={weights: {elo: %d}, max_wait: 30s, pools: []}", 'matchmaker.schema.json={"properties": {"weights": {"properties": {"elo": {"maximum": 5000}}}}}']
`, regionOf(name), name, elo))
		return time.Now()
	}
	set(1500)
	kubectl(t, "-n", d.namespace, "rollout", "status", d.object, "--timeout=3m")
	startApplication(t, "hostpath", "statesync-e2e-app-staged", regionOf(name))
	r := follow(t, "statesync-e2e-app-staged")
	r.saw(t, 1500)
	changed := set(1501)
	t.Logf("ConfigMap to application: %.1f s", r.saw(t, 1501).Sub(changed).Seconds())
	kubectl(t, "-n", d.namespace, "rollout", "status", d.object, "--timeout=3m")
	began := set(9000)
	d.after(t, "a problem in the status", func(s status) bool { return s.Problem != "" })
	until(t, "the pod not to be ready", func() bool { return !thePod(t, d.namespace).Status.ContainerStatuses[0].Ready })
	if _, err := try("", "-n", d.namespace, "rollout", "status", d.object, "--timeout=40s"); err == nil {
		t.Error("the rollout continued with a mistake")
	} else {
		t.Log(err)
	}
	r.undisturbed(t, began, 1501)
	set(1502)
	r.saw(t, 1502)
}
