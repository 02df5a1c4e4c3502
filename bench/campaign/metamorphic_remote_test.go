//go:build linux

package campaign

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/source/bundle"
)

// metaGit has the daemon follow a repository: each change of the source is a commit.
func metaGit(r *metaRun) {
	if _, err := exec.LookPath("git"); err != nil {
		return // the directory is followed, as in the other settings
	}
	repository := filepath.Join(r.base, "source.git")
	git := func(args ...string) error {
		cmd := exec.Command("git", append([]string{"--git-dir=" + repository, "--work-tree=" + filepath.Join(r.base, "source")}, args...)...)
		cmd.Env = append(gitEnv(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=maintenance.auto", "GIT_CONFIG_VALUE_0=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	r.atomic = true
	r.source = "git:file://" + repository + "?interval=100ms"
	r.deliver = func() error {
		return errors.Join(git("add", "--all"), git("commit", "--quiet", "--allow-empty", "--message=a change"))
	}
	ok(r, git("init", "--quiet", "--template=", "--initial-branch=main"))
	ok(r, r.deliver())
}

// metaBundle has the daemon follow a web server: each change of the source is a bundle. A
// source without files cannot be one.
func metaBundle(r *metaRun) {
	signer, public := bundleKey(r)
	keys := filepath.Join(r.base, "keys")
	ok(r, os.WriteFile(keys, []byte(public+"\n"), 0o600))

	var mu sync.Mutex
	objects := map[string][]byte{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if data := objects[path.Base(q.URL.Path)]; data != nil {
			_, _ = w.Write(data)
			return
		}
		http.NotFound(w, q)
	}))
	r.Cleanup(server.Close)
	r.atomic = true
	r.source = "bundle:" + server.URL + "/" + bundle.NoteName + "?interval=100ms&keys=" + keys
	sequence := uint64(0)
	r.deliver = func() error {
		files, err := sourceFilesIn(filepath.Join(r.base, "source"))
		if err != nil || len(files) == 0 {
			return err
		}
		sequence++
		made, err := bundleOf(files, sequence, time.Hour, signer)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		maps.Copy(objects, made)
		return nil
	}
}

// sourceFilesIn reads the files of a directory, in order.
func sourceFilesIn(dir string) (files []*source.File, err error) {
	root := os.DirFS(dir)
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, path)
		files = append(files, source.NewFile(path, data))
		return err
	})
	return files, err
}
