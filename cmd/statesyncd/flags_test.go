//go:build unix

package main

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/statesync/statesync/cmd/internal/cli"
	"github.com/statesync/statesync/shm/writer"
)

// parse returns the settings of a command line and an environment, or the error.
func parse(environ []string, args ...string) (*settings, error) {
	var got *settings
	cmd := newCommand(environ, func(s *settings) error { got = s; return nil })
	cmd.SetArgs(args)
	cmd.SetOut(&bytes.Buffer{})
	err := cmd.Execute()
	return got, err
}

func TestDefaults(t *testing.T) {
	s, err := parse([]string{"HOME=/home/me"}, "--source", "dir:/etc/app")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.sources, []string{"dir:/etc/app"}) || s.Region != "/dev/shm/statesync/default" || s.Resync != 5*time.Second ||
		s.LockWait != 10*time.Second || s.listen != "127.0.0.1:17471" || s.chosen || s.MaxAge != time.Minute || s.once || s.dryRun || s.AllowEmpty || s.Opaque != nil {
		t.Errorf("the settings are %+v", s)
	}
	if want := (writer.Options{Slots: 4, MaxImage: 64 << 20, Mode: 0o644, Group: -1}); !reflect.DeepEqual(s.Writer, want) {
		t.Errorf("the writer's options are %+v", s.Writer)
	}
}

// Each flag works on the command line and in the environment, and the command
// line wins.
func TestFlagsAndEnvironment(t *testing.T) {
	type check func(*settings) bool
	for _, c := range []struct {
		flag, value string
		holds       check
		other       string
		holdsOther  check
	}{
		{"source", "dir:/a", func(s *settings) bool { return slices.Equal(s.sources, []string{"dir:/a"}) }, "dir:/b", func(s *settings) bool { return slices.Equal(s.sources, []string{"dir:/b"}) }},
		{"region", "/r", func(s *settings) bool { return s.Region == "/r" }, "/q", func(s *settings) bool { return s.Region == "/q" }},
		{"state-dir", "/s", func(s *settings) bool { return s.StateDir == "/s" }, "/z", func(s *settings) bool { return s.StateDir == "/z" }},
		{"resync", "1m", func(s *settings) bool { return s.Resync == time.Minute }, "7s", func(s *settings) bool { return s.Resync == 7*time.Second }},
		{"slots", "8", func(s *settings) bool { return s.Writer.Slots == 8 }, "2", func(s *settings) bool { return s.Writer.Slots == 2 }},
		{"max-image", "3MiB", func(s *settings) bool { return s.Writer.MaxImage == 3<<20 }, "65536", func(s *settings) bool { return s.Writer.MaxImage == 65536 }},
		{"region-mode", "0640", func(s *settings) bool { return s.Writer.Mode == 0o640 }, "600", func(s *settings) bool { return s.Writer.Mode == 0o600 }},
		{"region-group", "12", func(s *settings) bool { return s.Writer.Group == 12 }, "0", func(s *settings) bool { return s.Writer.Group == 0 }},
		{"lock-wait", "0s", func(s *settings) bool { return s.LockWait == 0 }, "1h", func(s *settings) bool { return s.LockWait == time.Hour }},
		{"opaque", "*.pem,*.txt", func(s *settings) bool { return slices.Equal(s.Opaque, []string{"*.pem", "*.txt"}) }, "x", func(s *settings) bool { return slices.Equal(s.Opaque, []string{"x"}) }},
		{"allow-empty", "true", func(s *settings) bool { return s.AllowEmpty }, "false", func(s *settings) bool { return !s.AllowEmpty }},
		{"history", "20", func(s *settings) bool { return s.History.Records == 20 }, "1", func(s *settings) bool { return s.History.Records == 1 }},
		{"history-bytes", "3MiB", func(s *settings) bool { return s.History.Bytes == 3<<20 }, "65536", func(s *settings) bool { return s.History.Bytes == 65536 }},
		{"max-removed", "20%", func(s *settings) bool { return s.Guards.MaxRemoved == 20 }, "0", func(s *settings) bool { return s.Guards.MaxRemoved < 0 }},
		{"max-removed-keys", "20", func(s *settings) bool { return s.Guards.MaxRemovedKeys == 20 }, "100%", func(s *settings) bool { return s.Guards.MaxRemovedKeys == 100 }},
		{"accept", "sha256:a,sha256:b", func(s *settings) bool { return slices.Equal(s.Guards.Accept, []string{"sha256:a", "sha256:b"}) }, "x", func(s *settings) bool { return slices.Equal(s.Guards.Accept, []string{"x"}) }},
		{"control-group", "12", func(s *settings) bool { return s.controlGroup == 12 }, "0", func(s *settings) bool { return s.controlGroup == 0 }},
		{"control-dir", "/run/x", func(s *settings) bool { return s.controlDir == "/run/x" }, "/run/y", func(s *settings) bool { return s.controlDir == "/run/y" }},
		{"seal", "true", func(s *settings) bool { return s.Writer.Seal }, "false", func(s *settings) bool { return !s.Writer.Seal }},
		{"listen", "off", func(s *settings) bool { return s.listen == "" && s.chosen }, "unix:/x", func(s *settings) bool { return s.listen == "unix:/x" }},
		{"webhook", "127.0.0.1:1", func(s *settings) bool { return s.webhook == "127.0.0.1:1" }, "unix:/x", func(s *settings) bool { return s.webhook == "unix:/x" }},
		{"webhook-secret", "/s", func(s *settings) bool { return s.webhookSecret == "/s" }, "/z", func(s *settings) bool { return s.webhookSecret == "/z" }},
		{"max-age", "1h", func(s *settings) bool { return s.MaxAge == time.Hour }, "6s", func(s *settings) bool { return s.MaxAge == 6*time.Second }},
		{"log-format", "json", func(s *settings) bool { return s.logFormat == "json" }, "text", func(s *settings) bool { return s.logFormat == "text" }},
		{"log-values", "true", func(s *settings) bool { return s.LogValues }, "false", func(s *settings) bool { return !s.LogValues }},
		{"plan-time", "2m", func(s *settings) bool { return s.PlanTime == 2*time.Minute }, "1s", func(s *settings) bool { return s.PlanTime == time.Second }},
		{"log-level", "debug", func(s *settings) bool { return s.logLevel == "debug" }, "WARN", func(s *settings) bool { return s.logLevel == "WARN" }},
		{"once", "true", func(s *settings) bool { return s.once }, "false", func(s *settings) bool { return !s.once }},
		{"dry-run", "true", func(s *settings) bool { return s.dryRun }, "false", func(s *settings) bool { return !s.dryRun }},
	} {
		base := []string{"HOME=/home/me", "PATH=/bin", "RUNTIME_DIRECTORY=/run/me"}
		if c.flag != "source" {
			base = append(base, "STATESYNC_SOURCE=git:https://example.com/x")
		}
		switch c.flag { // one needs the other
		case "webhook":
			base = append(base, "STATESYNC_WEBHOOK_SECRET=/s")
		case "webhook-secret":
			base = append(base, "STATESYNC_WEBHOOK=unix:/x")
		}
		flag := "--" + c.flag + "="
		variable := "STATESYNC_" + strings.ToUpper(strings.ReplaceAll(c.flag, "-", "_")) + "="
		if s, err := parse(base, flag+c.value); err != nil || !c.holds(s) {
			t.Errorf("%s%s: %v, %+v", flag, c.value, err, s)
		}
		if s, err := parse(append(base, variable+c.value)); err != nil || !c.holds(s) {
			t.Errorf("%s%s: %v, %+v", variable, c.value, err, s)
		}
		if s, err := parse(append(base, variable+c.value), flag+c.other); err != nil || !c.holdsOther(s) {
			t.Errorf("%s%s with %s%s: %v, %+v", variable, c.value, flag, c.other, err, s)
		}
		if c.flag != "source" {
			if _, err := parse(append(base, variable)); err != nil && !strings.HasPrefix(c.flag, "webhook") {
				t.Errorf("an empty %s: %v", variable, err)
			}
		}
	}
}

// The table above has every flag.
func TestEveryFlagIsTested(t *testing.T) {
	cmd := newCommand(nil, nil)
	source, err := os.ReadFile("flags_test.go")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !bytes.Contains(source, []byte("\t\t{\""+f.Name+"\", ")) {
			t.Errorf("--%s is not in the table", f.Name)
		}
		if f.Usage == "" {
			t.Errorf("--%s has no help", f.Name)
		}
	})
}

func TestOpaqueRepeats(t *testing.T) {
	s, err := parse([]string{"HOME=/"}, "--source=dir:/a", "--opaque", "*.a", "--opaque=*.b,*.c")
	if err != nil || !slices.Equal(s.Opaque, []string{"*.a", "*.b", "*.c"}) {
		t.Error(err, s)
	}
}

func TestUnknownVariables(t *testing.T) {
	home := []string{"HOME=/"}
	for variable, meant := range map[string]string{
		"STATESYNC_RESINC":        "STATESYNC_RESYNC",
		"STATESYNC_STATEDIR":      "STATESYNC_STATE_DIR",
		"STATESYNC_MAX_IMAGES":    "STATESYNC_MAX_IMAGE",
		"STATESYNC_REGION_GRUOP":  "STATESYNC_REGION_GROUP",
		"STATESYNC_LOGLEVEL":      "STATESYNC_LOG_LEVEL",
		"STATESYNC_source":        "STATESYNC_SOURCE",
		"STATESYNC_HELP":          "STATESYNC_SEAL",
		"STATESYNC_OWNERS":        "STATESYNC_ONCE",
		"STATESYNC_SERVICE_HOSTS": "",
		"STATESYNC_API_PORT":      "", // of no Service, since its host is not there
	} {
		for _, value := range []string{"x", ""} {
			_, err := parse(append(home, variable+"="+value), "--source=dir:/a")
			var usage *usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), variable) || !strings.Contains(err.Error(), meant) {
				t.Errorf("%s: %v", variable, err)
			}
		}
	}
}

func TestVariablesThatAreOthers(t *testing.T) {
	_, err := parse([]string{
		"HOME=/",
		"STATESYNCED=1", "MY_STATESYNC_X=1", // not ours
		"STATESYNC_OWNER=1000", // the readers'
		// Of a Service statesync.
		"STATESYNC_SERVICE_HOST=10.0.0.1", "STATESYNC_SERVICE_PORT=80", "STATESYNC_SERVICE_PORT_HTTP=80",
		"STATESYNC_PORT=tcp://10.0.0.1:80", "STATESYNC_PORT_80_TCP=tcp://10.0.0.1:80",
		"STATESYNC_PORT_80_TCP_PROTO=tcp", "STATESYNC_PORT_80_TCP_PORT=80", "STATESYNC_PORT_80_TCP_ADDR=10.0.0.1",
		// Of a Service statesync-metrics.
		"STATESYNC_METRICS_SERVICE_HOST=10.0.0.2", "STATESYNC_METRICS_SERVICE_PORT=80",
		"STATESYNC_METRICS_PORT=tcp://10.0.0.2:80", "STATESYNC_METRICS_PORT_80_TCP_ADDR=10.0.0.2",
	}, "--source=dir:/a")
	if err != nil {
		t.Error(err)
	}
}

func TestBadUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "--source is missing"},
		{[]string{"--source="}, "has no scheme"},
		{[]string{"--source=/etc/app"}, "dir:/etc/app"},
		{[]string{"--source=svn:x"}, "unknown scheme"},
		{[]string{"--source=git:x"}, "https://HOST/PATH"},
		{[]string{"--source=git:https://a:b@example.com/x"}, "credentials=FILE"},
		{[]string{"--source=dir:"}, "dir:PATH"},
		{[]string{"--source=dir:/100%"}, "write %25"},
		{[]string{"--source=dir:/a?b"}, "%3F"},
		{[]string{"--source=dir:/a?prefx=b"}, "did you mean prefix"},
		{[]string{"--source=a=dir:/a", "--source=a=dir:/b"}, "both called a"},
		{[]string{"--source=dir:/a", "--plan-time=1ms"}, "at least 1s"},
		{[]string{"dir:/etc/app"}, "--source dir:PATH"},
		{[]string{"--source=dir:/a", "--region="}, "--region is empty"},
		{[]string{"--source=dir:/a", "--resync=0s"}, "at least 100ms"},
		{[]string{"--source=dir:/a", "--resync=-5s"}, "at least 100ms"},
		{[]string{"--source=dir:/a", "--resync=5"}, "--resync"},
		{[]string{"--source=dir:/a", "--lock-wait=-1s"}, "negative"},
		{[]string{"--source=dir:/a", "--slots=1"}, "2 to 32"},
		{[]string{"--source=dir:/a", "--slots=33"}, "2 to 32"},
		{[]string{"--source=dir:/a", "--max-image=2048GiB"}, "--max-image"},
		{[]string{"--source=dir:/a", "--max-image=64M"}, "64MiB"},
		{[]string{"--source=dir:/a", "--region-mode=0666"}, "0640"},
		{[]string{"--source=dir:/a", "--region-group=no such group"}, "getent group"},
		{[]string{"--source=dir:/a", "--opaque=[a"}, "not a valid glob"},
		{[]string{"--source=dir:/a", "--opaque=a,,b"}, "not a valid glob"},
		{[]string{"--source=dir:/a", "--listen=17471"}, "HOST:PORT"},
		{[]string{"--source=dir:/a", "--listen=unix:"}, "unix:PATH"},
		{[]string{"--source=dir:/a", "--listen=127.0.0.1:99999"}, "99999"},
		{[]string{"--source=dir:/a", "--region=/a/b", "--state-dir=/a/../a/b/"}, "both /a/b"},
		{[]string{"--source=dir:/a", "--region=/tmp", "--state-dir=/proc/self/root/tmp"}, "--state-dir"},
		{[]string{"--source=git:https://a/b", "--webhook=127.0.0.1:1"}, "--webhook-secret"},
		{[]string{"--source=git:https://a/b", "--webhook-secret=/s"}, "--webhook"},
		{[]string{"--source=git:https://a/b", "--webhook=127.0.0.1:1", "--webhook-secret=s3cret"}, "not the absolute path"},
		{[]string{"--source=git:https://a/b", "--webhook=:1", "--webhook-secret=/s"}, "loopback"},
		{[]string{"--source=git:https://a/b", "--webhook=localhost:1", "--webhook-secret=/s"}, "loopback"},
		{[]string{"--source=git:https://a/b", "--webhook=192.0.2.1:1", "--webhook-secret=/s"}, "loopback"},
		{[]string{"--source=git:https://a/b", "--webhook=unix:", "--webhook-secret=/s"}, "no socket file"},
		{[]string{"--source=dir:/a", "--webhook=127.0.0.1:1", "--webhook-secret=/s"}, "git: and bundle:"},
		{[]string{"--source=dir:/a", "--max-age=5s"}, "at least 10s"},
		{[]string{"--source=dir:/a", "--max-age=0s"}, "at least 10s"},
		{[]string{"--source=dir:/a", "--log-format=xml"}, "text or json"},
		{[]string{"--source=dir:/a", "--log-level=loud"}, "debug, info, warn or error"},
		{[]string{"--source=dir:/a", "--nonsense"}, "--nonsense"},
	} {
		var stdout, stderr bytes.Buffer
		code := execute(c.args, []string{"HOME=/"}, &stdout, &stderr)
		if code != cli.ExitUsage || !strings.Contains(stderr.String(), c.says) || !strings.Contains(stderr.String(), "--help") || stdout.Len() > 0 {
			t.Errorf("%q: exit %d, %s", c.args, code, stderr.String())
		}
	}
	// The environment's values are looked at as closely, and named.
	if _, err := parse([]string{"HOME=/", "STATESYNC_MAX_IMAGE=big"}, "--source=dir:/a"); err == nil || !strings.Contains(err.Error(), "STATESYNC_MAX_IMAGE") {
		t.Error(err)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, arg := range []string{"--help", "-h", "--version"} {
		var stdout, stderr bytes.Buffer
		// Not even a wrong environment is in the way of help.
		if code := execute([]string{arg}, []string{"STATESYNC_NONSENSE=1"}, &stdout, &stderr); code != exitOK || stdout.Len() == 0 || stderr.Len() > 0 {
			t.Errorf("%s: exit %d, %s", arg, code, stderr.String())
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		var stdout, stderr bytes.Buffer
		if code := execute([]string{"completion", shell}, nil, &stdout, &stderr); code != exitOK || !strings.Contains(stdout.String(), "statesyncd") {
			t.Errorf("completion %s: exit %d, %s", shell, code, stderr.String())
		}
	}
	var stdout, stderr bytes.Buffer
	if code := execute([]string{"__complete", "--log-format", ""}, nil, &stdout, &stderr); code != exitOK || !strings.HasPrefix(stdout.String(), "text\njson\n") {
		t.Errorf("exit %d, %s", code, stdout.String())
	}
}

func TestStateDir(t *testing.T) {
	for _, c := range []struct {
		environ []string
		euid    int
		want    string
	}{
		{[]string{"STATE_DIRECTORY=/var/lib/mine", "HOME=/root"}, 0, "/var/lib/mine"},
		{[]string{"STATE_DIRECTORY=/a:/b"}, 0, ""},
		{[]string{"HOME=/root", "XDG_STATE_HOME=/x"}, 0, "/var/lib/statesync/tenant-1f83ee40"},
		{[]string{"HOME=/home/me", "XDG_STATE_HOME=/x"}, 1000, "/x/statesync/tenant-1f83ee40"},
		{[]string{"HOME=/home/me", "XDG_STATE_HOME=relative"}, 1000, "/home/me/.local/state/statesync/tenant-1f83ee40"},
		{[]string{"HOME=/home/me"}, 1000, "/home/me/.local/state/statesync/tenant-1f83ee40"},
		{[]string{"HOME=/home/old", "HOME=/home/me"}, 1000, "/home/me/.local/state/statesync/tenant-1f83ee40"},
		{nil, 1000, ""},
	} {
		got, before, err := defaultStateDir(c.environ, "/dev/shm/statesync/tenant/", c.euid)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q as %d: %s, %v", c.environ, c.euid, got, err)
		}
		if want := strings.TrimSuffix(c.want, "-1f83ee40"); want != c.want && before != want || want == c.want && before != "" {
			t.Errorf("%q as %d: before %s", c.environ, c.euid, before)
		}
		if err != nil && !strings.Contains(err.Error(), "--state-dir") {
			t.Error(err)
		}
	}
	if s, err := parse(nil, "--source=dir:/a", "--state-dir", ""); err != nil || s.StateDir != "" {
		t.Error("an empty --state-dir is not none:", err)
	}
}

func TestFileMode(t *testing.T) {
	for text, want := range map[string]fs.FileMode{"0644": 0o644, "644": 0o644, "0o640": 0o640, "0600": 0o600, "0604": 0o604} {
		var m fileMode
		if err := m.Set(text); err != nil || fs.FileMode(m) != want {
			t.Errorf("%s: %04o, %v", text, m, err)
		}
	}
	for _, text := range []string{"", "0", "0666", "0660", "0444", "0755", "4644", "rw-r--r--", "-644", "0x1a4", "800"} {
		var m fileMode
		if err := m.Set(text); err == nil {
			t.Errorf("%q: %04o", text, m)
		}
	}
}

func TestGroup(t *testing.T) {
	var g group
	if err := g.Set("0"); err != nil || g != 0 {
		t.Error(g, err)
	}
	if err := g.Set("root"); err != nil || g != 0 {
		t.Logf("this machine has no group root: %v", err)
	}
	for _, text := range []string{"", "-1", "4294967296", "no such group"} {
		if err := g.Set(text); err == nil {
			t.Errorf("%q is the group %d", text, g)
		}
	}
}

func TestLogger(t *testing.T) {
	for format, want := range map[string]string{"text": "took=1.5s", "json": `"took":"1.5s"`} {
		var out bytes.Buffer
		s := &settings{logFormat: format, logLevel: "warn"}
		log := s.logger(&out)
		log.Info("hidden")
		log.Warn("shown", "took", 1500*time.Millisecond, "level", slog.LevelWarn)
		if !strings.Contains(out.String(), want) || strings.Contains(out.String(), "hidden") {
			t.Errorf("%s: %s", format, out.String())
		}
	}
}

// A run that fails exits 1 and says why in the log.
func TestExitCodes(t *testing.T) {
	base := t.TempDir()
	args := []string{
		"--source=dir:" + filepath.Join(base, "source"), "--region=" + filepath.Join(base, "region"),
		"--state-dir=" + filepath.Join(base, "state"), "--max-image=1MiB",
	}
	var stdout, stderr bytes.Buffer
	run := func(more ...string) int {
		stdout.Reset()
		stderr.Reset()
		return execute(append(args, more...), nil, &stdout, &stderr)
	}
	if code := run("--once"); code != exitFailed || !strings.Contains(stderr.String(), "no such file or directory") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
	if err := os.Mkdir(filepath.Join(base, "source"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(base, "source", "a.yaml"), []byte("x: 1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code := run("--dry-run"); code != exitOK || !strings.Contains(stdout.String(), "added    a\n") {
		t.Errorf("exit %d: %s%s", code, stdout.String(), stderr.String())
	}
	if code := run("--once", "--log-format=json"); code != exitOK || !strings.Contains(stderr.String(), `"msg":"published in a new region"`) {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
	if code := run("--once", "--state-dir=/dev/null/state"); code != exitFailed || !strings.Contains(stderr.String(), "--state-dir") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}
