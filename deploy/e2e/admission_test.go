package e2e

import (
	"strings"
	"testing"
)

// admit says what the cluster says to a pod of an example's template, in a
// namespace, with a change of its text; nothing is made.
func admit(t *testing.T, example, namespace, old, instead string) error {
	t.Helper()
	text := overlay(t, "kubernetes/examples/"+example, namespace, "")
	if !strings.Contains(text, old) {
		t.Fatalf("%s has no %q:\n%s", example, old, text)
	}
	_, deployment, ok := strings.Cut(strings.Replace(text, old, instead, 1), "kind: Deployment\n")
	_, template, found := strings.Cut(deployment, "  template:\n")
	if !ok || !found {
		t.Fatalf("no template in %s", text)
	}
	template, _, _ = strings.Cut(template, "\n---\n")
	template = strings.ReplaceAll("\n"+template, "\n    ", "\n")
	template = strings.Replace(template, "metadata:\n", "metadata:\n  name: probe\n", 1)
	_, err := try("apiVersion: v1\nkind: Pod"+template+"\n", "-n", namespace, "create", "--dry-run=server", "-f", "-")
	return err
}

func namespaceWith(t *testing.T, name string, labels ...string) {
	t.Helper()
	kubectl(t, "create", "namespace", name)
	t.Cleanup(func() { _, _ = try("", "delete", "namespace", name) })
	kubectl(t, append([]string{"label", "namespace", name}, labels...)...)
	until(t, "the namespace's service account", func() bool {
		_, err := try("", "-n", name, "get", "serviceaccount", "default")
		return err == nil
	})
}

// What the documents say that each level forbids.
func TestPodSecurity(t *testing.T) {
	needCluster(t)
	for level, forbidden := range map[string]map[string]string{
		"baseline":   {"hostipc": "host namespaces", "hostpath": "hostPath volumes"},
		"restricted": {"hostipc": "host namespaces", "hostpath": "restricted volume types"},
	} {
		namespace := "statesync-e2e-" + level
		namespaceWith(t, namespace, "pod-security.kubernetes.io/enforce="+level)
		for _, example := range []string{"hostipc", "hostpath", "sidecar"} {
			err := admit(t, example, namespace, "", "")
			want := forbidden[example]
			if want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s in %s: %v, want %q", example, level, err, want)
			}
			t.Logf("%s in %s: %v", example, level, err)
		}
	}
}

// The policy admits the examples, and nothing that could write a region or read
// more of the host.
func TestPolicy(t *testing.T) {
	needCluster(t)
	const policy = "statesync-readers"
	if out, err := try("", "get", "validatingadmissionpolicy", policy, "-o", "name"); err == nil {
		t.Skipf("the cluster has %s already", out)
	}
	text := overlay(t, "kubernetes/policy", "", "")
	t.Cleanup(func() {
		if _, err := try(text, "delete", "--ignore-not-found", "-f", "-"); err != nil {
			t.Error(err)
		}
	})
	if out, err := try(text, "apply", "-f", "-"); err != nil {
		t.Fatal(out, err)
	}
	const ipc, path = "statesync-e2e-readers-ipc", "statesync-e2e-readers-path"
	namespaceWith(t, ipc, "statesync-readers=hostipc")
	namespaceWith(t, path, "statesync-readers=hostpath", "statesync-group=48001")
	until(t, "the policy to be in force", func() bool {
		return admit(t, "hostpath", path, "path: /dev/shm/statesync", "path: /") != nil
	})
	if warnings := kubectl(t, "get", "validatingadmissionpolicy", policy, "-o", "jsonpath={.status.typeChecking.expressionWarnings}"); warnings != "" {
		t.Errorf("the expressions do not type-check: %s", warnings)
	}
	for _, c := range []struct{ example, namespace, old, instead, want string }{
		{"hostipc", ipc, "", "", ""},
		{"hostpath", path, "", "", ""},
		{"hostipc", path, "", "", "hostIPC only where"},
		{"hostpath", path, "path: /dev/shm/statesync", "path: /dev/shm/statesync/team-a", ""},
		{"hostpath", path, "path: /dev/shm/statesync", "path: /", "hostPath volumes for /dev/shm/statesync only"},
		{"hostpath", path, "path: /dev/shm/statesync", "path: /dev/shm/statesync/a/b", "hostPath volumes for /dev/shm/statesync only"},
		{"hostpath", path, "          readOnly: true\n", "", "with readOnly true"},
		{"hostpath", path, "runAsUser: 10001", "runAsUser: 0", "neither root nor"},
		{"hostipc", ipc, "runAsUser: 10001", "runAsUser: 47147", "neither root nor"},
		{"hostipc", ipc, "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot true"},
		{"hostipc", ipc, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "allowPrivilegeEscalation false"},
		{"hostipc", ipc, "hostIPC: true", "hostIPC: true\n      hostPID: true", "neither hostPID"},
		{"hostpath", path, "runAsUser: 10001", "runAsUser: 10001\n        supplementalGroups: [48001]", ""},
		{"hostpath", path, "runAsUser: 10001", "runAsUser: 10001\n        supplementalGroups: [48002]", "statesync-group"},
		{"hostipc", ipc, "runAsUser: 10001", "runAsUser: 10001\n        supplementalGroups: [48001]", "statesync-group"},
	} {
		err := admit(t, c.example, c.namespace, c.old, c.instead)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s with %q: %v", c.example, c.instead, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s with %q: %v, want %q", c.example, c.instead, err, c.want)
		}
	}
}
