package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/source"
)

// atomicWriter publishes files into dir as the kubelet does for ConfigMaps,
// Secrets and projected volumes (k8s.io/kubernetes/pkg/volume/util, AtomicWriter).
func atomicWriter(dir string, files map[string]string) error {
	old, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	stamped, err := os.MkdirTemp(dir, time.Now().UTC().Format("..2006_01_02_15_04_05."))
	if err != nil {
		return err
	}
	if err := os.Chmod(stamped, 0o755); err != nil {
		return err
	}
	tops := map[string]bool{}
	for name, data := range files {
		path := filepath.Join(stamped, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o644); err != nil {
			return err
		}
		top, _, _ := strings.Cut(name, "/")
		tops[top] = true
	}
	temp := filepath.Join(dir, "..data_tmp")
	if err := os.Symlink(filepath.Base(stamped), temp); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, "..data")); err != nil {
		return err
	}
	for top := range tops {
		err := os.Symlink(filepath.Join("..data", top), filepath.Join(dir, top))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	visible, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range visible {
		if !strings.HasPrefix(e.Name(), "..") && !tops[e.Name()] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}

// gitSync publishes files as git-sync does: a work tree of its own, and a symlink
// to it, current, replaced by rename. Old work trees are kept for a while if keep is set.
func gitSync(dir, sha string, keep bool, files map[string]string) error {
	link := filepath.Join(dir, "current")
	old, err := os.Readlink(link)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	tree := filepath.Join(".worktrees", sha)
	for name, data := range files {
		path := filepath.Join(dir, tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			return err
		}
	}
	temp := link + ".tmp"
	if err := os.Symlink(tree, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, link); err != nil {
		return err
	}
	if old == "" || keep {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}

// neverMixed publishes many versions of pair while it reads: each snapshot must be
// exactly one of them, none older than the one before, and the last one the last.
func neverMixed(t *testing.T, s *directory, versions int, publish func(n int) error) {
	t.Helper()
	must(t, publish(0))
	done := make(chan error, 1)
	go func() {
		for n := 1; n <= versions; n++ {
			if err := publish(n); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	var last, seen, unstable int
	for running := true; running; {
		select {
		case err := <-done:
			must(t, err)
			running = false
		default:
		}
		// What Fetch does, without its pauses: more scans meet more swaps.
		scan := s.scan(context.Background(), nil)
		if scan.unstable != nil {
			unstable++
			continue
		}
		must(t, scan.fatal)
		snap, err := s.finish(scan, s.newest)
		must(t, err)
		n := versionOf(t, snap)
		if n < last {
			t.Fatalf("version %d came after %d", n, last)
		}
		if n > last {
			seen++
		}
		last = n
	}
	if last = versionOf(t, read(t, s)); last != versions {
		t.Errorf("the last version read is %d, want %d", last, versions)
	}
	t.Logf("%d versions, %d of them seen, %d scans came to nothing", versions, seen, unstable)
}

func TestKubernetesVolume(t *testing.T) {
	t.Parallel()
	root := memDir(t)
	s := open(t, root, source.Options{NoWatch: true})
	neverMixed(t, s, 1000, func(n int) error { return atomicWriter(root, pair(n)) })

	must(t, atomicWriter(root, map[string]string{"c.yaml": "c: 1", "deep/er/d.yaml": "d: 1"}))
	wantFiles(t, read(t, s), map[string]string{"c.yaml": "c: 1", "deep/er/d.yaml": "d: 1"})

	put(t, root, "own.yaml", "x")
	_, err := fetch(s)
	if err == nil || !strings.Contains(err.Error(), "own.yaml: stands beside ..data") {
		t.Errorf("a file beside ..data: %v", err)
	}
}

// What was there before the link to it was is whole, however young.
func TestSwappedLayoutsNeedNoQuiet(t *testing.T) {
	t.Parallel()
	volume, git, linked := t.TempDir(), t.TempDir(), t.TempDir()
	never := source.Options{Quiet: time.Hour, MaxWait: time.Millisecond}
	fromVolume, fromGit, fromLinked := open(t, volume, never), open(t, filepath.Join(git, "current"), never), open(t, linked, never)
	for n := range 3 {
		must(t, atomicWriter(volume, pair(n)))
		wantFiles(t, read(t, fromVolume), pair(n))
		must(t, gitSync(git, fmt.Sprint(n), false, pair(n)))
		wantFiles(t, read(t, fromGit), pair(n))

		store := fmt.Sprintf(".store/%d.yaml", n)
		must(t, os.MkdirAll(filepath.Join(linked, ".store"), 0o755))
		must(t, os.WriteFile(filepath.Join(linked, store), []byte(store), 0o644))
		must(t, os.Symlink(store, filepath.Join(linked, ".new")))
		must(t, os.Rename(filepath.Join(linked, ".new"), filepath.Join(linked, "a.yaml")))
		wantFiles(t, read(t, fromLinked), map[string]string{"a.yaml": store})
	}
	time.Sleep(20 * time.Millisecond) // the clock's tick
	must(t, os.WriteFile(filepath.Join(git, "current", "a.yaml"), []byte("in place"), 0o644))
	if _, err := fetch(fromGit); !errors.Is(err, source.ErrUnstable) {
		t.Errorf("a write through the link: %v", err)
	}
}

// Deleting an old tree begins after the swap, and may be under way when the scan gets
// there: what is left must not be taken for the whole. The swap is made, exactly
// then, by the question whether a.yaml is wanted.
func TestSwapWithTheOldTreeHalfDeleted(t *testing.T) {
	t.Parallel()
	old := map[string]string{"a.yaml": "old", "team/b.yaml": "old", "team/c.yaml": "old"}
	whole := map[string]string{"a.yaml": "new", "team/b.yaml": "new", "team/c.yaml": "new"}
	in := func(dir string, files map[string]string) map[string]string {
		m := map[string]string{}
		for name, data := range files {
			m[dir+"/"+name] = data
		}
		return m
	}
	for _, test := range []struct {
		name    string
		publish func(root string, keep bool, files map[string]string) (tree string, err error)
		source  string
		prefix  string // of the paths
	}{
		{"volume", func(root string, keep bool, files map[string]string) (string, error) {
			tree, _ := os.Readlink(filepath.Join(root, "..data"))
			if !keep {
				return tree, atomicWriter(root, files)
			}
			// As atomicWriter, but stopped before the deletion.
			if err := os.Symlink("..new", filepath.Join(root, "..data_tmp")); err != nil {
				return "", err
			}
			for name, data := range files {
				put(t, root, "..new/"+name, data)
			}
			return tree, os.Rename(filepath.Join(root, "..data_tmp"), filepath.Join(root, "..data"))
		}, "", ""},
		{"git-sync", func(root string, keep bool, files map[string]string) (string, error) {
			tree, _ := os.Readlink(filepath.Join(root, "current"))
			return tree, gitSync(root, fmt.Sprint(keep), keep, files)
		}, "current", ""},
		{"directory", func(root string, keep bool, files map[string]string) (string, error) {
			if keep {
				if err := os.Rename(filepath.Join(root, "dir"), filepath.Join(root, ".old")); err != nil {
					return "", err
				}
			}
			for name, data := range in("dir", files) {
				put(t, root, name, data)
			}
			return ".old", nil
		}, "", "dir"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root := t.TempDir()
			_, err := test.publish(root, false, old)
			must(t, err)
			swap := false
			s := open(t, filepath.Join(root, test.source), source.Options{NoWatch: true, Wanted: func(path string) bool {
				if swap && filepath.Base(path) == "a.yaml" {
					swap = false
					tree, err := test.publish(root, true, whole)
					if err == nil {
						err = os.Remove(filepath.Join(root, tree, "team/c.yaml"))
					}
					if err != nil {
						t.Error(err)
					}
				}
				return true
			}})
			swap = true
			want := whole
			if test.prefix != "" {
				want = in(test.prefix, whole)
			}
			wantFiles(t, read(t, s), want)
			if swap {
				t.Error("nothing was swapped")
			}
		})
	}
}

// A volume may also be mounted below the source, or be read from inside.
func TestVolumesBelowAndAbove(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, root, "plain.yaml", "p: 1")
	must(t, os.Mkdir(filepath.Join(root, "vol"), 0o755))
	must(t, atomicWriter(filepath.Join(root, "vol"), pair(1)))
	whole, part := open(t, root, source.Options{}), open(t, filepath.Join(root, "vol", "team"), source.Options{})
	for n := 2; n < 5; n++ {
		must(t, atomicWriter(filepath.Join(root, "vol"), pair(n)))
		v := fmt.Sprintf("version: %d\n", n)
		wantFiles(t, read(t, whole), map[string]string{"plain.yaml": "p: 1", "vol/a.yaml": v, "vol/team/b.yaml": v})
		wantFiles(t, read(t, part), map[string]string{"b.yaml": v})
	}
}

func TestDataLinkThatIsNoVolume(t *testing.T) {
	t.Parallel()
	for _, target := range []string{"/etc", "../etc", "..", "plain", "..a/../../etc"} {
		root := t.TempDir()
		put(t, root, "a.yaml", "a: 1")
		must(t, os.Symlink(target, filepath.Join(root, "..data")))
		_, err := fetch(open(t, root, source.Options{}))
		if err == nil || !strings.Contains(err.Error(), "not a Kubernetes volume") {
			t.Errorf("..data to %s: %v", target, err)
		}
	}
	root := t.TempDir()
	must(t, os.Symlink("..gone", filepath.Join(root, "..data")))
	if _, err := fetch(open(t, root, source.Options{MaxWait: 1})); !errors.Is(err, source.ErrUnstable) {
		t.Errorf("..data to nothing: %v", err)
	}
	must(t, os.Symlink("/etc", filepath.Join(root, "..gone")))
	if _, err := fetch(open(t, root, source.Options{MaxWait: 1})); !errors.Is(err, source.ErrUnstable) {
		t.Errorf("..data to a symlink: %v", err)
	}
}

func TestGitSync(t *testing.T) {
	t.Parallel()
	for _, below := range []string{"", "configs"} {
		t.Run("below "+below, func(t *testing.T) {
			t.Parallel()
			root := memDir(t)
			s := open(t, filepath.Join(root, "current", below), source.Options{NoWatch: true})
			neverMixed(t, s, 1000, func(n int) error {
				files := map[string]string{}
				for name, data := range pair(n) {
					files[filepath.Join(below, name)] = data
				}
				return gitSync(root, fmt.Sprintf("%040x", n), false, files)
			})
		})
	}
}

// The parent of git-sync's link is not the source, and the error says so.
func TestGitSyncParent(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	must(t, gitSync(root, "abc", false, pair(1)))
	_, err := fetch(open(t, root, source.Options{}))
	if err == nil || !strings.Contains(err.Error(), "current: is a symlink to .worktrees/abc, a directory") {
		t.Errorf("the parent of the link: %v", err)
	}
}
