//go:build unix

package git

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/source"
)

// fake returns a binary that runs a shell script in the place of git.
func fake(t *testing.T, script string) *binary {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "git"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return &binary{dir: dir, search: dir + ":" + os.Getenv("PATH")}
}

func TestMissingGit(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	s := open(t, "git:"+u.file(), source.Options{})
	s.repo.git.search = t.TempDir()
	refusal(t, s, "git is not in PATH", "install the package git", "target git")
	s.repo.git.search = os.Getenv("PATH")
	fetch(t, s)
}

func TestEnvironmentIsMadeFromScratch(t *testing.T) {
	t.Setenv("GIT_CONFIG_PARAMETERS", "'core.pager'='x'")
	t.Setenv("GIT_SSH_COMMAND", "evil")
	t.Setenv("LD_PRELOAD_OF_TEST", "x")
	b := fake(t, "env")
	b.config = [][2]string{{"http.extraHeader", "secret"}}
	out, err := b.text(t.Context(), "fetch")
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Split(out, "\n")
	for _, want := range []string{"GIT_DIR=" + b.dir, "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_VALUE_0=/dev/null"} {
		if !slices.Contains(env, want) {
			t.Errorf("the environment has no %s", want)
		}
	}
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		known := strings.HasPrefix(name, "GIT_CONFIG_") && name != "GIT_CONFIG_PARAMETERS" ||
			slices.Contains([]string{
				"GIT_DIR", "PATH", "HOME", "LC_ALL", "GIT_ATTR_NOSYSTEM", "GIT_NO_REPLACE_OBJECTS", "GIT_TERMINAL_PROMPT",
				"GIT_ASKPASS", "SSH_ASKPASS", "PWD", "OLDPWD", "SHLVL", "_",
			}, name)
		if !known {
			t.Errorf("the environment has %s", kv)
		}
	}
}

// TestCommandsEnd has commands that do not end on their own, with children in the
// background: none is left.
func TestCommandsEnd(t *testing.T) {
	const children = `sleep 1000 &
echo $$ $!
`
	for name, c := range map[string]struct {
		script string
		call   call
		cancel bool
		want   error
	}{
		"time limit":      {children + "wait", call{limit: 200 * time.Millisecond}, false, errTimeLimit},
		"context":         {children + "wait", call{}, true, context.Canceled},
		"SIGTERM ignored": {"trap '' TERM\n" + children + "while :; do sleep 1; done", call{limit: 200 * time.Millisecond}, false, errTimeLimit},
		"left behind":     {children, call{}, false, nil},
	} {
		b := fake(t, c.script) // while no other test starts a process: a file that is open for writing cannot be run
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var pids []string
			c.call.args = []string{"fetch"}
			c.call.output = func(r io.Reader) error {
				line := make([]byte, 64)
				n, err := r.Read(line)
				pids = strings.Fields(string(line[:n]))
				if c.cancel {
					cancel()
				}
				if name == "left behind" { // it holds the output open
					cancel()
				}
				return err
			}
			err := b.run(ctx, c.call)
			if c.want == nil && name != "left behind" && err != nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("the error is %v, want %v", err, c.want)
			}
			if len(pids) != 2 {
				t.Fatalf("the script said %q", pids)
			}
			for _, text := range pids {
				pid, _ := strconv.Atoi(text)
				for try := 0; alive(pid); try++ { // init reaps it
					if try == 500 {
						t.Fatalf("process %d is left", pid)
					}
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
}

// alive reports whether a process exists and is not a zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestErrorsAreOneLineWithoutSecrets(t *testing.T) {
	b := fake(t, `printf 'remote: \033[31mred\nhint: do this\n\nfatal: no hunter2 for %0500d\n' 7 >&2; exit 128`)
	b.secrets = []string{"hunter2"}
	err := b.run(t.Context(), call{args: []string{"fetch"}})
	if err == nil || strings.ContainsAny(err.Error(), "\n\033") || strings.Contains(err.Error(), "hunter2") || len(err.Error()) > maxTold+50 {
		t.Errorf("the error is %q", err)
	}
	if !said(err, "red; fatal: no … for") {
		t.Errorf("the error is %q", err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	b := fake(t, "exec yes")
	if _, err := b.text(t.Context(), "rev-parse"); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("the error is %v", err)
	}
}

func TestSizeOfAFetchIsLimited(t *testing.T) {
	u := newUpstream(t, "sha1")
	random := make([]byte, 200<<10)
	for i := range random {
		random[i] = byte(rand.Int())
	}
	u.push("a.yaml", "1", "large.bin", string(random))
	s := open(t, "git:"+u.file(), source.Options{})
	s.repo.maxFile = 100 << 10
	refusal(t, s, "larger than 102400 bytes")
	s.repo.maxFile = 1 << 20
	fetch(t, s)
}
