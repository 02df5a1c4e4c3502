//go:build unix

package git

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/shm/shmtest"
)

// fetchForever is a child process of TestKilledFetches: it fetches from a URL into a
// directory until it is killed.
func fetchForever(args []string) error {
	specs, err := source.Schemes{Scheme}.Parse([]string{"git:" + args[0]})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		s, err := Open(specs[0], source.Options{StateDir: args[1]})
		if err != nil {
			return err
		}
		git := s.(*gitSource)
		git.Recheck()
		_, _ = s.Fetch(context.Background(), nil)
		_, _ = s.Fetch(context.Background(), nil)
		if git.repo.changes > 3 {
			_ = git.repo.remove() // a first fetch is killed as well
		}
	}
}

var kills = flag.Int("git.kills", 4, "how often TestKilledFetches kills a process that fetches")

// TestKilledFetches kills a process in the middle of its fetches, again and again: the
// next one makes use of what is left, or deletes it.
func TestKilledFetches(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "0", "large.bin", string(make([]byte, 1<<20)))
	state := filepath.Join(t.TempDir(), "state")
	for i := range *kills {
		cmd := exec.Command(os.Args[0], u.file(), state)
		cmd.Env = append(os.Environ(), childEnv+"=1")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 16)); err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprint(i + 1)
		u.push("a.yaml", want)
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond) // any moment will do
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()

		s := open(t, "git:"+u.file(), source.Options{StateDir: state})
		if got := string(fetch(t, s).Files[0].Data); got != want {
			t.Fatalf("after kill %d the snapshot has %q, want %q", i, got, want)
		}
		if left, _ := filepath.Glob(filepath.Join(s.repo.git.dir, "*.lock")); left != nil {
			t.Errorf("locks are left: %v", left)
		}
	}
}

func TestLeftoversAreRemoved(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	state := filepath.Join(t.TempDir(), "state")
	repo := open(t, "git:"+u.file(), source.Options{StateDir: state})
	fetch(t, repo)
	left := []string{"shallow.lock", "packed-refs.lock", "config.lock", "refs/statesync/fetched.lock", "objects/tmp_pack_x", "objects/pack/tmp_idx_y"}
	for _, name := range left {
		if err := os.WriteFile(filepath.Join(repo.repo.git.dir, name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	u.push("a.yaml", "2")
	s := open(t, "git:"+u.file(), source.Options{StateDir: state})
	if got := text(fetch(t, s)); got != "a.yaml=2" {
		t.Errorf("the snapshot has %q", got)
	}
	for _, name := range left {
		if _, err := os.Stat(filepath.Join(repo.repo.git.dir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
}

// TestOrphans cleans and deletes a repository into which the commands of a process that was
// killed still write.
func TestOrphans(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1")
	s := open(t, "git:"+u.file(), source.Options{StateDir: filepath.Join(t.TempDir(), "state")})
	fetch(t, s)
	ended := make(chan struct{})
	orphan := func(d time.Duration) {
		defer func() { ended <- struct{}{} }()
		for end := time.Now().Add(d); time.Now().Before(end); {
			dir := filepath.Join(s.repo.git.dir, "objects", fmt.Sprintf("%02x", rand.IntN(8)))
			_ = os.MkdirAll(dir, 0o700)
			name := filepath.Join(dir, fmt.Sprint("tmp_obj_", rand.Uint64()))
			if os.WriteFile(name, nil, 0o600) == nil && rand.IntN(2) == 0 {
				_ = os.Remove(name)
			}
		}
	}
	for range 4 {
		go orphan(100 * time.Millisecond)
	}
	last := filepath.Join(s.repo.git.dir, "shallow.lock")
	for n := 4; n > 0; {
		if err := os.WriteFile(last, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.repo.clean(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(last); err == nil {
			t.Fatal("shallow.lock is still there")
		}
		select {
		case <-ended:
			n--
		default:
		}
	}
	for range 4 {
		go orphan(100 * time.Millisecond)
	}
	err := s.repo.remove()
	for range 4 {
		<-ended
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := text(fetch(t, s)); got != "a.yaml=1" {
		t.Errorf("the snapshot has %q", got)
	}
}

func TestDamagedRepositoryIsFetchedAnew(t *testing.T) {
	u := newUpstream(t, "sha1")
	u.push("a.yaml", "1", "team/b.yaml", "b")
	whole := filepath.Join(t.TempDir(), "state")
	fetch(t, open(t, "git:"+u.file(), source.Options{StateDir: whole}))
	empty := func(name string) error { return os.Truncate(name, 0) }
	for name, damage := range shmtest.Some(map[string]func(dir string) error{
		"deleted":  os.RemoveAll,
		"no HEAD":  func(dir string) error { return os.Remove(filepath.Join(dir, "HEAD")) },
		"config":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "config"), []byte("[core"), 0o600) },
		"ref":      func(dir string) error { return empty(filepath.Join(dir, fetchedRef)) },
		"shallow":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "shallow"), []byte("x\n"), 0o600) },
		"objects":  func(dir string) error { return os.RemoveAll(filepath.Join(dir, "objects")) },
		"contents": func(dir string) error { return each(dir, os.Remove) },
		"emptied":  func(dir string) error { return each(dir, empty) },
	}, 3) {
		for _, running := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, running %v", name, running), func(t *testing.T) {
				t.Parallel()
				state := filepath.Join(t.TempDir(), "state")
				if err := os.CopyFS(state, os.DirFS(whole)); err != nil {
					t.Fatal(err)
				}
				s := open(t, "git:"+u.file(), source.Options{StateDir: state})
				if running {
					if err := errors.Join(s.prepare(), s.repo.open(t.Context())); err != nil {
						t.Fatal(err)
					}
				}
				if err := damage(filepath.Join(state, "repository.git")); err != nil {
					t.Fatal(err)
				}
				if got := text(fetch(t, s)); got != "a.yaml=1\nteam/b.yaml=b" {
					t.Errorf("the snapshot has %q", got)
				}
			})
		}
	}
}

// each calls f for each object of a repository.
func each(dir string, f func(string) error) error {
	list, err := filepath.Glob(filepath.Join(dir, "objects", "*", "*"))
	for _, name := range list {
		_ = os.Chmod(name, 0o600)
		if err := f(name); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("no objects in %s", dir)
	}
	return err
}
