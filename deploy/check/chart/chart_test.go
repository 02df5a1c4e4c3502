// Package chart checks the Helm chart without a cluster, by Helm's own engine:
// its objects fit the API's types, and its DaemonSet is the one of Kustomize.
package chart

import (
	"maps"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const deploy = "../.."

// render returns the chart's DaemonSet and ConfigMaps, the latter by name.
func render(t *testing.T, values map[string]any) (*apps.DaemonSet, map[string]map[string]string) {
	t.Helper()
	daemon, configs, _ := renderAll(t, values)
	return daemon, configs
}

// renderAll returns the texts of the chart's other objects, too, by kind.
func renderAll(t *testing.T, values map[string]any) (*apps.DaemonSet, map[string]map[string]string, map[string]string) {
	t.Helper()
	chart, err := loader.Load(deploy + "/helm/statesync")
	if err != nil {
		t.Fatal(err)
	}
	release := common.ReleaseOptions{Name: "statesyncd", Namespace: "statesync", IsInstall: true}
	all, err := util.ToRenderValues(chart, values, release, common.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Engine{Strict: true}.RenderWithContext(t.Context(), chart, all)
	if err != nil {
		t.Fatal(err)
	}
	var daemon *apps.DaemonSet
	configs, others := map[string]map[string]string{}, map[string]string{}
	for name, file := range files {
		if strings.HasSuffix(name, ".txt") {
			continue
		}
		for _, text := range regexp.MustCompile(`(?m)^---$`).Split(file, -1) {
			var head struct {
				Kind string `json:"kind"`
			}
			if err := yaml.Unmarshal([]byte(text), &head); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			var typed any
			switch head.Kind {
			case "":
				continue
			case "DaemonSet":
				daemon = &apps.DaemonSet{}
				typed = daemon
			case "ConfigMap":
				typed = &core.ConfigMap{}
			default:
				typed, others[head.Kind] = &map[string]any{}, text
			}
			if err := yaml.UnmarshalStrict([]byte(text), typed); err != nil {
				t.Fatalf("%s: %v\n%s", name, err, text)
			}
			if m, ok := typed.(*core.ConfigMap); ok {
				configs[m.Name] = m.Data
			}
		}
	}
	if daemon == nil {
		t.Fatal("the chart has no DaemonSet")
	}
	return daemon, configs, others
}

// kustomized returns the DaemonSet and the settings of a Kustomize folder.
func kustomized(t *testing.T, folder string) (*apps.DaemonSet, map[string]string) {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), deploy+"/kubernetes/"+folder)
	if err != nil {
		t.Fatal(err)
	}
	daemon, settings := &apps.DaemonSet{}, &core.ConfigMap{}
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		switch r.GetKind() {
		case "DaemonSet":
			err = yaml.UnmarshalStrict(text, daemon)
		case "ConfigMap":
			err = yaml.UnmarshalStrict(text, settings)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return daemon, settings.Data
}

func TestSameAsKustomize(t *testing.T) {
	for access, folder := range map[string]string{"hostIPC": "base", "hostPath": "overlays/hostpath"} {
		got, configs := render(t, map[string]any{"access": access})
		want, settings := kustomized(t, folder)
		for _, d := range []*apps.DaemonSet{got, want} {
			d.Spec.Selector, d.Spec.Template.Labels, d.Spec.Template.Annotations = nil, nil, nil
			volumes := map[string]core.Volume{}
			for _, v := range d.Spec.Template.Spec.Volumes {
				volumes[v.Name] = v
			}
			d.Spec.Template.Spec.Volumes = nil
			for _, name := range []string{"config", "state", "regions"} { // in one order
				if v, ok := volumes[name]; ok {
					d.Spec.Template.Spec.Volumes = append(d.Spec.Template.Spec.Volumes, v)
				}
			}
			for _, c := range append(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers...) {
				for i := range c.EnvFrom {
					c.EnvFrom[i].ConfigMapRef.Name = "" // one has a hash
				}
			}
		}
		if !reflect.DeepEqual(got.Spec, want.Spec) {
			t.Errorf("%s: the chart's DaemonSet is\n%s\nand that of %s\n%s", access, dump(t, got.Spec), folder, dump(t, want.Spec))
		}
		ours := maps.Clone(configs["statesyncd-settings"])
		for name, value := range map[string]string{"STATESYNC_SLOTS": "4", "STATESYNC_REGION_MODE": "0644"} { // the defaults
			if ours[name] != value {
				t.Errorf("%s is %q", name, ours[name])
			}
			delete(ours, name)
		}
		if !maps.Equal(ours, settings) {
			t.Errorf("%s: the chart's settings are %v, and those of %s %v", access, ours, folder, settings)
		}
	}
}

func dump(t *testing.T, v any) string {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestMonitoredJob holds the job that the chart's PodMonitor makes against the
// alert that asks for it by name.
func TestMonitoredJob(t *testing.T) {
	_, _, others := renderAll(t, map[string]any{
		"region": map[string]any{"name": "team-a"}, "metrics": map[string]any{"enabled": true, "podMonitor": true},
	})
	var monitor struct {
		Spec struct {
			PodMetricsEndpoints []struct {
				Relabelings []struct{ TargetLabel, Replacement string }
			}
		}
	}
	if err := yaml.Unmarshal([]byte(others["PodMonitor"]), &monitor); err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(deploy + "/prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	asked := regexp.MustCompile(`up\{job=~"(.*)"\}`).FindSubmatch(rules)
	if asked == nil {
		t.Fatal("no alert asks whether a job is up")
	}
	job := ""
	for _, e := range monitor.Spec.PodMetricsEndpoints {
		for _, r := range e.Relabelings {
			if r.TargetLabel == "job" {
				job = r.Replacement
			}
		}
	}
	if !regexp.MustCompile("^(?:"+string(asked[1])+")$").MatchString(job) || !strings.HasSuffix(job, "team-a") {
		t.Errorf("the PodMonitor's job is %q, and the alert asks for %s", job, asked[1])
	}
}

func TestValues(t *testing.T) {
	d, configs := render(t, map[string]any{
		"region":      map[string]any{"name": "team-a", "mode": "0640", "group": 48001},
		"user":        47148,
		"config":      map[string]any{"a.yaml": "x: 1\n"},
		"configMap":   "team-a-config",
		"configItems": []any{map[string]any{"key": "a.yaml", "path": "team/a.yaml"}},
		"settings":    map[string]any{"STATESYNC_RESYNC": "10s", "STATESYNC_SLOTS": 2},
		"metrics":     map[string]any{"enabled": true, "podMonitor": true},
	})
	pod := d.Spec.Template.Spec
	if *pod.SecurityContext.RunAsUser != 47148 || pod.InitContainers[0].Args[0] != "47148" || pod.SecurityContext.SupplementalGroups[0] != 48001 {
		t.Errorf("the pod runs as %+v, and its directories are for %s", pod.SecurityContext, pod.InitContainers[0].Args)
	}
	settings := configs["statesyncd-settings"]
	for name, want := range map[string]string{
		"STATESYNC_REGION": "/dev/shm/statesync/team-a", "STATESYNC_REGION_GROUP": "48001", "STATESYNC_REGION_MODE": "0640",
		"STATESYNC_RESYNC": "10s", "STATESYNC_SLOTS": "2", "STATESYNC_LISTEN": ":17471",
	} {
		if settings[name] != want {
			t.Errorf("%s is %q, want %q", name, settings[name], want)
		}
	}
	if configs["team-a-config"]["a.yaml"] != "x: 1\n" || pod.Volumes[0].ConfigMap.Items[0].Path != "team/a.yaml" {
		t.Errorf("the configs are %v, in %+v", configs, pod.Volumes[0])
	}
	if c := pod.Containers[0]; c.LivenessProbe.HTTPGet == nil || c.ReadinessProbe.HTTPGet == nil || c.Ports[0].ContainerPort != 17471 {
		t.Errorf("metrics are on, and the container has %+v", c)
	}
	other, _ := render(t, map[string]any{"slots": 8})
	same, _ := render(t, map[string]any{"config": map[string]any{"a.yaml": "x: 1\n"}})
	plain, _ := render(t, nil)
	sum := func(d *apps.DaemonSet) string { return d.Spec.Template.Annotations["checksum/settings"] }
	if sum(other) == sum(plain) || sum(same) != sum(plain) {
		t.Error("the pods are rolled by a change of the configs, or not by one of the settings")
	}
}

// A source that is fetched has its files from a Secret, which only the daemon's user reads.
func TestSourceWithSecret(t *testing.T) {
	const source = "git:https://git.example.com/config.git?credentials=/config/credentials"
	d, configs := render(t, map[string]any{"source": source, "secret": "statesync-git"})
	pod := d.Spec.Template.Spec
	config := pod.Volumes[0]
	if config.ConfigMap != nil || config.Secret == nil || config.Secret.SecretName != "statesync-git" || *config.Secret.DefaultMode != 0o440 {
		t.Errorf("the files of the source are in %+v", config)
	}
	if group := pod.SecurityContext.FSGroup; group == nil || *group != *pod.SecurityContext.RunAsGroup {
		t.Errorf("the pod has %+v, and cannot read a Secret of mode 0440", pod.SecurityContext)
	}
	if got := configs["statesyncd-settings"]["STATESYNC_SOURCE"]; got != source {
		t.Errorf("the source is %q", got)
	}
}
