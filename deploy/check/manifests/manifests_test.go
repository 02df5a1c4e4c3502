package manifests

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// Each namespace has the level that its pods need, and no laxer one would do
// with less: what baseline and restricted forbid is just this.
func TestPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for folder, forbidden := range map[string][]string{
		"kubernetes/base":              {"host namespaces", "hostPath volumes"},
		"kubernetes/overlays/hostpath": {"hostPath volumes"},
		"kubernetes/overlays/tenant":   {"hostPath volumes"},
		"kubernetes/examples/hostipc":  {"host namespaces"},
		"kubernetes/examples/hostpath": {"hostPath volumes"},
		"kubernetes/examples/sidecar":  nil,
	} {
		all := build(t, folder)
		p := pod(t, all)
		said := only[*core.Namespace](t, all).Labels["pod-security.kubernetes.io/enforce"]
		want := api.LevelPrivileged
		if forbidden == nil {
			want = api.LevelRestricted
		}
		if said != string(want) {
			t.Errorf("%s: the namespace enforces %q, want %q", folder, said, want)
		}
		evaluate := func(level api.Level) (reasons []string) {
			for _, r := range evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &p.ObjectMeta, &p.Spec) {
				if !r.Allowed {
					reasons = append(reasons, r.ForbiddenReason)
				}
			}
			slices.Sort(reasons)
			return reasons
		}
		if got := evaluate(api.LevelBaseline); !slices.Equal(got, forbidden) {
			t.Errorf("%s: baseline forbids %q, want %q", folder, got, forbidden)
		}
		if strings.Contains(folder, "examples") { // the daemon's prepare runs as root
			got := slices.DeleteFunc(evaluate(api.LevelRestricted), func(s string) bool {
				return slices.Contains(forbidden, s) || s == "restricted volume types" && slices.Contains(forbidden, "hostPath volumes")
			})
			if len(got) > 0 {
				t.Errorf("%s: restricted forbids %q, too", folder, got)
			}
		}
	}
}

// The daemon's flags and variables mean something to the daemon. Its directories
// are others here, since these are the machine's.
func TestDaemonTakesItsSettings(t *testing.T) {
	for _, folder := range append(daemons, "kubernetes/examples/sidecar") {
		all := build(t, folder)
		c := container(t, pod(t, all), "statesyncd")
		dir := t.TempDir()
		run := exec.Command(filepath.Join(programs, filepath.Base(c.Command[0])), append(c.Args, "--dry-run", "--source=dir:"+filepath.Join(deploy, "flux/repository"))...)
		run.Env = []string{"HOME=" + dir}
		for name, value := range environment(t, all, c) {
			if name == "STATESYNC_REGION" || name == "STATESYNC_STATE_DIR" {
				value = filepath.Join(dir, filepath.Base(value))
			}
			run.Env = append(run.Env, name+"="+value)
		}
		// The kustomization in there is no config, and is refused: that is code 1.
		if out, err := run.CombinedOutput(); exitCode(err) == 2 {
			t.Errorf("%s: %v: %v\n%s", folder, run.Args, err, out)
		}
	}
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// Every command that a container or a probe runs is one, and takes its flags: no
// region is there, so that all they may say is no.
func TestCommands(t *testing.T) {
	for _, folder := range slices.Concat(daemons, applications) {
		p := pod(t, build(t, folder))
		for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
			commands := [][]string{append(slices.Clone(c.Command), c.Args...)}
			for _, probe := range []*core.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
				if probe != nil && probe.Exec != nil {
					commands = append(commands, probe.Exec.Command)
				}
			}
			for _, command := range commands {
				if command[0] != "/statesync" {
					continue
				}
				args := slices.Clone(command[1:])
				if args[0] == "wait" {
					args = append(args, "--timeout=1ms")
				}
				run := exec.Command(filepath.Join(programs, "statesync"), args...)
				run.Env = []string{"STATESYNC_REGION=" + filepath.Join(t.TempDir(), "none")}
				if out, err := run.CombinedOutput(); exitCode(err) != 1 {
					t.Errorf("%s: %s: %v: %v\n%s", folder, c.Name, command, err, out)
				}
			}
		}
	}
}

// What the region can take is part of the daemon's memory limit, and of the
// sidecar's volume.
func TestMemory(t *testing.T) {
	const slots = 4 // the default of --slots
	for _, folder := range append(daemons, "kubernetes/examples/sidecar") {
		all := build(t, folder)
		p := pod(t, all)
		c := container(t, p, "statesyncd")
		env := environment(t, all, c)
		image := env["STATESYNC_MAX_IMAGE"]
		for _, arg := range c.Args {
			if value, ok := strings.CutPrefix(arg, "--max-image="); ok {
				image = value
			}
		}
		region, own := (slots+2)*size(t, image), size(t, env["GOMEMLIMIT"])
		if limit := c.Resources.Limits.Memory().Value(); limit < region+own {
			t.Errorf("%s: the limit is %d bytes, the region takes up to %d, and the daemon %d besides", folder, limit, region, own)
		}
		for _, v := range p.Spec.Volumes {
			if e := v.EmptyDir; e != nil && e.SizeLimit.Value() < region {
				t.Errorf("%s: the volume %s has %d bytes, and the region takes up to %d", folder, v.Name, e.SizeLimit.Value(), region)
			}
		}
	}
}

// size reads sizes as statesyncd and Go write them, such as 8MiB.
func size(t *testing.T, s string) int64 {
	t.Helper()
	q, err := resource.ParseQuantity(strings.TrimSuffix(s, "B"))
	if err != nil || !strings.HasSuffix(s, "iB") {
		t.Fatalf("%q is not a size: %v", s, err)
	}
	return q.Value()
}

// Values that several places share are the same.
func TestDaemonsAgree(t *testing.T) {
	for _, folder := range daemons {
		all := build(t, folder)
		p := pod(t, all)
		c, prepare := container(t, p, "statesyncd"), container(t, p, "prepare")
		env := environment(t, all, c)
		if got, want := prepare.Args[0], strconv.FormatInt(*p.Spec.SecurityContext.RunAsUser, 10); got != want {
			t.Errorf("%s: directories are made for %s, and the daemon runs as %s", folder, got, want)
		}
		for _, dir := range []string{env["STATESYNC_REGION"], env["STATESYNC_STATE_DIR"]} {
			parent := filepath.Dir(dir)
			hasHosts := p.Spec.HostIPC && strings.HasPrefix(dir, "/dev/shm/")
			for _, of := range []*core.Container{c, prepare} {
				if !hasHosts && hostDir(p, of, parent) != parent {
					t.Errorf("%s: %s has no mount of the host's %s", folder, of.Name, parent)
				}
			}
		}
		group := env["STATESYNC_REGION_GROUP"]
		if group != "" && !slices.ContainsFunc(p.Spec.SecurityContext.SupplementalGroups, func(g int64) bool { return strconv.FormatInt(g, 10) == group }) {
			t.Errorf("%s: the daemon is not a member of the group %s", folder, group)
		}
		if u := only[*apps.DaemonSet](t, all).Spec.UpdateStrategy.RollingUpdate; u.MaxSurge.IntValue() != 0 {
			t.Errorf("%s: a surge waits for the lock of a daemon that waits for the surge", folder)
		}
	}
}

// hostDir returns which directory of the host a container has at a place.
func hostDir(p *core.PodTemplateSpec, c *core.Container, at string) string {
	for _, m := range c.VolumeMounts {
		for _, v := range p.Spec.Volumes {
			if m.MountPath == at && m.Name == v.Name && v.HostPath != nil {
				return v.HostPath.Path
			}
		}
	}
	return ""
}

func TestApplicationsAgree(t *testing.T) {
	base := build(t, "kubernetes/base")
	daemon := *pod(t, base).Spec.SecurityContext.RunAsUser
	region := environment(t, base, container(t, pod(t, base), "statesyncd"))["STATESYNC_REGION"]
	for _, folder := range applications {
		all := build(t, folder)
		p := pod(t, all)
		app := container(t, p, "app")
		user := p.Spec.SecurityContext.RunAsUser
		if app.SecurityContext.RunAsUser != nil {
			user = app.SecurityContext.RunAsUser
		}
		if *user == daemon || *user == 0 {
			t.Errorf("%s: the application runs as %d, and could write the region", folder, *user)
		}
		for _, m := range app.VolumeMounts {
			if !m.ReadOnly {
				t.Errorf("%s: the application may write %s", folder, m.MountPath)
			}
		}
		switch {
		case strings.HasSuffix(folder, "hostipc"):
			if !p.Spec.HostIPC {
				t.Errorf("%s: no hostIPC", folder)
			}
		case strings.HasSuffix(folder, "hostpath"):
			if got := hostDir(p, app, filepath.Dir(region)); got != filepath.Dir(region) {
				t.Errorf("%s: the application has the host's %q at %s", folder, got, filepath.Dir(region))
			}
		default:
			sidecar := container(t, p, "statesyncd")
			theirs, ours := environment(t, all, sidecar), environment(t, all, app)
			if theirs["STATESYNC_REGION"] != ours["STATESYNC_REGION"] {
				t.Errorf("%s: the sidecar writes %s, and the application reads %s", folder, theirs["STATESYNC_REGION"], ours["STATESYNC_REGION"])
			}
			if ours["STATESYNC_OWNER"] != strconv.FormatInt(*sidecar.SecurityContext.RunAsUser, 10) {
				t.Errorf("%s: the application trusts %s, and the sidecar runs as %d", folder, ours["STATESYNC_OWNER"], *sidecar.SecurityContext.RunAsUser)
			}
			if sidecar.RestartPolicy == nil || *sidecar.RestartPolicy != core.ContainerRestartPolicyAlways || sidecar.StartupProbe == nil {
				t.Errorf("%s: it is not a native sidecar, or the application does not wait for it", folder)
			}
		}
	}
}

// All pods are confined as far as possible.
func TestConfined(t *testing.T) {
	for _, folder := range slices.Concat(daemons, applications) {
		p := pod(t, build(t, folder))
		s := p.Spec
		if *s.EnableServiceLinks || *s.AutomountServiceAccountToken || !*s.SecurityContext.RunAsNonRoot ||
			s.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: the pod is not confined: %+v", folder, s.SecurityContext)
		}
		for _, c := range slices.Concat(s.InitContainers, s.Containers) {
			x := c.SecurityContext
			if *x.AllowPrivilegeEscalation || !*x.ReadOnlyRootFilesystem || !slices.Equal(x.Capabilities.Drop, []core.Capability{"ALL"}) {
				t.Errorf("%s: %s is not confined: %+v", folder, c.Name, x)
			}
			for _, m := range c.VolumeMounts { // the image has its programs there
				if path.Dir(m.MountPath) == "/" && strings.HasPrefix(m.MountPath, "/statesync") {
					t.Errorf("%s: %s mounts %s over a program", folder, c.Name, m.MountPath)
				}
			}
			if c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s: %s has no memory limit", folder, c.Name)
			}
		}
	}
}

// Components fit the daemons, and the listener's port is the probes'.
func TestComponents(t *testing.T) {
	for component, check := range map[string]func(env map[string]string, d *apps.DaemonSet, c *core.Container){
		"metrics": func(env map[string]string, d *apps.DaemonSet, c *core.Container) {
			_, port, _ := strings.Cut(env["STATESYNC_LISTEN"], ":")
			if strconv.Itoa(int(c.Ports[0].ContainerPort)) != port || d.Spec.Template.Annotations["prometheus.io/port"] != port {
				t.Errorf("ports differ: %+v, %v, %s", c.Ports, d.Spec.Template.Annotations, port)
			}
			for _, probe := range []*core.Probe{c.ReadinessProbe, c.LivenessProbe} {
				if probe.Exec != nil || probe.HTTPGet.Port.StrVal != c.Ports[0].Name {
					t.Errorf("the probe is %+v", probe)
				}
			}
		},
		"git": func(env map[string]string, d *apps.DaemonSet, c *core.Container) {
			i := slices.IndexFunc(d.Spec.Template.Spec.Volumes, func(v core.Volume) bool { return v.Name == "config" })
			config := d.Spec.Template.Spec.Volumes[i]
			mounted := slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool {
				return m.Name == "config" && strings.Contains(env["STATESYNC_SOURCE"], "credentials="+m.MountPath+"/")
			})
			if config.ConfigMap != nil || config.Secret == nil || *config.Secret.DefaultMode&0o007 != 0 || d.Spec.Template.Spec.SecurityContext.FSGroup == nil || !mounted {
				t.Errorf("the credentials of %s are in %+v, mounted by %+v", env["STATESYNC_SOURCE"], config, c.VolumeMounts)
			}
			if !strings.HasPrefix(c.Image, "statesync-git:") {
				t.Errorf("the image is %s", c.Image)
			}
		},
		"staged": func(_ map[string]string, d *apps.DaemonSet, c *core.Container) {
			if d.Spec.MinReadySeconds == 0 || c.ReadinessProbe.Exec.Command[1] != "status" {
				t.Errorf("available after %d s, ready by %+v", d.Spec.MinReadySeconds, c.ReadinessProbe)
			}
		},
	} {
		for _, daemon := range daemons {
			folder := with(t, daemon, "kubernetes/components/"+component)
			all := build(t, folder)
			d := only[*apps.DaemonSet](t, all)
			c := container(t, &d.Spec.Template, "statesyncd")
			check(environment(t, all, c), d, c)
		}
	}
}

// with makes a kustomization of a folder and a component, and returns where.
func with(t *testing.T, folder, component string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	from := func(to string) string { // kustomize takes no absolute paths
		abs, err := filepath.Abs(filepath.Join(deploy, to))
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(dir, abs)
		if err != nil {
			t.Fatal(err)
		}
		return rel
	}
	text := "resources: [" + from(folder) + "]\ncomponents: [" + from(component) + "]\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Flux puts the ConfigMap where the daemon looks for it, with an account that may
// change that ConfigMap and no other.
func TestFlux(t *testing.T) {
	all := build(t, "flux")
	source, sync := only[*gitRepository](t, all), only[*kustomization](t, all)
	if source.Spec.Interval.Seconds() != 10 || sync.Spec.Interval.Seconds() != 15 {
		t.Errorf("the intervals are %v and %v", source.Spec.Interval, sync.Spec.Interval)
	}
	if sync.Spec.SourceRef.Kind != source.Kind || sync.Spec.SourceRef.Name != source.Name || sync.Namespace != source.Namespace {
		t.Errorf("the Kustomization is of %+v, and the source is %s", sync.Spec.SourceRef, source.Name)
	}
	account, role, binding := only[*core.ServiceAccount](t, all), only[*rbac.Role](t, all), only[*rbac.RoleBinding](t, all)
	if account.Name != sync.Spec.ServiceAccountName || account.Namespace != sync.Namespace ||
		binding.Subjects[0].Name != account.Name || binding.Subjects[0].Namespace != account.Namespace ||
		binding.RoleRef.Name != role.Name || binding.Namespace != role.Namespace || role.Namespace != sync.Spec.TargetNamespace {
		t.Errorf("%+v, %+v and %+v don't fit %+v", account, role, binding, sync.Spec)
	}
	base := build(t, "kubernetes/base")
	configs := only[*core.ConfigMap](t, build(t, "flux/repository"))
	var mounted string
	for _, v := range pod(t, base).Spec.Volumes {
		if v.ConfigMap != nil {
			mounted = v.ConfigMap.Name
		}
	}
	if configs.Name != mounted || role.Rules[0].ResourceNames[0] != mounted {
		t.Errorf("the ConfigMap is %s, the role is for %s, and the daemon mounts %s", configs.Name, role.Rules[0].ResourceNames, mounted)
	}
	if ns := only[*core.Namespace](t, base).Name; ns != sync.Spec.TargetNamespace {
		t.Errorf("the ConfigMap goes to %s, and the daemon is in %s", sync.Spec.TargetNamespace, ns)
	}
	dir := t.TempDir()
	for file, content := range configs.Data {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		example, err := os.ReadFile(filepath.Join(root, "examples/config", file))
		if err != nil || !bytes.Equal(example, []byte(content)) {
			t.Errorf("%s is not what examples/config has: %v", file, err)
		}
	}
	if out, err := exec.Command(filepath.Join(programs, "statesync"), "check", dir).CombinedOutput(); err != nil {
		t.Errorf("statesync check: %v\n%s", err, out)
	}
}

// The policy's users and groups are those of the manifests.
func TestPolicy(t *testing.T) {
	build(t, "kubernetes/policy")
	for _, folder := range daemons {
		s := pod(t, build(t, folder)).Spec.SecurityContext
		if u := *s.RunAsUser; u < 47100 || u > 47199 {
			t.Errorf("%s: applications may run as the daemon's user %d", folder, u)
		}
		for _, g := range s.SupplementalGroups {
			if g < 48000 || g > 48999 {
				t.Errorf("%s: every application may have the tenant's group %d", folder, g)
			}
		}
	}
}
