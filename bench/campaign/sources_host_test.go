//go:build linux

package campaign

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/statesync/statesync/daemon/control"
	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/source/bundle"
	"github.com/statesync/statesync/daemon/source/git/githttp"
	"github.com/statesync/statesync/seqlock"
	"github.com/statesync/statesync/shm"
	"github.com/statesync/statesync/shm/image"
)

// An origin is a repository or a place of bundles, which a layer of a daemon follows. Each
// of its changes is two files with one number. The numbers of what the daemon must accept
// increase. What it must refuse has a negative number, or one that it had before.
type origin struct {
	layer   string
	spec    string // of the source
	number  int    // of the newest change that must be accepted
	push    func()
	wrongs  []wrong
	trouble string       // a part of what the status must say; empty: all is well
	mode    atomic.Value // what the server does
}

// wrong is one way in which an origin goes wrong.
type wrong struct {
	name string
	does func()
	says string // a part of what the status says
}

// What a server does with requests.
const (
	sourceServes = "serves"
	sourceDown   = "down"  // ends each connection
	sourceFails  = "fails" // answers 503
	sourceCuts   = "cuts"  // sends half of each answer
)

// anyTrouble is in each problem of a layer.
const anyTrouble = ": "

// sourceFile is the content of one of the two files of a change.
type sourceFile struct {
	Number int    `json:"number"`
	Text   string `json:"text"` // follows from the number
}

// sourceFiles are the files of a change, by name. Changes differ in size.
func sourceFiles(layer string, number int) map[string][]byte {
	files := map[string][]byte{}
	for _, name := range []string{"-a", "-b"} {
		text, _ := json.Marshal(sourceFile{number, sourceText(number)})
		files[layer+name+".json"] = text
	}
	return files
}

func sourceText(number int) string {
	return strings.Repeat(strconv.Itoa(number)+" ", 10+500*(number&3))
}

// sourcesHost is a host whose daemon follows a repository and bundles over TLS.
type sourcesHost struct {
	testing.TB
	binary              string
	base, region, state string
	chance              *rand.Rand
	git, bundle         *origin
	signers             string       // the file of the allowed signers
	signer              string       // what is in it
	unchanged           atomic.Int64 // answers that a note is the same as before

	// publish publishes a change as a bundle. Without a signer it is signed as it has to be.
	publish func(sequence uint64, number int, valid time.Duration, by note.Signer)

	current *crashDaemon
	kills   int
	at      int // of them at failpoints
	reboots int
	wrongs  map[string]int // how often, by name

	// mu guards what was seen by any reader.
	mu         sync.Mutex
	looks      int
	seen       map[string]int // numbers by layer
	generation uint64
}

func newSourcesHost(t testing.TB) *sourcesHost {
	t.Helper()
	for _, tool := range []string{"git", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	base := memory(t)
	h := &sourcesHost{
		TB: t, base: base, chance: chance("sources"), region: filepath.Join(base, "region"), state: filepath.Join(base, "state"),
		binary: build(t, "github.com/statesync/statesync/cmd/statesyncd", "-tags=failpoints"),
		wrongs: map[string]int{}, seen: map[string]int{},
	}
	h.git, h.bundle = &origin{layer: "git"}, &origin{layer: "bundle"}
	h.git.mode.Store(sourceServes)
	h.bundle.mode.Store(sourceServes)
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	ca := filepath.Join(base, "ca.pem")
	ok(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600))
	h.Setenv("SSL_CERT_FILE", ca)
	h.newRepository(mux, server.URL)
	h.newBundles(mux, server.URL)
	t.Cleanup(func() {
		if d := h.current; d != nil {
			if t.Failed() {
				s, _ := h.status()
				t.Logf("the last daemon says %+v, and wrote:\n%s", s, d.log())
			}
			d.kill()
		}
	})
	return h
}

// served is a handler of an origin, which can fail.
func (o *origin) served(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch o.mode.Load() {
		case sourceDown:
			panic(http.ErrAbortHandler)
		case sourceFails:
			http.Error(w, "try later", http.StatusServiceUnavailable)
		case sourceCuts:
			whole := httptest.NewRecorder()
			q.Header.Del("If-None-Match")
			handler.ServeHTTP(whole, q)
			_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		default:
			handler.ServeHTTP(w, q)
		}
	})
}

// becomes makes a way to go wrong of what the server does.
func (o *origin) becomes(mode string) wrong {
	return wrong{o.layer + ": the server " + mode, func() { o.mode.Store(mode) }, anyTrouble}
}

// newRepository makes the repository of signed commits, and serves it as forges do.
func (h *sourcesHost) newRepository(mux *http.ServeMux, url string) {
	h.Helper()
	o, work, key := h.git, filepath.Join(h.base, "work"), filepath.Join(h.base, "key")
	run := func(command string, args ...string) string {
		h.Helper()
		cmd := exec.Command(command, args...)
		cmd.Dir = h.base
		cmd.Env = gitEnv()
		out, err := cmd.CombinedOutput()
		if err != nil {
			h.Fatalf("%s %v: %v\n%s", command, args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git := func(args ...string) string { h.Helper(); return run("git", append([]string{"-C", work}, args...)...) }
	commit := func(number int, options ...string) {
		h.Helper()
		for name, text := range sourceFiles("git", number) {
			ok(h, os.WriteFile(filepath.Join(work, name), text, 0o644))
		}
		git("add", "--all", ".")
		git(append([]string{"commit", "--quiet", "-m", fmt.Sprint("change ", number)}, options...)...)
	}
	run("git", "init", "--quiet", "--template=", "--initial-branch=main", work)
	run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	for _, setting := range []string{"gpg.format=ssh", "user.signingKey=" + key, "commit.gpgSign=true", "gc.auto=0"} {
		name, value, _ := strings.Cut(setting, "=")
		git("config", name, value)
	}
	public, err := os.ReadFile(key + ".pub")
	ok(h, err)
	h.signers, h.signer = filepath.Join(h.base, "signers"), string(public)
	ok(h, os.WriteFile(h.signers, []byte("ada@example.com "+h.signer), 0o600))

	root, head := "", ""
	o.push = func() {
		o.number++
		if head != "" {
			git("reset", "--quiet", "--hard", head)
		}
		commit(o.number)
		if head = git("rev-parse", "HEAD"); root == "" {
			root = head
		}
	}
	o.wrongs = []wrong{
		{"a branch that is rewritten", func() { git("reset", "--quiet", "--hard", root); commit(-o.number) }, "does not descend from"},
		{"a branch that is set back", func() { git("reset", "--quiet", "--hard", root) }, "does not descend from"},
		{"a commit that is not signed", func() { commit(-o.number, "--no-gpg-sign") }, "is not signed"},
		o.becomes(sourceDown), o.becomes(sourceFails), o.becomes(sourceCuts),
	}
	ok(h, os.Symlink(filepath.Join(work, ".git"), filepath.Join(h.base, "config.git")))
	handler, err := githttp.Handler(h.base)
	if err != nil {
		h.Skip(err)
	}
	mux.Handle("/config.git/", o.served(handler))
	o.spec = "git=git:" + url + "/config.git?interval=100ms&verify=commit&signers=" + h.signers
}

// newBundles makes the place of signed bundles, and serves it as stores of objects do.
func (h *sourcesHost) newBundles(mux *http.ServeMux, url string) {
	h.Helper()
	o := h.bundle
	signer, public := bundleKey(h)
	stranger, _ := bundleKey(h)
	keys := filepath.Join(h.base, "keys")
	ok(h, os.WriteFile(keys, []byte(public+"\n"), 0o600))

	var mu sync.Mutex
	objects := map[string][]byte{}
	sequence := uint64(0)
	h.publish = func(sequence uint64, number int, valid time.Duration, by note.Signer) {
		h.Helper()
		var files []*source.File
		all := sourceFiles("bundle", number)
		for _, name := range []string{"bundle-a.json", "bundle-b.json"} {
			files = append(files, source.NewFile(name, all[name]))
		}
		if by == nil {
			by = signer
		}
		made, err := bundleOf(files, sequence, valid, by)
		ok(h, err)
		mu.Lock()
		defer mu.Unlock()
		maps.Copy(objects, made)
	}
	o.push = func() {
		o.number++
		sequence++
		h.publish(sequence, o.number, time.Hour, nil)
	}
	o.wrongs = []wrong{
		{"an old bundle", func() { h.publish(1, 1, time.Hour, nil) }, "has the sequence 1"},
		{"a fork", func() { h.publish(sequence, -o.number, time.Hour, nil) }, "FORKED"},
		{"a bundle of an unknown key", func() { h.publish(sequence+1, -o.number, time.Hour, stranger) }, "none of the known keys"},
		{"a bundle that is over", func() { h.publish(sequence+1, -o.number, -time.Hour, nil) }, "expired"},
		o.becomes(sourceDown), o.becomes(sourceFails), o.becomes(sourceCuts),
	}
	mux.Handle("/prod/", o.served(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		data := objects[path.Base(q.URL.Path)]
		mu.Unlock()
		if data == nil {
			http.NotFound(w, q)
			return
		}
		tag := fmt.Sprintf(`"%x"`, sha256.Sum256(data))
		if q.Header.Get("If-None-Match") == tag {
			h.unchanged.Add(1)
		}
		w.Header().Set("ETag", tag)
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
	})))
	o.spec = "bundle=bundle:" + url + "/prod/bundle.note?interval=100ms&keys=" + keys
}

// bundleKey makes a key, and returns what signs with it and what the file of keys has.
func bundleKey(t testing.TB) (signer note.Signer, public string) {
	t.Helper()
	private, public, err := bundle.GenerateKey("ops@example.com", nil)
	ok(t, err)
	signer, err = note.NewSigner(private)
	ok(t, err)
	return signer, public
}

// bundleOf makes a bundle of some files: the archive and the note, by name.
func bundleOf(files []*source.File, sequence uint64, valid time.Duration, by note.Signer) (map[string][]byte, error) {
	archive, err := bundle.Pack(files)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	n := bundle.Note{
		Origin: "example.com/prod", Sequence: sequence,
		NotBefore: now.Add(-24 * time.Hour).Truncate(time.Second), Expires: now.Add(valid).Truncate(time.Second),
	}
	n.SetArchive(archive)
	signed, err := bundle.Sign(&n, by)
	return map[string][]byte{n.ArchiveName(): archive, bundle.NoteName: signed}, err
}

// gitEnv is the environment of a git that commits.
func gitEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com",
	}
}

func (h *sourcesHost) origins() []*origin { return []*origin{h.git, h.bundle} }

// start starts a daemon with an action at a failpoint.
func (h *sourcesHost) start(what string) *crashDaemon {
	h.Helper()
	h.current = launchCrashing(h, h.binary, what, "--source="+h.git.spec, "--source="+h.bundle.spec, "--region="+h.region,
		"--state-dir="+h.state, "--slots=4", "--max-image=1MiB", "--history=40", "--listen=off")
	return h.current
}

// status is the daemon's; false: it does not answer.
func (h *sourcesHost) status() (control.Status, bool) {
	time.Sleep(8 * time.Millisecond) // each answer is work of the daemon
	s, err := control.DialSocket(filepath.Join(h.state, control.ControlName), []int{os.Geteuid()}).Status(context.Background())
	return s, err == nil
}

// says reports whether the status has the trouble of an origin, or none.
func (h *sourcesHost) says(o *origin) bool {
	s, answers := h.status()
	if !answers {
		return false
	}
	for _, l := range s.Layers {
		if l.Name == o.layer {
			return o.trouble == "" && l.Problem == "" || o.trouble != "" && strings.Contains(l.Problem, o.trouble) && !s.Converged
		}
	}
	return false
}

// look reads what the region holds: the numbers of the layers that it has. The error says
// what no reader may see.
func (h *sourcesHost) look() (numbers map[string]int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, err := shm.Open(h.region, shm.Trust{})
	if err != nil {
		return nil, err
	}
	var m *image.Image
	if _, err = r.Read(func(hot seqlock.Hot, in []uint64) error {
		words := make([]uint64, len(in))
		seqlock.LoadWords(words, in)
		m, err = image.Load(words, hot.Generation())
		return err
	}); err != nil {
		return nil, err
	}
	numbers = map[string]int{}
	count := map[string]int{}
	for _, s := range m.Sections() {
		var f sourceFile
		if err := json.Unmarshal(s.Content(), &f); err != nil {
			return nil, err
		}
		layer, _, _ := strings.Cut(s.Name(), "-")
		before, has := numbers[layer]
		if f.Text != sourceText(f.Number) || has && before != f.Number {
			return nil, fmt.Errorf("generation %d is torn: %s has %d, and the other file %d", m.Generation(), s.Name(), f.Number, before)
		}
		numbers[layer] = f.Number
		count[layer]++
	}
	if m.Generation() < h.generation {
		return nil, fmt.Errorf("generation %d is there after %d", m.Generation(), h.generation)
	}
	h.looks++
	h.generation = m.Generation()
	for layer, n := range h.seen {
		if numbers[layer] < n || count[layer] != 2 {
			return nil, fmt.Errorf("generation %d has change %d of %s, in %d files, after %d", m.Generation(), numbers[layer], layer, count[layer], n)
		}
	}
	h.seen = numbers
	return numbers, nil
}

// reads reads all the time, until the returned function is called.
func (h *sourcesHost) reads() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-end:
				return
			case <-time.After(2 * time.Millisecond):
			}
			if _, err := h.look(); err != nil && !errors.Is(err, shm.ErrNoRegion) {
				h.Errorf("a reader: %v", err)
				return
			}
		}
	}()
	return sync.OnceFunc(func() { close(end); <-ended })
}

// has reports whether readers have the newest change of an origin.
func (h *sourcesHost) has(o *origin) bool {
	numbers, err := h.look()
	return err == nil && numbers[o.layer] == o.number
}

// arrives waits until readers have the newest changes of all origins, and the status says
// nothing more.
func (h *sourcesHost) arrives(d *crashDaemon, when string) {
	h.Helper()
	h.lives(d, untilEnd(h, d, "the newest changes "+when, func() bool {
		if !h.has(h.git) || !h.has(h.bundle) {
			return false
		}
		s, answers := h.status()
		return answers && s.Converged && s.Problem == ""
	}), when)
}

// end kills a daemon, unless it has ended.
func (h *sourcesHost) end(d *crashDaemon) {
	h.Helper()
	h.current = nil
	if d.end(h) {
		h.kills++
	}
}
