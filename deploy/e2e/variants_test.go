package e2e

import (
	"strings"
	"testing"
	"time"
)

func TestHostIPC(t *testing.T) { tryVariant(t, "kubernetes/base", "hostipc") }

func TestHostPath(t *testing.T) { tryVariant(t, "kubernetes/overlays/hostpath", "hostpath") }

// tryVariant is a day in the life of a node: an application of another user
// reads what the DaemonSet publishes, while that one is killed, rolled and given
// a mistake.
func tryVariant(t *testing.T, folder, name string) {
	needCluster(t)
	d := startDaemon(t, folder, name, 1500)
	namespace := "statesync-e2e-app-" + name
	startApplication(t, name, namespace, regionOf(name))
	r := follow(t, namespace)
	t.Log(r.reads(t, time.Now()))
	r.saw(t, 1500)
	app := thePod(t, namespace)
	before := d.after(t, "the daemon's status", func(s status) bool { return s.Alive })

	t.Run("no syscalls", func(t *testing.T) { countSyscalls(t, d, app, r) })
	t.Run("change", func(t *testing.T) {
		changed := d.set(t, 1501)
		t.Logf("ConfigMap to application: %.1f s", r.saw(t, 1501).Sub(changed).Seconds())
		changed = d.set(t, 1502)
		d.nudge(t)
		t.Logf("ConfigMap to application, the daemon's pod annotated: %.1f s", r.saw(t, 1502).Sub(changed).Seconds())
	})
	t.Run("killed", func(t *testing.T) {
		began := time.Now()
		kubectl(t, "-n", d.namespace, "delete", "pods", "-l", d.selector, "--grace-period=0", "--force")
		s := d.after(t, "another daemon", func(s status) bool { return s.Alive && !s.Started.Equal(before.Started) })
		t.Logf("killed, and another daemon continues with generation %d: %.1f s", s.Generation, time.Since(began).Seconds())
		sameRegion(t, before, s)
		r.undisturbed(t, began, 1502)
	})
	t.Run("rolled", func(t *testing.T) {
		began := time.Now()
		kubectl(t, "-n", d.namespace, "rollout", "restart", d.object)
		kubectl(t, "-n", d.namespace, "rollout", "status", d.object, "--timeout=3m")
		t.Logf("rolled: %.1f s", time.Since(began).Seconds())
		sameRegion(t, before, d.after(t, "another daemon", func(s status) bool { return s.Alive && s.Started.After(before.Started) }))
		r.undisturbed(t, began, 1502)
		d.set(t, 1503)
		d.nudge(t)
		r.saw(t, 1503)
	})
	t.Run("mistake", func(t *testing.T) {
		was, began := d.after(t, "the daemon", func(s status) bool { return s.Alive }), time.Now()
		d.write(t, "weights: {elo: 9000}\nmax_wait: 30s\npools: [{name: ranked, size: 10}]\n")
		d.nudge(t)
		s := d.after(t, "a problem in the status", func(s status) bool { return s.Problem != "" })
		t.Logf("the status says: %s", s.Problem)
		if s.Generation != was.Generation {
			t.Errorf("the generation became %d, from %d", s.Generation, was.Generation)
		}
		log := kubectl(t, "-n", d.namespace, "logs", "-l", d.selector, "-c", "statesyncd", "--tail=50")
		if i := strings.Index(log, `"msg":"refused"`); i < 0 {
			t.Errorf("the log says nothing of it:\n%s", log)
		}
		r.undisturbed(t, began, 1503)
		d.set(t, 1504)
		d.nudge(t)
		r.saw(t, 1504)
		d.after(t, "the end of the problem", func(s status) bool { return s.Problem == "" })
	})
	if now := thePod(t, namespace); now.Metadata.UID != app.Metadata.UID || now.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the application was restarted: %+v", now)
	}
}

func sameRegion(t *testing.T, before, after status) {
	t.Helper()
	if after.RegionID != before.RegionID || after.Generation < before.Generation {
		t.Errorf("the region was %+v, and is %+v", before, after)
	}
}

// startApplication applies an example with another region.
func startApplication(t *testing.T, example, namespace, region string) {
	t.Helper()
	env := ""
	if region != "" {
		env = `
patches:
  - target: {kind: Deployment, name: app}
    patch: |
      - op: add
        path: /spec/template/spec/containers/0/env
        value: [{name: STATESYNC_REGION, value: ` + region + `}]
      - op: add
        path: /spec/template/spec/initContainers/0/env
        value: [{name: STATESYNC_REGION, value: ` + region + `}]
`
	}
	apply(t, "kubernetes/examples/"+example, namespace, env)
	kubectl(t, "-n", namespace, "rollout", "status", "deployment/app", "--timeout=3m")
}
