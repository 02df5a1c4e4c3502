package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/statesync/statesync/client/clienttest"
	"github.com/statesync/statesync/cmd/internal/cli"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
	"github.com/statesync/statesync/shm/writer"
)

// actAsProgram lets the test binary be the program itself.
const actAsProgram = "TEST_BE_STATESYNC"

func TestMain(m *testing.M) {
	if os.Getenv(actAsProgram) != "" {
		os.Exit(start())
	}
	goleak.VerifyTestMain(m)
}

// outcome is what became of a call.
type outcome struct {
	code           int
	stdout, stderr string
}

// call runs the program in this process, on the region in dir.
func call(t *testing.T, dir string, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	env := map[string]string{"STATESYNC_REGION": dir}
	code := run(ctx, args, func(name string) string { return env[name] }, &stdout, &stderr)
	return outcome{code, stdout.String(), stderr.String()}
}

// expect checks an outcome: the code, the whole of stdout unless it is "*", and
// parts of stderr. Without parts, stderr has to be empty.
func (o outcome) expect(t *testing.T, code int, stdout string, stderr ...string) {
	t.Helper()
	missing := ""
	for _, part := range stderr {
		if !strings.Contains(o.stderr, part) {
			missing += fmt.Sprintf("stderr lacks %q\n", part)
		}
	}
	if o.code != code || stdout != "*" && o.stdout != stdout || missing != "" || len(stderr) == 0 && o.stderr != "" {
		t.Errorf("exit code %d, want %d\n%sstderr:\n%sstdout:\n%s", o.code, code, missing, o.stderr, o.stdout)
		if stdout != "*" {
			t.Logf("wanted on stdout:\n%s", stdout)
		}
	}
}

// object is a document's content.
type object = map[string]any

// newRegion is a region with two documents and an opaque config.
func newRegion(t *testing.T) *clienttest.Region {
	t.Helper()
	r := clienttest.New(t)
	r.Publish(map[string]any{
		"matchmaker": object{
			"title": "elo \"fast\"\nsecond line", "weights": object{"elo": 1500, "ping": 0.5, "one": json.RawMessage("1.0")},
			"big": json.RawMessage("9007199254740993"), "pools": []object{{"name": "eu"}, {"name": "us"}}, "on": true, "none": nil,
		},
		"team/limits": []int{1, 2},
		"script":      clienttest.Opaque("return 1\n\x1b[2J"),
	})
	return r
}

// regionWriter publishes sections as a daemon does it.
type regionWriter struct {
	*writer.Writer
	t       *testing.T
	dir     string
	current *image.Image
}

func newWriter(t *testing.T, o writer.Options) *regionWriter {
	t.Helper()
	w := &regionWriter{t: t, dir: filepath.Join(t.TempDir(), "region")}
	o.Group = -1
	if o.MaxImage == 0 {
		o.MaxImage = 1 << 20
	}
	var err error
	if w.Writer, err = writer.Own(t.Context(), w.dir, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() }) // again, where the test has closed it
	return w
}

func (w *regionWriter) publish(revision string, sections ...*image.Section) {
	w.t.Helper()
	g := uint64(1)
	if w.current != nil {
		g = w.current.Generation() + 1
	}
	m, err := image.Build(g, revision, sections, w.current)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.current == nil {
		err = w.Create(g, m.Words())
	} else {
		err = w.Publish(g, m.Words())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.current = m
}

func (w *regionWriter) observe(revision string, good time.Duration, problem string) {
	w.t.Helper()
	w.Observe(shm.Observation{Observed: revision, SourceGood: good, Problem: problem})
	if err := w.Beat(); err != nil {
		w.t.Fatal(err)
	}
}

func document(t *testing.T, name, canonical string) *image.Section {
	t.Helper()
	s, err := image.NewDocument(name, []byte(canonical))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryCommandTeaches(t *testing.T) {
	root := (&app{env: os.Getenv, stdout: new(bytes.Buffer), stderr: new(bytes.Buffer)}).command()
	root.InitDefaultHelpCmd()
	var visit func(*cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" || c.Long == "" || !c.Runnable() {
			t.Errorf("%s: its help is incomplete", c.CommandPath())
		}
		if c.Name() != "help" && !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: it has no example of itself", c.CommandPath())
		}
		for line := range strings.Lines(c.Long + "\n" + c.Example) {
			if len([]rune(line)) > 81 {
				t.Errorf("%s: a line of its help is longer than 80 characters: %s", c.CommandPath(), line)
			}
		}
		o := call(t, "", append(strings.Fields(c.CommandPath())[1:], "--help")...)
		o.expect(t, exitOK, "*")
		if !strings.Contains(o.stdout, "Usage:") {
			t.Errorf("%s --help prints\n%s", c.CommandPath(), o.stdout)
		}
		for _, c := range c.Commands() {
			visit(c)
		}
	}
	visit(root)
	if n := len(root.Commands()); n != 24 {
		t.Errorf("there are %d commands, want 24", n)
	}
}

func TestUsage(t *testing.T) {
	dir := newRegion(t).Dir()
	for _, test := range []struct {
		args   string
		stderr string
	}{
		{"", "a command is missing"},
		{"gte x", "get"},
		{"get", "get NAME [KEY]"},
		{"get a b c", "get NAME [KEY]"},
		{"get matchmaker -o xml", "json, yaml, raw"},
		{"ls x y", "given 2 arguments;"},
		{"help nosuch", "no command \"nosuch\""},
		{"wait --timeout=-1s", "must not be negative"},
		{"watch x --timeout=-1s", "must not be negative"},
		{"watch team/ key", "team/ is a prefix"},
		{"ls --no-such-flag", "--no-such-flag"},
		{"ls --owner root", "numbers of users"},
		{"wait --timeout soon", "--timeout"},
		{"wait --generation -1", "--generation"},
		{"status --max-age 0s", "--max-age"},
		{"watch", "watch NAME [KEY]"},
		{"check", "check [NAME=]DIR"},
		{"check . --opaque [", "malformed"},
		{"check . --max-image 64MB", "64MiB"},
		{"check . --max-image 99999999999GiB", "64MiB"},
		{"check . --max-image 0", "\"0\" is not a valid size"},
		{"completion tcsh", "tcsh"},
	} {
		t.Run(test.args, func(t *testing.T) {
			call(t, dir, strings.Fields(test.args)...).expect(t, cli.ExitUsage, "", test.stderr, "Run 'statesync")
		})
	}
	t.Run("empty key", func(t *testing.T) {
		call(t, dir, "watch", "matchmaker", "").expect(t, cli.ExitUsage, "", "the key is empty")
	})
	t.Run("environment", func(t *testing.T) {
		var stdout, stderr bytes.Buffer
		env := map[string]string{"STATESYNC_REGION": dir, "STATESYNC_OWNER": "root"}
		code := run(t.Context(), []string{"ls"}, func(name string) string { return env[name] }, &stdout, &stderr)
		outcome{code, stdout.String(), stderr.String()}.expect(t, cli.ExitUsage, "", `STATESYNC_OWNER="root"`)
	})
}

func TestVersion(t *testing.T) {
	o := call(t, "", "--version")
	o.expect(t, exitOK, "*")
	if !strings.HasPrefix(o.stdout, "statesync version ") || !strings.Contains(o.stdout, "region layout 1,") {
		t.Error(o.stdout)
	}
}

// Every command that needs a region reports alike that there is none.
func TestNoRegion(t *testing.T) {
	commands := [][]string{{"get", "x"}, {"ls"}, {"status"}, {"verify"}}
	check := func(name string, prepare func(t *testing.T) string, stderr ...string) {
		t.Run(name, func(t *testing.T) {
			dir := prepare(t)
			for _, args := range commands {
				call(t, "/nowhere", append(args, "--region", dir)...).expect(t, exitNo, "", append(stderr, "statesync: ", dir)...)
			}
		})
	}
	check("absent", func(t *testing.T) string {
		return filepath.Join(t.TempDir(), "absent")
	}, "no region", "statesyncd --source", "--region", "STATESYNC_REGION")
	check("others may write it", func(t *testing.T) string {
		dir := newRegion(t).Dir()
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		return dir
	}, "untrusted", "chmod go-w")
	check("a link", func(t *testing.T) string {
		dir := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(newRegion(t).Dir(), dir); err != nil {
			t.Fatal(err)
		}
		return dir
	}, "untrusted")
	check("not for this user", func(t *testing.T) string {
		if os.Geteuid() == 0 {
			t.Skip("root may read everything")
		}
		dir := newRegion(t).Dir()
		if err := os.Chmod(filepath.Join(dir, shm.FileName), 0); err != nil {
			t.Fatal(err)
		}
		return dir
	}, "permission denied", "mode 0000", "in the group")
	check("of another layout", func(t *testing.T) string {
		dir := newRegion(t).Dir()
		overwrite(t, dir, 8, []byte{2})
		return dir
	}, "layout", "statesync that came with")
}

// On a packaged host the daemon is a service, for the region of its unit.
func TestStartDaemon(t *testing.T) {
	unit := filepath.Join(t.TempDir(), "statesyncd.service")
	command := "statesyncd --source dir:PATH --region "
	if got := startDaemon(shm.DefaultDir, unit); !strings.Contains(got, command+shm.DefaultDir) {
		t.Error("without the unit:", got)
	}
	if err := os.WriteFile(unit, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := startDaemon(shm.DefaultDir+"/", unit); !strings.Contains(got, "systemctl status statesyncd") {
		t.Error("with the unit:", got)
	}
	if got := startDaemon("/elsewhere", unit); !strings.Contains(got, command+"/elsewhere") {
		t.Error("another region:", got)
	}
}

// The owner of a region that is not root's or the reader's has to be named.
func TestOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files to another user")
	}
	r := newRegion(t)
	for _, path := range []string{r.Dir(), filepath.Join(r.Dir(), shm.FileName)} {
		if err := os.Chown(path, 12345, -1); err != nil {
			t.Fatal(err)
		}
	}
	// A directory that is not root's alone, so that its owner counts.
	if err := os.Chmod(filepath.Dir(r.Dir()), 0o777); err != nil {
		t.Fatal(err)
	}
	call(t, r.Dir(), "ls").expect(t, exitNo, "", "12345", "--owner 12345", "STATESYNC_OWNER=12345")
	call(t, r.Dir(), "wait", "--timeout", "10ms").expect(t, exitNo, "", "; to trust that user, use --owner 12345 or set STATESYNC_OWNER=12345\n")
	call(t, r.Dir(), "ls", "--owner", "1,12345").expect(t, exitOK, "*")
	call(t, r.Dir(), "wait", "--owner", "12345").expect(t, exitOK, "")
}

// Offsets in a region's file, in bytes; see docs/FORMAT.md.
const (
	hotWord     = 0x80
	statusBlock = 0x2000
	slotTable   = 0x1000
	slots       = 0x8000
)

// words are words as they are in a region's file.
func words(list ...uint64) (b []byte) {
	for _, word := range list {
		b = binary.LittleEndian.AppendUint64(b, word)
	}
	return b
}

// overwrite changes bytes of a region's file.
func overwrite(t *testing.T, dir string, at int64, data []byte) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, shm.FileName), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(data, at); err != nil {
		t.Fatal(err)
	}
}

// The program as its users have it: a process, its exit code, and signals.
func TestProcess(t *testing.T) {
	if signal.Ignored(os.Interrupt) {
		t.Skip("interrupts are ignored in this environment")
	}
	r := newRegion(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), self, args...)
		// The race detector waits for a second at the end unless it is told not to.
		cmd.Env = append(os.Environ(), actAsProgram+"=1", "STATESYNC_REGION="+r.Dir(), "GORACE=atexit_sleep_ms=0")
		return cmd
	}
	if out, err := program("get", "matchmaker", "pools.1.name", "-o", "raw").Output(); err != nil || string(out) != "us\n" {
		t.Errorf("%q, %v", out, err)
	}
	cmd := program("get", "nothing")
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != exitNo {
		t.Error(err)
	}
	for _, s := range []os.Signal{os.Interrupt, unix.SIGTERM} {
		cmd := program("watch", "matchmaker", "on")
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 100)
		if _, err := pipe.Read(line); err != nil {
			t.Error(err)
		}
		if err := cmd.Process.Signal(s); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("after %v: %v", s, err)
		}
	}
}
