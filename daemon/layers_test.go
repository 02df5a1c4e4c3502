//go:build unix

package daemon

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

// layered is a setup with a second source above the first.
func layered(t *testing.T) (s, host *setup) {
	t.Helper()
	s = newSetup(t)
	above := *s
	host = &above
	host.dir = filepath.Join(filepath.Dir(s.dir), "host")
	if err := os.Mkdir(host.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.opt.Sources = sources(t, "base=dir:"+s.dir, "host=dir:"+host.dir)
	return s, host
}

func TestLayers(t *testing.T) {
	s, host := layered(t)
	s.put("a.yaml", "x: 1\ny: {z: 1, w: 2}\n")
	s.put("b.yaml", "b: 1\n")
	d := s.run()
	s.sees(map[string]string{"a": `{"x":1,"y":{"w":2,"z":1}}`, "b": `{"b":1}`}) // an empty layer above is fine
	host.put("a.toml", "y.z = 3\n")
	host.put("c.json", `{"c": 1}`)
	second := s.sees(map[string]string{"a": `{"x":1,"y":{"w":2,"z":3}}`, "b": `{"b":1}`, "c": `{"c":1}`})
	host.put("a.toml", "y.w = 0\n")
	host.put("b.yaml", "null\n") // the config is removed
	p := s.sees(map[string]string{"a": `{"x":1,"y":{"w":0,"z":1}}`, "c": `{"c":1}`})
	if !strings.Contains(p.revision, "base=dir@sha256:") || !strings.Contains(p.revision, " host=dir@sha256:") {
		t.Errorf("the revision is %s", p.revision)
	}

	await(t, "the state", func() bool { return d.State().Converged && d.State().Generation == p.generation })
	origins, err := d.State().Why("a", "y.w")
	if err != nil || len(origins) != 2 || origins[0].Layer != "host" || origins[0].Value != "0" || origins[0].Line != 1 ||
		origins[1].Layer != "base" || origins[1].Value != "2" || origins[1].Line != 2 || origins[1].File != "a.yaml" {
		t.Errorf("%+v (%v)", origins, err)
	}
	if g, ok := d.State().Changed("c"); !ok || g != second.generation { // 3 if a.toml was read before c.json was there
		t.Errorf("c changed in generation %d, and not in %d", g, second.generation)
	}
	await(t, "the region's status", func() bool {
		l := s.look().status.Layers
		return len(l) == 2 && l[0].Name == "base" && l[1].Good > 0 && l[1].Version == d.State().Layers[1].Version
	})
}

// A layer that cannot be used goes on with what was used last, and the others move on.
func TestLayerFallsBack(t *testing.T) {
	s, host := layered(t)
	s.put("a.yaml", "x: 1\ny: 1\n")
	host.put("a.yaml", "y: 2\n")
	d := s.run()
	s.sees(map[string]string{"a": `{"x":1,"y":2}`})
	host.put("a.yaml", "y: [\n")
	await(t, "the refusal", func() bool { return strings.HasPrefix(s.look().status.Problem, "host: a.yaml:") })
	if line := s.logs("refused"); line["layer"] != "host" || line["file"] != "a.yaml" {
		t.Errorf("the log line is %v", line)
	}
	s.put("a.yaml", "x: 5\ny: 1\n")
	s.sees(map[string]string{"a": `{"x":5,"y":2}`})
	now := d.State()
	if now.Converged || !now.Fresh || now.Layers[0].Problem != "" || now.Layers[1].Problem == "" || now.Layers[1].Newest == "" {
		t.Errorf("%+v", now)
	}

	if err := os.RemoveAll(host.dir); err != nil { // it cannot be read now
		t.Fatal(err)
	}
	await(t, "the second refusal", func() bool { return strings.Contains(s.look().status.Problem, host.dir) })
	s.put("a.yaml", "x: 6\ny: 1\n")
	s.sees(map[string]string{"a": `{"x":6,"y":2}`})
	d.stop(t)

	// A daemon that starts without it goes on with what the history has of it.
	s.put("a.yaml", "x: 7\ny: 1\n")
	d = s.run()
	s.sees(map[string]string{"a": `{"x":7,"y":2}`})
	if now := d.State(); now.Converged || now.Layers[1].Problem == "" || now.Layers[1].Version == "" {
		t.Errorf("%+v", now)
	}
	if err := os.Mkdir(host.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.sees(map[string]string{"a": `{"x":7,"y":1}`})
	await(t, "the state", func() bool { return d.State().Converged })
}

// What the layers come to together is refused as a whole.
func TestLayersThatDoNotFit(t *testing.T) {
	s, host := layered(t)
	s.put("a.yaml", "x: {y: 1}\n")
	d := s.run()
	s.sees(map[string]string{"a": `{"x":{"y":1}}`})
	host.put("a.yaml", "\nx: 1\n")
	await(t, "the refusal", func() bool { return d.State().Problem != "" })
	if p := d.State().Problem; !strings.HasPrefix(p, "host: a.yaml:2:") || !strings.Contains(p, "a.yaml in the layer base") {
		t.Errorf("the problem is %q", p)
	}
	host.put("a.yaml", "x: {y: 2}\n")
	s.sees(map[string]string{"a": `{"x":{"y":2}}`})
}

func TestOnceWithLayers(t *testing.T) {
	s, host := layered(t)
	s.put("a.yaml", "x: 1\n")
	host.put("a.yaml", "x: 2\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	host.put("a.yaml", "x: [\n")
	if err := s.once(); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	if p := s.look(); p.configs["a"] != `{"x":2}` {
		t.Errorf("%v", p.configs)
	}
}

// hangs is a source that does not answer until it is released.
type hangs struct {
	source.Source
	release chan struct{}
}

func (h *hangs) Fetch(ctx context.Context, have *source.Snapshot) (*source.Snapshot, error) {
	<-h.release // as a file system does, whatever the context says
	return h.Source.Fetch(ctx, have)
}

// A source that hangs holds up neither the last good image nor the daemon's end.
func TestSourceHangs(t *testing.T) {
	s := newSetup(t)
	s.put("a.yaml", "x: 1\n")
	if err := s.once(); err != nil {
		t.Fatal(err)
	}
	s.loseRegion()
	s.put("a.yaml", "x: 2\n")
	release := make(chan struct{})
	start := func() *running {
		return s.runWith(func(d *Daemon) {
			d.silence = 100 * time.Millisecond
			d.open = func(spec source.Spec, o source.Options) (source.Source, error) {
				opened, err := Schemes.Open(spec, o)
				return &hangs{opened, release}, err
			}
		})
	}
	d := start()
	s.sees(map[string]string{"a": `{"x":1}`})
	await(t, "the problem", func() bool { return strings.Contains(s.look().status.Problem, "has not answered") })
	if now := d.State(); now.Fresh || now.Converged || !now.Ready {
		t.Errorf("%+v", now)
	}
	d.stop(t)
	d = start()
	await(t, "the problem again", func() bool { return strings.Contains(d.State().Problem, "has not answered") })
	close(release)
	s.sees(map[string]string{"a": `{"x":2}`})
	await(t, "the end of the problem", func() bool { return d.State().Problem == "" && d.State().Converged })
}

// dense is a YAML file that takes long to decode for its size.
func dense(bytes int) string {
	var b strings.Builder
	for i := 0; b.Len() < bytes; i++ {
		fmt.Fprintf(&b, "k%d: %d\n", i, i)
	}
	return b.String()
}

// While files are decoded that take long, the heart beats, commands are answered,
// and the daemon ends when it is told to.
func TestOwnerDoesNotWaitForDecoding(t *testing.T) {
	s := newSetup(t)
	s.opt.Writer.MaxImage = 64 << 20
	s.put("a.yaml", "x: 1\n")
	d := s.run()
	s.sees(map[string]string{"a": `{"x":1}`})
	for i := range 8 {
		s.put(fmt.Sprintf(".new/dense-%d.yaml", i), dense(2<<20))
	}
	if err := os.Rename(filepath.Join(s.dir, ".new"), filepath.Join(s.dir, "dense")); err != nil { // all at once
		t.Fatal(err)
	}
	await(t, "decoding", func() bool { return !d.State().Planning.IsZero() })
	first := d.State()
	await(t, "heartbeats", func() bool { return d.State().Turned.Sub(first.Turned) > 2*time.Second || d.State().Planning.IsZero() })
	d.does(t, Pin{})
	if d.State().Planning.IsZero() {
		t.Skip("this machine decodes it at once")
	}
	d.stop(t)
	if d.worker.busy() { // it was left behind, in the middle of a file
		<-d.worker.done
	}
	if p := s.look(); p.generation != 1 {
		t.Errorf("generation %d", p.generation)
	}
	mustNotExist(t, s.stateFile(decodingFile)) // it did not die of it
}
