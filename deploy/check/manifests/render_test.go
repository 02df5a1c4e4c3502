// Package manifests checks the Kustomize folders without a cluster: what they
// build, against the API's own types and Pod Security's own rules, and what they
// say to the commands, against the commands.
package manifests

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	admission "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// root is the project's folder, and deploy the manifests' in it.
const (
	root   = "../../.."
	deploy = root + "/deploy"
)

var daemons = []string{"kubernetes/base", "kubernetes/overlays/hostpath", "kubernetes/overlays/tenant"}

var applications = []string{"kubernetes/examples/hostipc", "kubernetes/examples/hostpath", "kubernetes/examples/sidecar"}

// objects are those of one build, by kind.
type objects map[string][]any

// build builds a folder. Every object must fit its type, without a field that
// the type does not have.
func build(t *testing.T, folder string) objects {
	t.Helper()
	path := folder
	if !filepath.IsAbs(path) {
		path = filepath.Join(deploy, folder)
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		t.Fatalf("%s: %v", folder, err)
	}
	all := objects{}
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		typed := newObject(r.GetKind(), r.GetApiVersion())
		if typed == nil {
			t.Fatalf("%s: no type is known for %s %s", folder, r.GetApiVersion(), r.GetKind())
		}
		if err := yaml.UnmarshalStrict(text, typed); err != nil {
			t.Fatalf("%s: %s %s: %v", folder, r.GetKind(), r.GetName(), err)
		}
		all[r.GetKind()] = append(all[r.GetKind()], typed)
	}
	return all
}

func newObject(kind, version string) any {
	switch version + " " + kind {
	case "v1 Namespace":
		return &core.Namespace{}
	case "v1 ConfigMap":
		return &core.ConfigMap{}
	case "v1 ServiceAccount":
		return &core.ServiceAccount{}
	case "apps/v1 DaemonSet":
		return &apps.DaemonSet{}
	case "apps/v1 Deployment":
		return &apps.Deployment{}
	case "rbac.authorization.k8s.io/v1 Role":
		return &rbac.Role{}
	case "rbac.authorization.k8s.io/v1 RoleBinding":
		return &rbac.RoleBinding{}
	case "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy":
		return &admission.ValidatingAdmissionPolicy{}
	case "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding":
		return &admission.ValidatingAdmissionPolicyBinding{}
	case "source.toolkit.fluxcd.io/v1 GitRepository":
		return &gitRepository{}
	case "kustomize.toolkit.fluxcd.io/v1 Kustomization":
		return &kustomization{}
	}
	return nil
}

// Flux's types, as much of them as is used.
type gitRepository struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		URL      string        `json:"url"`
		Interval meta.Duration `json:"interval"`
		Timeout  meta.Duration `json:"timeout"`
		Ref      struct {
			Branch string `json:"branch"`
		} `json:"ref"`
	} `json:"spec"`
}

type kustomization struct {
	meta.TypeMeta   `json:",inline"`
	meta.ObjectMeta `json:"metadata"`
	Spec            struct {
		SourceRef struct {
			Kind string `json:"kind"`
			Name string `json:"name"`
		} `json:"sourceRef"`
		Path               string        `json:"path"`
		TargetNamespace    string        `json:"targetNamespace"`
		ServiceAccountName string        `json:"serviceAccountName"`
		Interval           meta.Duration `json:"interval"`
		Timeout            meta.Duration `json:"timeout"`
		Prune              bool          `json:"prune"`
	} `json:"spec"`
}

// only returns the one object of its type.
func only[T any](t *testing.T, all objects) T {
	t.Helper()
	var found []T
	for _, list := range all {
		for _, o := range list {
			if o, ok := o.(T); ok {
				found = append(found, o)
			}
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects of type %T, want 1", len(found), *new(T))
	}
	return found[0]
}

// pod returns the pod template of the build's one DaemonSet or Deployment.
func pod(t *testing.T, all objects) *core.PodTemplateSpec {
	t.Helper()
	if all["DaemonSet"] != nil {
		return &only[*apps.DaemonSet](t, all).Spec.Template
	}
	return &only[*apps.Deployment](t, all).Spec.Template
}

// container returns a container, or init container, by its name.
func container(t *testing.T, p *core.PodTemplateSpec, name string) *core.Container {
	t.Helper()
	for _, list := range [][]core.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	t.Fatalf("the pod has no container %q", name)
	return nil
}

// environment returns the variables of a container, those of ConfigMaps of the
// same build included.
func environment(t *testing.T, all objects, c *core.Container) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		found := false
		for _, o := range all["ConfigMap"] {
			if m := o.(*core.ConfigMap); m.Name == from.ConfigMapRef.Name {
				found = true
				for name, value := range m.Data {
					env[name] = value
				}
			}
		}
		if !found {
			t.Errorf("the ConfigMap %s of %s is not in the build", from.ConfigMapRef.Name, c.Name)
		}
	}
	for _, v := range c.Env {
		env[v.Name] = v.Value
	}
	return env
}

var programs string // a folder with the commands of this tree

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "manifests-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		programs = dir
		build := exec.Command("go", "build", "-o", dir+"/", "./cmd/...")
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the commands: %v\n%s", err, bytes.TrimSpace(out))
			return 1
		}
		return m.Run()
	}())
}
