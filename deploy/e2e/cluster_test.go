package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	image    = flag.String("image", "", "the daemon's `image`, which the nodes have or can pull; without it all tests are skipped")
	appImage = flag.String("app-image", "", "the example application's `image`")
	gitPush  = flag.String("git-push", "", "where the test pushes to: an empty Git `repository`; without it Flux is not tried")
	gitPull  = flag.String("git-pull", "", "the same repository's `URL` as the cluster's Flux has it")
)

// patience is how long anything may take that no test measures. A kubelet brings
// a changed ConfigMap after two minutes at the latest, by default.
const patience = 4 * time.Minute

func needCluster(t *testing.T) {
	t.Helper()
	if *image == "" || *appImage == "" {
		t.Skip("this needs a cluster: make e2e-kubernetes")
	}
}

// try runs kubectl and returns what it printed.
func try(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := try("", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// get reads an object, or a list of them, into v.
func get(t *testing.T, v any, args ...string) {
	t.Helper()
	out := kubectl(t, append([]string{"get", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("kubectl get %v: %v", args, err)
	}
}

// until waits for a condition, for as long as patience allows.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// apply applies one of deploy's folders, as an overlay that says the rest: its
// namespace, which is deleted in the end, and the images.
func apply(t *testing.T, folder, namespace, more string) {
	t.Helper()
	text := overlay(t, folder, namespace, more)
	t.Cleanup(func() {
		if t.Failed() {
			explain(t, namespace)
		}
		if _, err := try("", "delete", "namespace", namespace, "--ignore-not-found", "--grace-period=1"); err != nil {
			t.Error(err)
		}
	})
	if _, err := try(text, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// overlay builds a folder with a namespace and the images.
func overlay(t *testing.T, folder, namespace, more string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs(filepath.Join("..", folder))
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(dir, source) // it takes no absolute paths
	if err != nil {
		t.Fatal(err)
	}
	more = strings.ReplaceAll(more, "COMPONENTS", strings.TrimSuffix(relative, folder)+"kubernetes/components")
	text := fmt.Sprintf("resources: [%s]\n%s", relative, more)
	if namespace != "" {
		text += fmt.Sprintf("\nnamespace: %s", namespace)
	}
	text += "\nimages:\n" + imageAs("statesync", *image) + imageAs("statesync-example-app", *appImage)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubectl(t, "kustomize", dir)
}

// imageAs is a line of a kustomization: another image in the place of a name.
func imageAs(name, image string) string {
	tag := "latest"
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		image, tag = image[:i], image[i+1:]
	}
	return fmt.Sprintf("  - {name: %s, newName: %s, newTag: %q}\n", name, image, tag)
}

// explain logs what a failed test leaves behind in a namespace.
func explain(t *testing.T, namespace string) {
	for _, args := range [][]string{
		{"get", "pods,daemonsets,deployments"},
		{"get", "events", "--sort-by=.lastTimestamp"},
		{"logs", "-l", "app.kubernetes.io/name", "--all-containers", "--prefix", "--tail=20"},
	} {
		out, err := try("", append([]string{"-n", namespace}, args...)...)
		t.Logf("kubectl -n %s %s: %v\n%s", namespace, strings.Join(args, " "), err, out)
	}
}

// A pod, as much of it as is looked at.
type pod struct {
	Metadata struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	} `json:"metadata"`
	Status struct {
		ContainerStatuses     []containerStatus `json:"containerStatuses"`
		InitContainerStatuses []containerStatus `json:"initContainerStatuses"`
	} `json:"status"`
}

type containerStatus struct {
	Name         string `json:"name"`
	RestartCount int    `json:"restartCount"`
	ContainerID  string `json:"containerID"`
	Ready        bool   `json:"ready"`
	Started      bool   `json:"started"`
	State        struct {
		Running struct {
			StartedAt time.Time `json:"startedAt"`
		} `json:"running"`
	} `json:"state"`
}

// thePod returns the one pod of a namespace that is not being deleted.
func thePod(t *testing.T, namespace string) pod {
	t.Helper()
	var list struct{ Items []pod }
	get(t, &list, "pods", "-n", namespace, "--field-selector=status.phase=Running")
	if len(list.Items) == 0 {
		t.Fatalf("%s has no running pod", namespace)
	}
	return list.Items[0]
}
