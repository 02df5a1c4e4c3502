package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// flux is the chain from a Git repository to an application, with the
// measuring points on its way.
type flux struct {
	*daemon
	work string // a clone of the repository
	app  *reader
}

// TestFlux pushes commits, good ones and bad ones, and says what each hop of
// their way took.
func TestFlux(t *testing.T) {
	needCluster(t)
	if *gitPush == "" || *gitPull == "" {
		t.Skip("this needs a Git repository: -git-push and -git-pull")
	}
	if _, err := try("", "get", "crd", "kustomizations.kustomize.toolkit.fluxcd.io"); err != nil {
		t.Skipf("this needs Flux in the cluster: %v", err)
	}
	const name = "flux"
	f := &flux{daemon: &daemon{"statesync-e2e-flux", "daemonset/statesyncd", "app.kubernetes.io/name=statesyncd"}, work: t.TempDir()}
	apply(t, "kubernetes/overlays/hostpath", f.namespace, fmt.Sprintf(`
configMapGenerator:
  - name: statesyncd-settings
    behavior: merge
    literals: [STATESYNC_REGION=%s, STATESYNC_STATE_DIR=/var/lib/statesync/e2e-%s]
`, regionOf(name), name))
	f.git(t, "init", "-q", "-b", "main")
	if err := os.CopyFS(f.work, os.DirFS(configs)); err != nil {
		t.Fatal(err)
	}
	f.push(t, 1500)
	chain := overlay(t, "flux", f.namespace, fmt.Sprintf(`
patches:
  - target: {kind: GitRepository}
    patch: '[{"op": "replace", "path": "/spec/url", "value": %q}]'
  - target: {kind: Kustomization}
    patch: '[{"op": "replace", "path": "/spec/targetNamespace", "value": %q}]'
`, *gitPull, f.namespace))
	if _, err := try(chain, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	until(t, "the ConfigMap", func() bool {
		_, err := try("", "-n", f.namespace, "get", "configmap", "statesync-config")
		return err == nil
	})
	kubectl(t, "-n", f.namespace, "rollout", "status", f.object, "--timeout=4m")
	startApplication(t, "hostpath", "statesync-e2e-app-flux", regionOf(name))
	f.app = follow(t, "statesync-e2e-app-flux")
	f.app.saw(t, 1500)

	elo := 1500
	for range 3 {
		elo++
		f.hops(t, elo, false)
	}
	for range 3 {
		elo++
		f.hops(t, elo, true)
	}
	t.Run("edit by hand", func(t *testing.T) {
		began := f.set(t, 4000)
		until(t, "the end of the edit", func() bool { return strings.Contains(f.configMap(t), fmt.Sprintf("elo: %d", elo)) })
		t.Logf("undone after %.1f s", time.Since(began).Seconds())
	})
	t.Run("commit that does not build", func(t *testing.T) {
		f.refused(t, elo, "kustomization.yaml", "flags.toml", "missing.toml", "missing.toml")
	})
	t.Run("commit that oversteps", func(t *testing.T) {
		f.refused(t, elo, "kustomization.yaml", "configMapGenerator:", "resources: [pod.yaml]\nconfigMapGenerator:", "forbidden")
	})
	t.Run("commit with a mistake", func(t *testing.T) {
		was, began := f.after(t, "the daemon", func(s status) bool { return s.Alive }), time.Now()
		f.push(t, 9000)
		until(t, "the ConfigMap", func() bool { return strings.Contains(f.configMap(t), "elo: 9000") })
		f.nudge(t)
		s := f.after(t, "a problem in the status", func(s status) bool { return s.Problem != "" })
		t.Logf("%.1f s after the push, the status says: %s", time.Since(began).Seconds(), s.Problem)
		if s.Generation != was.Generation {
			t.Errorf("the generation became %d, from %d", s.Generation, was.Generation)
		}
		f.app.undisturbed(t, began, elo)
	})
	f.hops(t, elo+1, true)
}

// hops pushes a value, and says when it was where.
func (f *flux) hops(t *testing.T, elo int, nudge bool) {
	t.Helper()
	pushed := time.Now()
	revision := f.push(t, elo)
	f.wait(t, "gitrepository/statesync-config", "{.status.artifact.revision}="+revision)
	fetched := time.Now()
	f.wait(t, "kustomization/statesync-config", "{.status.lastAppliedRevision}="+revision)
	applied, how := time.Now(), "the kubelet's own time"
	if nudge {
		f.nudge(t)
		how = "the daemon's pod annotated"
	}
	arrived := f.app.saw(t, elo)
	published, saw := f.published(t), f.sawAt(t, elo)
	t.Logf("push to value %.1f s: fetched %.1f s, applied %.1f s, published %.1f s (%s), seen %.1f ms after the daemon logged that",
		arrived.Sub(pushed).Seconds(), fetched.Sub(pushed).Seconds(), applied.Sub(fetched).Seconds(),
		arrived.Sub(applied).Seconds(), how, float64(saw.Sub(published).Microseconds())/1000)
}

// published returns when the daemon published last, by the node's clock.
func (f *flux) published(t *testing.T) (at time.Time) {
	t.Helper()
	for l := range strings.Lines(kubectl(t, "-n", f.namespace, "logs", "-l", f.selector, "-c", "statesyncd", "--tail=20")) {
		var entry struct {
			Time time.Time
			Msg  string
		}
		if json.Unmarshal([]byte(l), &entry) == nil && entry.Msg == "published" {
			at = entry.Time
		}
	}
	return at
}

// sawAt returns when the application saw a value, by the node's clock.
func (f *flux) sawAt(t *testing.T, elo int) time.Time {
	t.Helper()
	form := regexp.MustCompile(`^saw (\d+): .* weights\.elo ` + strconv.Itoa(elo) + `$`)
	for _, l := range f.app.since(time.Time{}) {
		if m := form.FindStringSubmatch(l.text); m != nil {
			ns, _ := strconv.ParseInt(m[1], 10, 64)
			return time.Unix(0, ns)
		}
	}
	t.Fatalf("it did not see %d", elo)
	return time.Time{}
}

// refused pushes a change of a file that Flux can't apply, waits until it says
// so, and takes it back.
func (f *flux) refused(t *testing.T, elo int, file, old, instead, word string) {
	t.Helper()
	path := filepath.Join(f.work, file)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: intruder}\nspec: {hostPID: true, containers: [{name: x, image: x}]}\n"
	for name, text := range map[string]string{path: strings.Replace(string(good), old, instead, 1), filepath.Join(f.work, "pod.yaml"): pod} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	was, began := f.configMap(t), time.Now()
	f.push(t, elo+100)
	var said string
	until(t, "Ready=False", func() bool {
		said = kubectl(t, "-n", f.namespace, "get", "kustomization.kustomize.toolkit.fluxcd.io", "statesync-config", "-o",
			`jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} {.message}{end}`)
		return strings.HasPrefix(said, "False") && strings.Contains(said, word)
	})
	t.Logf("%.1f s after the push, Ready is %s", time.Since(began).Seconds(), said)
	if now := f.configMap(t); now != was {
		t.Errorf("the ConfigMap became %s", now)
	}
	f.app.undisturbed(t, began, elo)
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(f.work, "pod.yaml")); err != nil {
		t.Fatal(err)
	}
	f.wait(t, "kustomization/statesync-config", "{.status.lastAppliedRevision}="+f.push(t, elo))
}

func (f *flux) configMap(t *testing.T) string {
	t.Helper()
	return kubectl(t, "-n", f.namespace, "get", "configmap", "statesync-config", "-o", "jsonpath={.data}")
}

// wait waits until an object of Flux's has a field.
func (f *flux) wait(t *testing.T, object, field string) {
	t.Helper()
	kind, name, _ := strings.Cut(object, "/")
	group := map[string]string{"gitrepository": ".source.toolkit.fluxcd.io/", "kustomization": ".kustomize.toolkit.fluxcd.io/"}[kind]
	kubectl(t, "-n", f.namespace, "wait", kind+group+name, "--for=jsonpath="+field, "--timeout=3m")
}

// push commits everything, with a value, and returns Flux's name of the commit.
func (f *flux) push(t *testing.T, elo int) string {
	t.Helper()
	path := filepath.Join(f.work, "matchmaker.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`elo: \d+`).ReplaceAll(text, fmt.Appendf(nil, "elo: %d", elo))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	f.git(t, "add", "-A")
	f.git(t, "-c", "user.name=e2e", "-c", "user.email=e2e@localhost", "commit", "-q", "--allow-empty", "-m", fmt.Sprintf("Set elo to %d", elo))
	f.git(t, "push", "-q", "--force", *gitPush, "main")
	return "main@sha1:" + f.git(t, "rev-parse", "HEAD")
}

func (f *flux) git(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("git", append([]string{"-C", f.work}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
