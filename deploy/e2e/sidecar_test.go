package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// The sidecar's namespace enforces restricted, and the application starts after
// there is something to read.
func TestSidecar(t *testing.T) {
	needCluster(t)
	d := &daemon{"statesync-e2e-sidecar", "deployment/app", "app.kubernetes.io/name=app"}
	apply(t, "kubernetes/examples/sidecar", d.namespace, "")
	d.set(t, 1500)
	kubectl(t, "-n", d.namespace, "rollout", "status", "deployment/app", "--timeout=3m")
	if level := kubectl(t, "get", "namespace", d.namespace, "-o", `jsonpath={.metadata.labels.pod-security\.kubernetes\.io/enforce}`); level != "restricted" {
		t.Fatalf("the namespace enforces %q", level)
	}
	app := thePod(t, d.namespace)
	sidecar, main := app.Status.InitContainerStatuses[0], app.Status.ContainerStatuses[0]
	if !sidecar.Started || sidecar.State.Running.StartedAt.After(main.State.Running.StartedAt) {
		t.Errorf("the sidecar is %+v, and the application %+v", sidecar, main)
	}
	if published := kubectl(t, "-n", d.namespace, "logs", app.Metadata.Name, "-c", "statesyncd", "--timestamps"); !strings.Contains(published, `"msg":"published in a new region"`) {
		t.Errorf("the sidecar published nothing:\n%s", published)
	} else {
		for l := range strings.Lines(published) {
			if at, _, _ := strings.Cut(l, " "); strings.Contains(l, "published in a new region") {
				t.Logf("published at %s; the application started at %s", at, main.State.Running.StartedAt.Format(time.RFC3339))
			}
		}
	}
	r := follow(t, d.namespace)
	t.Log(r.reads(t, time.Now()))
	changed := d.set(t, 1501)
	d.nudge(t)
	t.Logf("ConfigMap to application, its pod annotated: %.1f s", r.saw(t, 1501).Sub(changed).Seconds())
	pid := processOf(app, "statesyncd")
	if pid == 0 {
		t.Skip("the sidecar does not run on this machine, and can't be killed")
	}
	before, began := d.after(t, "the sidecar's status", func(s status) bool { return s.Alive }), time.Now()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	s := d.after(t, "another sidecar", func(s status) bool { return s.Alive && !s.Started.Equal(before.Started) })
	t.Logf("killed, and another sidecar continues with generation %d: %.1f s", s.Generation, time.Since(began).Seconds())
	sameRegion(t, before, s)
	r.undisturbed(t, began, 1501)
	if now := thePod(t, d.namespace); now.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Error("the application was restarted with its sidecar")
	}
}
