//go:build linux

// Package package_test looks at what the packages are made of. Installing them
// is e2e.sh's: make e2e-package.
package package_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/statesync/statesync/shm/shmtest"
)

// bin has both commands, once TestMain has built them.
var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "statesync-package-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		bin = dir
		build := shmtest.GoCommand("build", "-o", dir+"/", "./cmd/statesync", "./cmd/statesyncd")
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			panic(string(out))
		}
		return m.Run()
	}())
}

// command runs a command and returns what it said.
func command(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// source is a directory with the example that is installed.
func source(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range []string{"example.yaml", "example.schema.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(read(t, "etc/"+name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestExampleIsGood(t *testing.T) {
	command(t, nil, filepath.Join(bin, "statesync"), "check", source(t))
}

// Each line of the environment's file that is commented out can be put in: the
// daemon knows the name and takes the value. And the value is the default.
func TestEnvironmentFile(t *testing.T) {
	daemon := filepath.Join(bin, "statesyncd")
	help := command(t, nil, daemon, "--help")
	settings := regexp.MustCompile(`(?m)^#(STATESYNC_([A-Z_]+)=(.*))$`).FindAllStringSubmatch(read(t, "etc/statesyncd.env"), -1)
	if len(settings) < 5 {
		t.Fatalf("found %d settings only", len(settings))
	}
	var env []string
	for _, s := range settings {
		env = append(env, s[1])
		flag := "--" + strings.ToLower(strings.ReplaceAll(s[2], "_", "-"))
		byDefault := regexp.MustCompile(regexp.QuoteMeta(flag) + ` [^\n]*(\n  {20}[^\n]*)*\(default "?([^")]*)"?\)`).FindStringSubmatch(help)
		switch {
		case flag == "--source" || s[3] == "": // the unit's; or none
		case byDefault == nil:
			t.Errorf("the help has no default of %s", flag)
		case s[3] != byDefault[2]:
			t.Errorf("%s: the file has %q, the default is %q", flag, s[3], byDefault[2])
		}
	}
	command(t, env, daemon, "--source=dir:"+source(t), "--region="+filepath.Join(t.TempDir(), "region"), "--state-dir=", "--dry-run")
}

func TestScriptsParse(t *testing.T) {
	scripts, err := filepath.Glob("[dr][ep][bm]/*")
	if err != nil || len(scripts) != 6 {
		t.Fatalf("the scripts are %q, %v", scripts, err)
	}
	for _, script := range scripts {
		command(t, nil, "sh", "-n", script)
	}
	for _, script := range []string{"build.sh", "reproduce.sh", "e2e.sh"} {
		command(t, nil, "bash", "-n", script)
	}
}

// The files that the configuration names exist, unless build.sh makes them.
func TestContentsExist(t *testing.T) {
	var config struct {
		Contents []struct {
			Src, Dst, Type string
		}
		Overrides map[string]struct{ Scripts map[string]string }
	}
	if err := yaml.Unmarshal([]byte(read(t, "nfpm.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, c := range config.Contents {
		if !strings.HasPrefix(c.Src, "${DIST}/") {
			sources = append(sources, c.Src)
		}
		if etc := strings.HasPrefix(c.Dst, "/etc/"); etc != (c.Type == "config|noreplace") {
			t.Errorf("%s: what an administrator may edit, and nothing else, is config|noreplace", c.Dst)
		}
	}
	for _, packager := range []string{"deb", "rpm"} {
		scripts := config.Overrides[packager].Scripts
		if len(scripts) != 3 {
			t.Errorf("%s has the scripts %q", packager, scripts)
		}
		for _, script := range scripts {
			sources = append(sources, script)
		}
	}
	for _, path := range sources {
		if _, err := os.Stat(filepath.Join("../..", path)); err != nil {
			t.Error(err)
		}
	}
}

// The manual pages have every flag and every command of the help.
func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	shmtest.Go(t, "run", "./manpage", "-version", "1", "-date", "2026-01-31", "-dir", dir,
		filepath.Join(bin, "statesync")+":1", filepath.Join(bin, "statesyncd")+":8")
	flag := regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`)
	pages := map[string][]string{"man8/statesyncd.8": {"statesyncd", "--help"}, "man1/statesync.1": {"statesync", "--help"}}
	for _, below := range []string{
		"get", "ls", "watch", "status", "wait", "verify", "check", "layers", "why", "completion",
		"accept", "audit", "bundle", "diff", "floors", "history", "log", "override", "pin", "reload", "rollback", "show", "unpin",
	} {
		pages["man1/statesync-"+below+".1"] = []string{"statesync", below, "--help"}
	}
	for path, of := range pages {
		page := read(t, filepath.Join(dir, path))
		flags := flag.FindAllStringSubmatch(command(t, nil, filepath.Join(bin, of[0]), of[1:]...), -1)
		if len(flags) == 0 {
			t.Errorf("the help of %q has no flags", of)
		}
		for _, f := range flags {
			term := regexp.MustCompile(`(?m)^\\fB(\\-\w, )?` + regexp.QuoteMeta(strings.ReplaceAll(f[1], "-", `\-`)) + `\b`)
			if !term.MatchString(page) {
				t.Errorf("%s does not explain %s", path, f[1])
			}
		}
	}
	made, err := filepath.Glob(filepath.Join(dir, "*/*"))
	if err != nil || len(made) != len(pages) {
		t.Errorf("the pages are %q, %v; want %d", made, err, len(pages))
	}
}
