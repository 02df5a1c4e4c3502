//go:build unix

package daemon

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/statesync/statesync/daemon/source"
	"github.com/statesync/statesync/daemon/source/bundle"
)

// publisher is a directory that a web server of this host serves, and whose bundle is the
// source of a setup.
type publisher struct {
	*setup
	dir    string
	origin string
	signer note.Signer
}

func bundleSetup(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{setup: newSetup(t), dir: t.TempDir(), origin: "example.com/prod"}
	private, public, err := bundle.GenerateKey("ops@example.com", nil)
	if err == nil {
		p.signer, err = note.NewSigner(private)
	}
	keys := filepath.Join(t.TempDir(), "keys")
	if err == nil {
		err = os.WriteFile(keys, []byte(public+"\n"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(p.dir)))
	t.Cleanup(server.Close)
	p.opt.Sources = sources(t, "bundle:"+server.URL+"/bundle.note?interval=100ms&keys="+keys)
	return p
}

// publish publishes a.yaml under a sequence, for a time from now on.
func (p *publisher) publish(sequence uint64, text string, valid time.Duration) {
	p.Helper()
	archive, err := bundle.Pack([]*source.File{source.NewFile("a.yaml", []byte(text))})
	if err != nil {
		p.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	n := bundle.Note{Origin: p.origin, Sequence: sequence, NotBefore: now.Add(-24 * time.Hour), Expires: now.Add(valid).Truncate(time.Second)}
	n.SetArchive(archive)
	msg, err := bundle.Sign(&n, p.signer)
	if err == nil {
		err = os.WriteFile(filepath.Join(p.dir, n.ArchiveName()), archive, 0o600)
	}
	next := filepath.Join(p.dir, "next")
	if err == nil {
		err = os.WriteFile(next, msg, 0o600)
	}
	if err == nil {
		err = os.Rename(next, filepath.Join(p.dir, bundle.NoteName))
	}
	if err != nil {
		p.Fatal(err)
	}
}

// A bundle becomes a generation. What replays an older one does not, whether the daemon
// was restarted or not, and neither does what expired: the last good generation stays.
func TestBundleSource(t *testing.T) {
	p := bundleSetup(t)
	p.publish(1, "x: 1\n", time.Hour)
	d := p.run()
	p.sees(map[string]string{"a": `{"x":1}`})
	p.publish(2, "x: 2\n", time.Hour)
	if got := p.sees(map[string]string{"a": `{"x":2}`}); got.revision != "example.com/prod#2" {
		t.Errorf("the revision is %s", got.revision)
	}
	if meta := d.State().Layers[0].Meta; meta["signers"] != "ops@example.com" || meta["expires"] == "" {
		t.Errorf("the state has %v", meta)
	}

	stays := func(problem string) {
		t.Helper()
		await(t, "the problem: "+problem, func() bool { return strings.Contains(d.State().Problem, problem) })
		if now := p.look(); now.configs["a"] != `{"x":2}` {
			t.Errorf("readers have %v", now.configs)
		}
	}
	p.publish(1, "x: 1\n", time.Hour)
	stays("has the sequence 1, and 2 was accepted")
	d.stop(t)
	d = p.run()
	stays("has the sequence 1, and 2 was accepted")
	p.publish(2, "x: two\n", time.Hour)
	stays("FORKED")
	p.publish(3, "x: 3\n", -time.Hour)
	stays("sequence 3 expired")
	if state := d.State(); state.Converged {
		t.Error("it counts as converged")
	}

	// A host that boots while the server has nothing that it accepts.
	d.stop(t)
	p.loseRegion()
	d = p.run()
	p.sees(map[string]string{"a": `{"x":2}`})
	stays("sequence 3 expired")
	p.publish(3, "x: 3\n", time.Hour)
	p.sees(map[string]string{"a": `{"x":3}`})
}

func TestAcceptCommitOfABundle(t *testing.T) {
	p := bundleSetup(t)
	p.publish(1, "x: 1\n", time.Hour)
	d := p.run()
	p.sees(map[string]string{"a": `{"x":1}`})
	if _, err := d.Do(t.Context(), Request{Command: AcceptCommit{"bundle", strings.Repeat("0", 40)}}); err == nil {
		t.Error("a bundle's floor became a commit")
	}
}

// Once what was accepted last is dropped, a bundle may begin anew: with a lower sequence,
// and under another origin.
func TestResetFloorOfABundle(t *testing.T) {
	p := bundleSetup(t)
	p.publish(7, "x: 7\n", time.Hour)
	d := p.run()
	p.sees(map[string]string{"a": `{"x":7}`})
	p.origin = "example.com/next"
	p.publish(1, "x: 1\n", time.Hour)
	await(t, "the refusal", func() bool { return strings.Contains(d.State().Problem, "is of example.com/next") })
	if reply, err := d.Do(t.Context(), Request{Command: ResetFloor{"bundle"}}); err != nil || reply.Act == 0 || reply.Refused != "" {
		t.Fatalf("%+v, %v", reply, err)
	}
	p.sees(map[string]string{"a": `{"x":1}`})
	if f := d.floors(t)[d.State().Layers[0].Floor]; !strings.HasPrefix(f.State, "example.com/next 1 ") {
		t.Errorf("kept is %v", f)
	}
	entries, err := d.State().Past().Audit(0, 1)
	if err != nil || len(entries) != 1 || !strings.HasPrefix(entries[0].Outcome, "dropped example.com/prod 7 ") {
		t.Errorf("the audit has %+v, %v", entries, err)
	}

	// What no source of the daemon is held to any more is dropped without a look.
	identity := d.State().Layers[0].Floor
	d.stop(t)
	p.opt.Sources = sources(t, "dir:"+p.setup.dir)
	p.put("b.yaml", "y: 1\n")
	d = p.run()
	await(t, "the directory", func() bool { return d.State().Converged })
	if reply, err := d.Do(t.Context(), Request{Command: ResetFloor{identity}}); err != nil || reply.Act == 0 || len(d.floors(t)) != 0 {
		t.Errorf("%+v, %v, %v", reply, err, d.floors(t))
	}
}
